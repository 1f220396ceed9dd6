//! The generic cell rate algorithm (ITU-T I.371, in its virtual scheduling
//! form) in one word and one compare-and-swap.
//!
//! The word is the *theoretical arrival time* (TAT): when the bucket will be
//! full again. Whole nanoseconds are too coarse for it: at 3·10⁸ a second the
//! emission interval would round from 3.33 to 3 ns, 11 % too fast. So time is
//! counted in **units of which an emission interval has a whole number**: up to
//! four per nanosecond, 64 bits hold at least 146 years of them. Where the
//! interval is a whole number of nanoseconds, or halves, thirds or quarters of
//! one (100 a second, 30, 1024), a tick is a whole number of units
//! too, and everything is exact. Elsewhere (7 a second, 999) the current time is
//! rounded down, by less than a quarter of a nanosecond and without accumulating:
//! less than the clock itself rounds.

use std::time::Duration;

use super::quota::{LAST, units};
pub use super::quota::{Level, Quota, QuotaError};
use super::sync::{AtomicU64, Ordering, spin};
use crate::clock::Tick;

/// What a bucket answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Now.
    Admit(Level),
    /// Now would be too early.
    Wait {
        /// Until it may pass: exact, if nobody else comes first.
        wait: Duration,
        /// Its place, if it offered to wait that long: then it is sure.
        reserved: Option<Reservation>,
        /// How full the bucket is.
        level: Level,
    },
    /// The cost is above the burst: never.
    Never,
    /// The bucket was retired: look its key up again.
    Dead,
}

/// What a bucket answers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Now.
    Admit,
    /// Now would be too early, by so many nanoseconds: [`Decision::Wait`] without a
    /// place.
    Late(u64),
    /// Nothing yet: [`Gcra::admit`] knows.
    Unsure,
}

/// A place in a bucket's future, for [`Gcra::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    before: u64,
    after: u64,
}

/// The word of a bucket that was retired.
const DEAD: u64 = u64::MAX;
/// The word of a bucket that is being carried over to another quota.
const BUSY: u64 = u64::MAX - 1;

/// One bucket.
#[derive(Debug, Default)]
pub struct Gcra {
    /// The theoretical arrival time, in units of the scale below.
    tat: AtomicU64,
    /// The quota that `tat` was written under; written while it is `BUSY`.
    scale: AtomicU64,
    /// 0 in a bucket that was never drawn from.
    cell: AtomicU64,
    full: AtomicU64,
}

impl Gcra {
    /// A full bucket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for `cost` at `now` and without patience: [`admit`](Self::admit) in the
    /// fewest steps, which leaves to it whatever is out of the ordinary.
    #[inline]
    pub fn ask(&self, quota: &Quota, now: Tick, cost: u32) -> Answer {
        let tat = self.tat.load(Ordering::Acquire);
        if !self.is_of(quota) {
            return Answer::Unsure;
        }
        let Some(cost) = quota.units_of(cost) else {
            return Answer::Unsure;
        };
        let units = quota.units(now);
        // A mark in place of a time is too far ahead to pass.
        let (next, earliest) = quota.after(tat, units, cost);
        if units >= earliest {
            return match self.swap(tat, next) {
                true => Answer::Admit,
                false => Answer::Unsure,
            };
        }
        if tat >= BUSY || quota.is_unlikely(tat, units) || self.tat.load(Ordering::Relaxed) != tat {
            return Answer::Unsure;
        }
        Answer::Late(quota.wait(earliest, now))
    }

    /// Asks for `cost` at `now`, offering to wait for up to `patience` (at most
    /// the quota's). A cost of 0 counts as 1. A refusal writes nothing, but for
    /// the first one after the clock went back.
    #[inline]
    pub fn admit(&self, quota: &Quota, now: Tick, cost: u32, patience: Duration) -> Decision {
        let Some(cost) = quota.units_of(cost.max(1)) else {
            return Decision::Never;
        };
        let units = quota.units(now);
        loop {
            let Some(tat) = self.load(quota, now) else {
                return Decision::Dead;
            };
            let (next, earliest) = quota.after(tat, units, cost);
            if units >= earliest {
                if self.swap(tat, next) {
                    return Decision::Admit(Level(next));
                }
                continue;
            }
            let wait = Duration::from_nanos(quota.wait(earliest, now));
            if wait <= patience && next <= quota.most(units) {
                if !self.swap(tat, next) {
                    continue;
                }
                let (before, after) = (tat, next);
                return Decision::Wait {
                    wait,
                    reserved: Some(Reservation { before, after }),
                    level: Level(next),
                };
            }
            // The clock was wrong and went back: the bucket is set to as empty as it
            // can be, or it would refuse until the clock is there again.
            if quota.is_unlikely(tat, units) {
                self.swap(tat, quota.most(units));
            } else if self.tat.load(Ordering::Relaxed) == tat {
                return Decision::Wait {
                    wait,
                    reserved: None,
                    level: Level(tat),
                };
            }
        }
    }

    /// Goes over to another quota, which `publish` puts in force meanwhile. What
    /// the bucket has is kept, up to the new burst: a burst that is lowered leaves
    /// no debt, and one that is raised again mints nothing.
    pub fn change(&self, old: &Quota, new: &Quota, now: Tick, publish: impl FnOnce()) {
        let lacks = loop {
            match self.load(old, now) {
                None => return publish(),
                Some(tat) if self.swap(tat, BUSY) => break tat.saturating_sub(old.units(now)),
                Some(_) => {}
            }
        };
        publish();
        self.enter(new, now, new.lacks_after(lacks, old.cell, old.full));
    }

    /// How full the bucket is at `now`; `None` if it was retired.
    #[must_use]
    pub fn level(&self, quota: &Quota, now: Tick) -> Option<Level> {
        self.load(quota, now).map(Level)
    }

    /// Gives a reservation back, if nobody has reserved behind it. Otherwise
    /// its place stays empty: those behind it were told their times already.
    pub fn cancel(&self, reservation: Reservation) {
        self.swap(reservation.after, reservation.before);
    }

    /// Retires the bucket if it is full at `now`, that is, like a new one.
    pub fn try_retire(&self, quota: &Quota, now: Tick) -> bool {
        match self.load(quota, now) {
            None => true,
            Some(tat) => tat <= quota.units(now) && self.swap(tat, DEAD),
        }
    }

    /// Whether the word, which was read before, is in the units of `quota`.
    #[inline]
    fn is_of(&self, quota: &Quota) -> bool {
        self.scale.load(Ordering::Acquire) == quota.scale
            && self.cell.load(Ordering::Acquire) == quota.cell
    }

    #[inline]
    fn swap(&self, old: u64, new: u64) -> bool {
        self.tat
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The TAT in the units of `quota`; `None` if the bucket is dead.
    #[inline]
    fn load(&self, quota: &Quota, now: Tick) -> Option<u64> {
        loop {
            // First the word, then its units: whoever reads a word that was
            // carried over also reads the units it was carried over to. Whoever
            // reads newer units than the word's cannot swap that word, and sees
            // when it reads the word again that it has changed.
            let tat = self.tat.load(Ordering::Acquire);
            if tat < BUSY && self.is_of(quota) {
                return Some(tat);
            }
            if tat == DEAD {
                return None;
            }
            self.carry_over(quota, now, tat);
        }
    }

    /// Expresses a bucket in the units of another quota. What it has is kept as a
    /// number of requests, so that going there and back mints nothing; a faster
    /// rate refills it faster from now on.
    #[cold]
    fn carry_over(&self, quota: &Quota, now: Tick, tat: u64) {
        if tat == BUSY || !self.swap(tat, BUSY) {
            spin();
            return;
        }
        let scale = self.scale.load(Ordering::Relaxed);
        let cell = self.cell.load(Ordering::Relaxed);
        let full = self.full.load(Ordering::Relaxed);
        let lacks = match cell {
            0 => 0,
            _ => quota.lacks_after(tat.saturating_sub(units(scale, now)), cell, full),
        };
        self.enter(quota, now, lacks);
    }

    /// Ends what began with `BUSY`: the bucket lacks so many units of `quota`.
    fn enter(&self, quota: &Quota, now: Tick, lacks: u128) {
        let lacks = u64::try_from(lacks).unwrap_or(u64::MAX).min(quota.ahead());
        let fresh = if lacks == 0 {
            0
        } else {
            quota.units(now).saturating_add(lacks).min(LAST)
        };
        self.scale.store(quota.scale, Ordering::Release);
        self.cell.store(quota.cell, Ordering::Release);
        self.full.store(quota.full, Ordering::Release);
        self.tat.store(fresh, Ordering::Release);
    }
}
