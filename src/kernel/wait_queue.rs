//! The waiters of a [`Limit`](super::limit::Limit), in order of arrival: a
//! doubly linked list in a slab, so that leaving from the middle costs the same
//! as leaving from the front, and a queue that was long once allocates no more.

use std::task::{Poll, Waker};

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
    /// Dropped by the caller once the lock is gone: a waker's drop is foreign
    /// code.
    _waker: Option<Waker>,
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
            Place::Free | Place::Granted => None,
        }
    }

    /// The second value is a waker that is no longer needed.
    pub(super) fn poll(&mut self, key: WaitKey, waker: &Waker) -> (Poll<()>, Option<Waker>) {
        let Some(entry) = self.keyed(key) else {
            // A spent key: its permits have been handed out already.
            return (Poll::Pending, None);
        };
        match &mut entry.place {
            Place::Granted => {
                self.free(key.index);
                (Poll::Ready(()), None)
            }
            Place::Waiting(Some(old)) if old.will_wake(waker) => (Poll::Pending, None),
            Place::Waiting(slot) => (Poll::Pending, slot.replace(waker.clone())),
            Place::Free => (Poll::Pending, None),
        }
    }

    pub(super) fn cancel(&mut self, key: WaitKey) -> Left {
        let Some(entry) = self.keyed(key) else {
            return Left::default();
        };
        let permits = entry.has;
        let (was_waiting, waker) = match std::mem::take(&mut entry.place) {
            Place::Waiting(waker) => (true, waker),
            Place::Granted => (false, None),
            Place::Free => return Left::default(),
        };
        if was_waiting {
            self.unlink(key.index);
        }
        self.free(key.index);
        Left {
            permits,
            was_waiting,
            _waker: waker,
        }
    }
}
