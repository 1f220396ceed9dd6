//! Where the timers of one wheel lie.
//!
//! Chunks instead of one vector: growing moves nothing, so that arming takes
//! the same time whether ten timers are armed or a million, and memory goes back
//! chunk by chunk.

/// No entry, or the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// Entries per chunk: about four kilobytes.
const CHUNK: u32 = 64;

#[derive(Debug)]
pub(super) struct Entry<W> {
    /// Tells this use of the place from all others; 0 while it is free.
    pub(super) ticket: u64,
    /// In nanoseconds.
    pub(super) due: u64,
    pub(super) waker: Option<W>,
    /// The next one in its list, or the next free place of its chunk.
    pub(super) next: u32,
    pub(super) prev: u32,
    /// Which list it is in; only true of the first one of a list.
    pub(super) list: u16,
}

#[derive(Debug)]
struct Chunk<W> {
    /// Empty while its memory is given back.
    entries: Box<[Entry<W>]>,
    /// The first free place.
    free: u32,
    used: u32,
    /// Whether it is in `open`.
    listed: bool,
}

#[derive(Debug)]
pub(super) struct Slab<W> {
    chunks: Vec<Chunk<W>>,
    /// Chunks that had room when they were listed, the last one first.
    open: Vec<u32>,
    /// Chunks without memory.
    vacant: Vec<u32>,
    /// Chunks with memory and without an entry: one is kept.
    idle: u32,
    tickets: u64,
}

impl<W> Slab<W> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            open: Vec::new(),
            vacant: Vec::new(),
            idle: 0,
            tickets: 0,
        }
    }

    /// A place for a timer, in no list yet, and its ticket.
    #[inline]
    pub(super) fn insert(&mut self, due: u64, waker: W) -> (u32, u64) {
        let number = self.with_room();
        self.tickets += 1;
        let ticket = self.tickets;
        let chunk = &mut self.chunks[number as usize];
        if chunk.used == 0 {
            self.idle -= 1;
        }
        chunk.used += 1;
        let place = chunk.free;
        let entry = &mut chunk.entries[place as usize];
        chunk.free = entry.next;
        entry.ticket = ticket;
        entry.due = due;
        entry.waker = Some(waker);
        (number * CHUNK + place, ticket)
    }

    /// A chunk that has room.
    #[inline]
    fn with_room(&mut self) -> u32 {
        if let Some(&number) = self.open.last()
            && self.chunks[number as usize].free != NONE
        {
            return number;
        }
        self.find_room()
    }

    #[cold]
    fn find_room(&mut self) -> u32 {
        while let Some(&number) = self.open.last() {
            let chunk = &mut self.chunks[number as usize];
            if chunk.free != NONE {
                return number;
            }
            // Full, or without memory.
            chunk.listed = false;
            self.open.pop();
        }
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.chunks.push(Chunk {
                entries: Box::default(),
                free: NONE,
                used: 0,
                listed: false,
            });
            // An index has 32 bits: at most 4 billion timers.
            u32::try_from(self.chunks.len() - 1).unwrap_or(NONE / CHUNK)
        });
        let chunk = &mut self.chunks[number as usize];
        chunk.entries = (0..CHUNK)
            .map(|place| Entry {
                ticket: 0,
                due: 0,
                waker: None,
                next: if place + 1 < CHUNK { place + 1 } else { NONE },
                prev: NONE,
                list: 0,
            })
            .collect();
        chunk.free = 0;
        chunk.listed = true;
        self.idle += 1;
        self.open.push(number);
        number
    }

    /// The entry of a place that is in use.
    #[inline]
    pub(super) fn at(&mut self, index: u32) -> &mut Entry<W> {
        &mut self.chunks[(index / CHUNK) as usize].entries[(index % CHUNK) as usize]
    }

    /// The entry, if the place is still used for this ticket.
    #[inline]
    pub(super) fn find(&mut self, index: u32, ticket: u64) -> Option<&mut Entry<W>> {
        let chunk = self.chunks.get_mut((index / CHUNK) as usize)?;
        let entry = chunk.entries.get_mut((index % CHUNK) as usize)?;
        (entry.ticket == ticket).then_some(entry)
    }

    /// Frees a place that is in no list any more.
    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> Option<W> {
        let (number, place) = (index / CHUNK, index % CHUNK);
        let chunk = &mut self.chunks[number as usize];
        let entry = &mut chunk.entries[place as usize];
        let waker = entry.waker.take();
        entry.ticket = 0;
        entry.next = chunk.free;
        chunk.free = place;
        chunk.used -= 1;
        if chunk.used == 0 || !chunk.listed {
            self.tidy(number);
        }
        waker
    }

    /// After a chunk has become empty, or has room again.
    fn tidy(&mut self, number: u32) {
        let chunk = &mut self.chunks[number as usize];
        if chunk.used == 0 {
            if self.idle > 0 {
                chunk.entries = Box::default();
                chunk.free = NONE;
                self.vacant.push(number);
                return;
            }
            self.idle += 1;
        }
        if !chunk.listed {
            chunk.listed = true;
            self.open.push(number);
        }
    }

    /// Places that there is memory for.
    #[cfg(all(test, not(keep_loom)))]
    pub(super) fn places(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.entries.len()).sum()
    }
}
