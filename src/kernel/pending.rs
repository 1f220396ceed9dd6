//! Calls in flight, counted by the time at which they began: so those that have
//! been under way for too long are found without a list of calls.
//!
//! A slice holds the calls that began within one sixteenth of the limit. Each
//! is one word per stripe: the number of the slice, and how many of its calls
//! are still there. Whoever sweeps an old slice takes all of them at once; a call
//! that ends later sees that its slice has changed, so each is taken by its own
//! end or by a sweep, never by both.

use std::num::NonZeroU16;

use super::sync::{AtomicU64, Ordering, Padded, ids};
use crate::clock::Tick;

/// Slices per limit, and places for them: those of two limits. A model is to see
/// every place in every order.
const PER_LIMIT: u64 = if cfg!(keep_loom) { 2 } else { 16 };
#[allow(clippy::cast_possible_truncation)] // a handful
const PLACES: usize = 2 * PER_LIMIT as usize;
/// A word: how many calls; the tag of their slice; whether it was swept, after
/// which nobody can join it.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const TAG_BITS: u32 = 43;
const SWEPT: u64 = 1 << 63;

type Stripe = Padded<[AtomicU64; PLACES]>;

/// The calls that are under way.
#[derive(Debug)]
pub struct Pending {
    stripes: Box<[Stripe]>,
}

/// Where a call was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    stripe: NonZeroU16,
    index: u16,
    /// The low bits of the slice's tag.
    slice: u32,
}

impl Place {
    /// Of a call that is under way and was not entered.
    pub const NOWHERE: Self = Self {
        stripe: NonZeroU16::MAX,
        index: 0,
        slice: 0,
    };

    /// Which calls it belongs to: those that began at about the same time.
    #[must_use]
    pub fn slice(self) -> u32 {
        self.slice
    }
}

/// The width of a slice, for a limit in nanoseconds.
#[must_use]
pub fn width(limit: u64) -> u64 {
    (limit / PER_LIMIT).max(1)
}

/// Low bits of a tag: those that tell one epoch of calls from the next, and those
/// that tell the limit that their slices are a part of.
const EPOCHS: u64 = 0b111;
const LIMITS: u64 = 0b111_1000;
const LIMIT_BITS: u32 = LIMITS.count_ones();
const LOW_BITS: u32 = EPOCHS.count_ones() + LIMIT_BITS;
const LOW: u64 = EPOCHS | LIMITS;

/// What tells the calls of an epoch and a limit from others.
fn mark(limit: u64, epoch: u32) -> u64 {
    // Fibonacci hashing: the upper bits depend on all bits of the limit.
    let limit = limit.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - LIMIT_BITS);
    (limit << EPOCHS.count_ones()) | (u64::from(epoch) & EPOCHS)
}

/// The number of a slice as it is kept, with its mark. It wraps after 2³² limits.
fn tag(slice: u64, mark: u64) -> u64 {
    ((slice << LOW_BITS) | mark) & ((1 << TAG_BITS) - 1)
}

fn tag_of(word: u64) -> u64 {
    (word & !SWEPT) >> COUNT_BITS
}

/// Enough of a tag to know a slice again.
#[allow(clippy::cast_possible_truncation)] // that is its purpose
fn low(tag: u64) -> u32 {
    tag as u32
}

impl Pending {
    /// Nobody, over so many stripes (0 counts as 1).
    #[must_use]
    pub fn new(stripes: usize) -> Self {
        let stripe = || Padded(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            stripes: std::iter::repeat_with(stripe)
                .take(stripes.max(1))
                .collect(),
        }
    }

    /// Enters a call that began at `start`; `None` if there is no place for it:
    /// then nothing but its end will count. Calls of the next `epoch` can come as
    /// soon as those of the last were [cleared](Self::clear).
    #[must_use]
    pub fn enter(&self, start: Tick, limit: u64, epoch: u32) -> Option<Place> {
        self.enter_from(ids::thread_index() as usize, start, limit, epoch)
    }

    /// As [`enter`](Self::enter), for a thread whose number the caller knows.
    #[must_use]
    pub fn enter_from(&self, thread: usize, start: Tick, limit: u64, epoch: u32) -> Option<Place> {
        let slice = start.as_nanos() / width(limit);
        let at = thread % self.stripes.len();
        let stripe = NonZeroU16::new(u16::try_from(at + 1).ok()?)?;
        let index = usize::try_from(slice % PLACES as u64).unwrap_or(0);
        let mine = tag(slice, mark(limit, epoch));
        let join = |word: u64| match (tag_of(word) == mine, word & COUNT) {
            (true, COUNT) => None,
            (true, _) => (word & SWEPT == 0).then(|| word + 1),
            // Not swept yet, or of a clock that has gone back.
            (false, 1..) => None,
            (false, 0) => Some(mine << COUNT_BITS | 1),
        };
        self.stripes[at].0[index]
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, join)
            .ok()?;
        Some(Place {
            stripe,
            index: u16::try_from(index).ok()?,
            slice: low(mine),
        })
    }

    /// Takes a call out; `false` if a sweep has taken it before.
    #[must_use]
    pub fn leave(&self, place: Place) -> bool {
        let leave =
            |word: u64| (low(tag_of(word)) == place.slice && word & COUNT > 0).then(|| word - 1);
        self.stripes[usize::from(place.stripe.get()) - 1].0[usize::from(place.index)]
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, leave)
            .is_ok()
    }

    /// Takes all calls whose whole slice began at least `limit` before `now`, and
    /// tells which they were, in any order. It also takes, and tells of none: calls
    /// that were entered by another limit or in another epoch, and calls of a time
    /// that is not near.
    pub fn sweep(&self, now: Tick, limit: u64, epoch: u32, mut taken: impl FnMut(Taken)) {
        let mine = mark(limit, epoch);
        let age = |tag: u64, index| match tag & LOW == mine {
            true => age(tag, index, now.as_nanos(), limit),
            false => Some(None),
        };
        let tell = |calls: u64, slice, age: Option<u64>| {
            if let Some(age) = age {
                taken(Taken { calls, slice, age });
            }
        };
        self.take_where(age, tell);
    }

    /// Takes all calls there are.
    pub fn clear(&self) {
        self.take_where(|_, _| Some(()), |_, _, ()| {});
    }

    fn take_where<T>(
        &self,
        which: impl Fn(u64, usize) -> Option<T>,
        mut taken: impl FnMut(u64, u32, T),
    ) {
        for stripe in &self.stripes {
            for (index, place) in stripe.0.iter().enumerate() {
                let word = place.load(Ordering::Acquire);
                if word & COUNT > 0
                    && let Some(found) = which(tag_of(word), index)
                {
                    let calls = take(place, tag_of(word));
                    if calls > 0 {
                        taken(calls, low(tag_of(word)), found);
                    }
                }
            }
        }
    }
}

/// Calls that a sweep has taken.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// How many.
    pub calls: u64,
    /// The same as [`Place::slice`].
    pub slice: u32,
    /// The older, the larger.
    pub age: u64,
}

/// Empties a place, unless it has changed hands.
fn take(place: &AtomicU64, tag: u64) -> u64 {
    let empty = |word: u64| (tag_of(word) == tag).then_some((word & !COUNT) | SWEPT);
    match place.fetch_update(Ordering::AcqRel, Ordering::Acquire, empty) {
        Ok(word) => word & COUNT,
        Err(_) => 0,
    }
}

/// How old the slice in this place is, if it ended at least `limit` before `now`;
/// `Some(None)` if it is further ahead than any thread can be.
fn age(kept: u64, index: usize, now: u64, limit: u64) -> Option<Option<u64>> {
    let (width, places) = (width(limit), PLACES as u64);
    let current = now / width;
    // The latest slice that has this place.
    let back = (current % places + places - index as u64) % places;
    let latest = current.saturating_sub(back);
    let ahead = tag(latest, 0).wrapping_sub(kept & !LOW) & ((1 << TAG_BITS) - 1);
    let turn = (places << (64 - TAG_BITS + LOW_BITS)).cast_signed();
    let old = match (ahead << (64 - TAG_BITS)).cast_signed() {
        // The clock has gone back.
        far if far < -turn => return Some(None),
        ..0 => false,
        0 => (latest + 1).saturating_mul(width).saturating_add(limit) <= now,
        1.. => true,
    };
    old.then_some(Some(back + (ahead >> LOW_BITS)))
}
