//! A hierarchical timing wheel (Varghese and Lauck 1987, scheme 6): arming and
//! cancelling cost the same however many timers are armed.
//!
//! Level `n` has 64 slots of 64ⁿ granules (about half a millisecond each), so
//! that eight levels reach beyond the end of time. A timer lies on the lowest
//! level on which it and the present differ; when the present reaches its slot,
//! it moves down. Its exact time is kept: it fires neither early nor with its
//! granule, but when it is due.

mod alarm;
mod slab;

pub(crate) use alarm::{Alarm, Next};
use slab::{NONE, Slab};

use crate::clock::Tick;

const LEVELS: usize = 8;
const BITS: usize = 6;
const SLOTS: usize = 1 << BITS;
/// A granule is 2¹⁹ ns: 0.52 ms.
const GRANULE_BITS: u32 = 19;
/// The lists behind all slots: entries that may be due, and entries of a higher
/// level that have to move down.
const DUE: usize = LEVELS * SLOTS;
const MOVING: usize = DUE + 1;

/// Where an armed timer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    index: u32,
    ticket: u64,
}

impl Place {
    /// Where no timer lies.
    pub(crate) const NONE: Self = Self {
        index: NONE,
        ticket: 0,
    };
}

/// The timers of one shard.
#[derive(Debug)]
pub(crate) struct Wheel<W> {
    slab: Slab<W>,
    /// The first entry of each slot's list, and of the lists behind them.
    heads: [u32; MOVING + 1],
    /// Which slots of a level have entries.
    occupied: [u64; LEVELS],
    /// The earliest entry of a slot of the lowest level, or an earlier one that
    /// has been cancelled.
    soonest: [u64; SLOTS],
    /// The granule up to which everything has been looked at.
    elapsed: u64,
    armed: usize,
}

/// What a look at the wheel has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The budget was not enough.
    More,
    /// Nothing can be due before this.
    Until(u64),
}

impl<W> Wheel<W> {
    pub(crate) const fn new() -> Self {
        Self {
            slab: Slab::new(),
            heads: [NONE; MOVING + 1],
            occupied: [0; LEVELS],
            soonest: [u64::MAX; SLOTS],
            elapsed: 0,
            armed: 0,
        }
    }

    /// Timers that are armed.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    /// Arms a timer. `now` may lie in the past.
    #[inline]
    pub(crate) fn arm(&mut self, due: Tick, now: Tick, waker: W) -> Place {
        if self.armed == 0 {
            // What has passed while nothing was armed need not be looked at.
            self.elapsed = self.elapsed.max(now.as_nanos() >> GRANULE_BITS);
        }
        self.armed += 1;
        let (index, ticket) = self.slab.insert(due.as_nanos(), waker);
        self.put(index, due.as_nanos());
        Place { index, ticket }
    }

    /// The waker of a timer that is still armed.
    #[inline]
    pub(crate) fn waker(&mut self, place: Place) -> Option<&mut W> {
        let entry = self.slab.find(place.index, place.ticket)?;
        entry.waker.as_mut()
    }

    /// Takes a timer out, if it is still armed.
    #[inline]
    pub(crate) fn cancel(&mut self, place: Place) -> Option<W> {
        self.slab.find(place.index, place.ticket)?;
        self.take(place.index)
    }

    /// Takes out what is due, after a look at no more than `budget` entries.
    pub(crate) fn turn(&mut self, now: Tick, budget: &mut usize, mut fire: impl FnMut(W)) -> Turn {
        let now = now.as_nanos();
        let granule = now >> GRANULE_BITS;
        loop {
            // What is due comes before what has to move, however much that is.
            let looks_at = if self.heads[DUE] != NONE {
                DUE
            } else if let Some(slot) = self.slot_that_is_due(now) {
                self.detach(slot, DUE);
                continue;
            } else {
                MOVING
            };
            let index = self.heads[looks_at];
            if index != NONE {
                if *budget == 0 {
                    return Turn::More;
                }
                *budget -= 1;
                let due = self.slab.at(index).due;
                if due <= now {
                    if let Some(waker) = self.take(index) {
                        fire(waker);
                    }
                } else {
                    self.unlink(index);
                    self.put(index, due);
                }
                continue;
            }
            // Nothing is due on the lowest level.
            let Some((level, slot, start)) = self.first() else {
                self.elapsed = self.elapsed.max(granule);
                return Turn::Until(u64::MAX);
            };
            let earliest = if level == 0 {
                self.soonest[slot]
            } else {
                start << GRANULE_BITS
            };
            if earliest > now {
                self.elapsed = self.elapsed.max(granule);
                return Turn::Until(earliest);
            }
            self.elapsed = self.elapsed.max(start);
            self.detach(level * SLOTS + slot, MOVING);
        }
    }

    /// The first slot of the lowest level, if something there may be due.
    fn slot_that_is_due(&mut self, now: u64) -> Option<usize> {
        let slots = self.occupied[0];
        let slot = slots.trailing_zeros() as usize;
        if slots == 0 || self.soonest[slot] > now {
            return None;
        }
        let block = self.elapsed >> BITS << BITS;
        self.elapsed = self.elapsed.max(block | slot as u64);
        Some(slot)
    }

    /// The first slot that has entries, and the granule it begins with. Slots of
    /// a lower level come before those of a higher one.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = self.occupied[level].trailing_zeros();
        let above = BITS * (level + 1);
        let base = (self.elapsed >> above) << above;
        let start = base | (u64::from(slot) << (BITS * level));
        Some((level, slot as usize, start))
    }

    /// Makes a slot's list one of those behind all slots, which is empty.
    fn detach(&mut self, slot: usize, to: usize) {
        let head = std::mem::replace(&mut self.heads[slot], NONE);
        self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        if slot < SLOTS {
            self.soonest[slot] = u64::MAX;
        }
        self.heads[to] = head;
        if head != NONE {
            self.slab.at(head).list = list_number(to);
        }
    }

    /// Puts an entry that is in no list where it belongs.
    #[inline]
    fn put(&mut self, index: u32, due: u64) {
        // What should have been looked at before is looked at next.
        let granule = (due >> GRANULE_BITS).max(self.elapsed);
        // The highest bit in which it differs from the present.
        let differs = (granule ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (differs.ilog2() as usize / BITS).min(LEVELS - 1);
        let slot = (granule >> (BITS * level)) as usize % SLOTS;
        if level == 0 {
            self.soonest[slot] = self.soonest[slot].min(due);
        }
        self.occupied[level] |= 1 << slot;
        let list = level * SLOTS + slot;
        let head = std::mem::replace(&mut self.heads[list], index);
        let entry = self.slab.at(index);
        entry.next = head;
        entry.prev = NONE;
        entry.list = list_number(list);
        if head != NONE {
            self.slab.at(head).prev = index;
        }
    }

    /// Takes an entry out of its list.
    #[inline]
    fn unlink(&mut self, index: u32) {
        let entry = self.slab.at(index);
        let (next, prev, list) = (entry.next, entry.prev, entry.list);
        if next != NONE {
            self.slab.at(next).prev = prev;
        }
        if prev != NONE {
            self.slab.at(prev).next = next;
            return;
        }
        let list = usize::from(list);
        self.heads[list] = next;
        if next != NONE {
            // It is the first one now, and has to know its list.
            self.slab.at(next).list = list_number(list);
        } else if list < DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    #[inline]
    fn take(&mut self, index: u32) -> Option<W> {
        self.unlink(index);
        self.armed -= 1;
        self.slab.remove(index)
    }

    /// Takes out everything.
    pub(crate) fn clear(&mut self, mut wake: impl FnMut(W)) {
        for list in 0..=MOVING {
            while self.heads[list] != NONE {
                if let Some(waker) = self.take(self.heads[list]) {
                    wake(waker);
                }
            }
        }
    }

    /// Timers that there is memory for.
    #[cfg(all(test, not(keep_loom)))]
    pub(crate) fn places(&self) -> usize {
        self.slab.places()
    }
}

/// There are 514 lists.
#[allow(clippy::cast_possible_truncation)]
const fn list_number(list: usize) -> u16 {
    list as u16
}
