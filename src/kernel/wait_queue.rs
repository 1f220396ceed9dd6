//! The waiters of a [`Limit`](super::limit::Limit), in order of arrival: a
//! doubly linked list in a slab, so that leaving from the middle costs the same
//! as leaving from the front, and a queue that was long once allocates no more.

use std::task::{Poll, Waker};

use super::limit::Full;

const NONE: u32 = u32::MAX;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitKey {
    index: u32,
    /// A place that was given to somebody else does not answer the old key.
    generation: u32,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Free,
    Waiting(Option<Waker>),
    Granted,
    Refused,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    generation: u32,
    needs: u32,
    has: u32,
    before: u32,
    /// The next waiter, or the next free entry.
    after: u32,
}

/// What a waiter leaves behind.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) permits: u32,
    pub(super) was_waiting: bool,
    /// Woken or dropped once the lock is gone: both are foreign code.
    pub(super) waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct WaitQueue {
    entries: Vec<Entry>,
    free: u32,
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }
}

impl WaitQueue {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)
    }

    fn keyed(&mut self, key: WaitKey) -> Option<&mut Entry> {
        self.entry(key.index)
            .filter(|entry| entry.generation == key.generation)
    }

    pub(super) fn push(&mut self, needs: u32) -> WaitKey {
        let tail = self.tail;
        let fresh = Entry {
            place: Place::Waiting(None),
            generation: 0,
            needs,
            has: 0,
            before: tail,
            after: NONE,
        };
        let reused = self.free;
        let key = if let Some(entry) = self.entry(reused) {
            let next_free = entry.after;
            let generation = entry.generation;
            *entry = Entry {
                generation,
                ..fresh
            };
            self.free = next_free;
            WaitKey {
                index: reused,
                generation,
            }
        } else {
            // The caller's bound on the queue is a u32 too.
            let index = u32::try_from(self.entries.len()).unwrap_or(NONE);
            self.entries.push(fresh);
            WaitKey {
                index,
                generation: 0,
            }
        };
        match self.entry(tail) {
            Some(last) => last.after = key.index,
            None => self.head = key.index,
        }
        self.tail = key.index;
        self.len += 1;
        key
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entry(index) else {
            return;
        };
        let (before, after) = (entry.before, entry.after);
        match self.entry(before) {
            Some(entry) => entry.after = after,
            None => self.head = after,
        }
        match self.entry(after) {
            Some(entry) => entry.before = before,
            None => self.tail = before,
        }
        self.len -= 1;
    }

    fn free(&mut self, index: u32) {
        let next = self.free;
        if let Some(entry) = self.entry(index) {
            entry.place = Place::Free;
            entry.generation = entry.generation.wrapping_add(1);
            entry.after = next;
            self.free = index;
        }
    }

    /// What the first waiter waits for.
    pub(super) fn head_weight(&mut self) -> Option<u32> {
        let head = self.head;
        self.entry(head).map(|entry| entry.needs)
    }

    /// What the first waiter still misses.
    pub(super) fn head_needs(&mut self) -> Option<u32> {
        let head = self.head;
        self.entry(head).map(|entry| entry.needs - entry.has)
    }

    /// What the first waiter has gathered so far.
    pub(super) fn head_has(&self) -> u32 {
        self.entries
            .get(self.head as usize)
            .map_or(0, |entry| entry.has)
    }

    pub(super) fn give_head(&mut self, permits: u32) {
        let head = self.head;
        if let Some(entry) = self.entry(head) {
            entry.has += permits;
        }
    }

    /// Completes the first waiter; its waker is the caller's to wake.
    pub(super) fn grant_head(&mut self, permits: u32) -> Option<Waker> {
        let head = self.head;
        self.unlink(head);
        let entry = self.entry(head)?;
        entry.has += permits;
        match std::mem::replace(&mut entry.place, Place::Granted) {
            Place::Waiting(waker) => waker,
            Place::Free | Place::Granted | Place::Refused => None,
        }
    }

    /// `None` if it waits and has not been shown this waker: then `mine` must be
    /// a clone of it. What is in `mine` afterwards is no longer needed.
    pub(super) fn poll(
        &mut self,
        key: WaitKey,
        waker: &Waker,
        mine: &mut Option<Waker>,
    ) -> Option<Poll<Result<(), Full>>> {
        let Some(entry) = self.keyed(key) else {
            // A spent key: its permits have been handed out already.
            return Some(Poll::Pending);
        };
        let result = match &mut entry.place {
            Place::Waiting(Some(old)) if old.will_wake(waker) => return Some(Poll::Pending),
            Place::Waiting(slot) => {
                mine.as_ref()?;
                std::mem::swap(slot, mine);
                return Some(Poll::Pending);
            }
            Place::Free => return Some(Poll::Pending),
            Place::Granted => Ok(()),
            Place::Refused => Err(Full),
        };
        self.free(key.index);
        Some(Poll::Ready(result))
    }

    /// Sends the first waiter away: its next poll says so.
    pub(super) fn refuse_head(&mut self) -> Left {
        let head = self.head;
        self.unlink(head);
        let Some(entry) = self.entry(head) else {
            return Left::default();
        };
        let permits = std::mem::take(&mut entry.has);
        let waker = match std::mem::replace(&mut entry.place, Place::Refused) {
            Place::Waiting(waker) => waker,
            Place::Free | Place::Granted | Place::Refused => None,
        };
        Left {
            permits,
            was_waiting: true,
            waker,
        }
    }

    /// The wakers of all who wait, in order.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut next = self.head;
        while let Some(entry) = self.entry(next) {
            next = entry.after;
            if let Place::Waiting(waker) = &mut entry.place {
                wakers.extend(waker.take());
            }
        }
        wakers
    }

    pub(super) fn cancel(&mut self, key: WaitKey) -> Left {
        let Some(entry) = self.keyed(key) else {
            return Left::default();
        };
        let permits = entry.has;
        let (was_waiting, waker) = match std::mem::take(&mut entry.place) {
            Place::Waiting(waker) => (true, waker),
            Place::Granted | Place::Refused => (false, None),
            Place::Free => return Left::default(),
        };
        if was_waiting {
            self.unlink(key.index);
        }
        self.free(key.index);
        Left {
            permits,
            was_waiting,
            waker,
        }
    }
}
