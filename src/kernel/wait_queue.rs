//! The waiters of a [`Limit`](super::limit::Limit), in a slab: for each class
//! the lanes of its tenants, each a doubly linked list, so that leaving from the
//! middle costs the same as leaving from the front, and a queue that was long
//! once allocates no more. The lanes of a class take turns.

use std::task::{Poll, Waker};

use super::lanes::{Lane, Lanes};
use crate::clock::Tick;
use crate::queue::CLASSES;

pub(super) const NONE: u32 = u32::MAX;

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitKey {
    index: u32,
    /// A place that was given to somebody else does not answer the old key.
    generation: u32,
}

/// What a waiter asks for, and as whom.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Permits.
    pub permits: u32,
    /// The lower the more important; of a class that counts for shares or not.
    pub class: usize,
    /// Whose it is; all that have none are one tenant.
    pub tenant: u64,
    /// The lane of its tenant, once it has a place.
    pub(super) lane: u32,
    /// When it came.
    pub since: Tick,
    /// When it goes away.
    pub due: Tick,
}

/// So many permits for anybody, at any time.
impl From<u32> for Ask {
    fn from(permits: u32) -> Self {
        Self {
            permits,
            class: 0,
            tenant: 0,
            lane: 0,
            since: Tick::ZERO,
            due: Tick::MAX,
        }
    }
}

/// Why a waiter gets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The limit is now lower than what it asks for.
    TooHeavy,
    /// Its time has passed.
    Late,
    /// Others come first, or it has waited too long.
    Shed,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Free,
    Waiting(Option<Waker>),
    Granted,
    Refused(Gone),
}

#[derive(Debug)]
struct Entry {
    place: Place,
    generation: u32,
    ask: Ask,
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
    lanes: Lanes,
    /// Who gathers permits: nobody overtakes it any more.
    gathering: u32,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
            lanes: Lanes::default(),
            gathering: NONE,
        }
    }
}

/// Who is served next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    index: u32,
    pub(super) ask: Ask,
    pub(super) has: u32,
}

impl WaitQueue {
    pub(super) fn len(&self) -> u32 {
        self.lanes.len()
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)
    }

    fn keyed(&mut self, key: WaitKey) -> Option<&mut Entry> {
        self.entry(key.index)
            .filter(|entry| entry.generation == key.generation)
    }

    pub(super) fn push(&mut self, ask: impl Into<Ask>) -> WaitKey {
        let mut ask = ask.into();
        ask.lane = self.lanes.assign(ask.class, ask.tenant);
        let tail = self.lanes.lane(&ask).tail;
        let fresh = Entry {
            place: Place::Waiting(None),
            generation: 0,
            ask,
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
        if let Some(last) = self.entry(tail) {
            last.after = key.index;
        }
        self.lanes.change(&ask, 1, |lane| {
            lane.tail = key.index;
            if lane.head == NONE {
                lane.head = key.index;
            }
        });
        key
    }

    fn unlink(&mut self, index: u32) {
        let Some(entry) = self.entry(index) else {
            return;
        };
        let (before, after, ask) = (entry.before, entry.after, entry.ask);
        if let Some(entry) = self.entry(before) {
            entry.after = after;
        }
        if let Some(entry) = self.entry(after) {
            entry.before = before;
        }
        self.lanes.change(&ask, -1, |lane: &mut Lane| {
            if lane.head == index {
                lane.head = after;
            }
            if lane.tail == index {
                lane.tail = before;
            }
        });
        if self.gathering == index {
            self.gathering = NONE;
        }
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

    /// Who is served next: of the classes that are owed their share, else of all,
    /// the most important; of its lanes the one whose turn it is; of that the
    /// oldest, or the newest.
    pub(super) fn next(&self, owed: [bool; CLASSES], newest: bool) -> Option<Next> {
        let index = match self.gathering {
            NONE => {
                let lane = self.lanes.next(owed)?;
                if newest { lane.tail } else { lane.head }
            }
            gathering => gathering,
        };
        let entry = self.entries.get(index as usize)?;
        Some(Next {
            index,
            ask: entry.ask,
            has: entry.has,
        })
    }

    /// Who makes room in a full queue for `ask`, if anybody: the newest of the
    /// longest lane of the least important class below it; else of its own class,
    /// if another lane is longer than its own will be; else the `oldest` of its own.
    pub(super) fn victim(&mut self, ask: &Ask, oldest: bool) -> Option<Next> {
        let mine = self.lanes.of(ask.class, ask.tenant);
        let index = match self.lanes.below(ask.class) {
            Some(lane) => lane.tail,
            None => match self.lanes.longest(ask.class) {
                Some(lane) if lane.len > mine.len + 1 => lane.tail,
                _ if oldest && mine.len > 0 => mine.head,
                _ => return None,
            },
        };
        let entry = self.entries.get(index as usize)?;
        Some(Next {
            index,
            ask: entry.ask,
            has: entry.has,
        })
    }

    /// What who gathers permits has so far.
    pub(super) fn gathered(&self) -> u32 {
        self.entries
            .get(self.gathering as usize)
            .map_or(0, |entry| entry.has)
    }

    pub(super) fn give(&mut self, next: &Next, permits: u32) {
        if permits > 0
            && let Some(entry) = self.entry(next.index)
        {
            entry.has += permits;
            self.gathering = next.index;
        }
    }

    /// Completes a waiter; its waker is the caller's to wake.
    pub(super) fn grant(&mut self, next: &Next, permits: u32) -> Option<Waker> {
        self.unlink(next.index);
        self.lanes.served(&next.ask);
        let entry = self.entry(next.index)?;
        entry.has += permits;
        match std::mem::replace(&mut entry.place, Place::Granted) {
            Place::Waiting(waker) => waker,
            Place::Free | Place::Granted | Place::Refused(_) => None,
        }
    }

    /// `None` if it waits and has not been shown this waker: then `mine` must be
    /// a clone of it. What is in `mine` afterwards is no longer needed.
    pub(super) fn poll(
        &mut self,
        key: WaitKey,
        waker: &Waker,
        mine: &mut Option<Waker>,
    ) -> Option<Poll<Result<(), Gone>>> {
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
            Place::Refused(gone) => Err(*gone),
        };
        self.free(key.index);
        Some(Poll::Ready(result))
    }

    /// Sends a waiter away: its next poll says so.
    pub(super) fn refuse(&mut self, next: &Next, gone: Gone) -> Left {
        self.unlink(next.index);
        let Some(entry) = self.entry(next.index) else {
            return Left::default();
        };
        let permits = std::mem::take(&mut entry.has);
        let waker = match std::mem::replace(&mut entry.place, Place::Refused(gone)) {
            Place::Waiting(waker) => waker,
            Place::Free | Place::Granted | Place::Refused(_) => None,
        };
        Left {
            permits,
            was_waiting: true,
            waker,
        }
    }

    /// The wakers of all who wait, in order of the slab.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let waiting = |entry: &mut Entry| match &mut entry.place {
            Place::Waiting(waker) => waker.take(),
            Place::Free | Place::Granted | Place::Refused(_) => None,
        };
        self.entries.iter_mut().filter_map(waiting).collect()
    }

    pub(super) fn cancel(&mut self, key: WaitKey) -> Left {
        let Some(entry) = self.keyed(key) else {
            return Left::default();
        };
        let permits = entry.has;
        let (was_waiting, waker) = match std::mem::take(&mut entry.place) {
            Place::Waiting(waker) => (true, waker),
            Place::Granted | Place::Refused(_) => (false, None),
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
