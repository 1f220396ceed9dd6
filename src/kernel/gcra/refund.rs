//! What a bucket gets back, and what it is charged for later.
//!
//! Whoever gives `cost` back that ended at a TAT of `A` may lower the TAT by what of
//! it is still ahead: once the bucket has been full, the cost is forgotten, and to
//! give it back would mint. That the bucket was never full before `A` holds as long
//! as nobody else has lowered the TAT in between; so refunds are summed up *before*
//! they take effect, and what others have lowered meanwhile is taken off. A refund
//! can thus be too small where others are under way, and is never too large.

use super::{Decision, Gcra, Level, Quota};
use crate::clock::Tick;
use crate::kernel::meter::Look;
use crate::kernel::sync::{AtomicU64, Ordering, spin};

/// What was given back.
#[derive(Debug, Default)]
pub(super) struct Refunds {
    /// Units, of all refunds so far: it wraps.
    sum: AtomicU64,
    /// How often the bucket went over to another quota.
    era: AtomicU64,
}

impl Refunds {
    /// What was taken under the old quota is not given back under the new one.
    pub(super) fn void(&self) {
        self.era.fetch_add(1, Ordering::AcqRel);
    }
}

/// What was taken from a bucket, for [`Gcra::refund`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    after: u64,
    cost: u64,
    sum: u64,
    era: u64,
}

impl Gcra {
    /// Takes `cost` at `now`, and can be told to take it back.
    pub fn take(&self, quota: &Quota, now: Tick, cost: u32) -> Result<(Taken, Level), Decision> {
        // A fresh one goes over to the quota first.
        self.load(quota, now).ok_or(Decision::Dead)?;
        // Both before: what comes later counts against the refund.
        let sum = self.refunds.sum.load(Ordering::Acquire);
        let era = self.refunds.era.load(Ordering::Acquire);
        match self.admit(quota, now, cost, std::time::Duration::ZERO) {
            Decision::Admit(level) => {
                let cost = quota.units_of(cost.max(1)).unwrap_or(0);
                let taken = Taken {
                    after: level.0,
                    cost,
                    sum,
                    era,
                };
                Ok((taken, level))
            }
            decision => Err(decision),
        }
    }

    /// What [`take`](Self::take) would say; it writes nothing.
    pub fn look(&self, quota: &Quota, now: Tick, cost: u32) -> Look {
        let Some(cost) = quota.units_of(cost.max(1)) else {
            return Look::Never;
        };
        let Some(word) = self.load(quota, now) else {
            return Look::Dead;
        };
        let units = quota.units(now);
        let (_, earliest) = quota.after(word.tat(), units, cost);
        // A clock that was wrong is set right by taking.
        if units >= earliest || quota.is_unlikely(word.tat(), units) {
            return Look::Free;
        }
        Look::Late(quota.wait(earliest, now))
    }

    /// Gives back what was taken, as far as the bucket has not been refilled since.
    /// `clock` tells the time: it must be read after the word.
    pub fn refund(&self, quota: &Quota, taken: &Taken, clock: impl Fn() -> Tick) {
        let sum = self.refunds.sum.fetch_add(taken.cost, Ordering::AcqRel);
        let lowered = sum.wrapping_sub(taken.sum);
        let after = taken.after.saturating_sub(lowered);
        loop {
            let word = super::Word(self.word.load(Ordering::Acquire));
            if word.0 >= super::BUSY
                || !self.form(word).is_of(quota)
                || self.refunds.era.load(Ordering::Acquire) != taken.era
            {
                return;
            }
            let ahead = after.saturating_sub(quota.units(clock()));
            let back = ahead.min(taken.cost);
            let tat = word.tat().saturating_sub(back);
            if back == 0 || self.swap(word, word.with(tat)) {
                return;
            }
        }
    }

    /// Takes `cost` whatever there is, but leaves it at most so many requests below
    /// nothing.
    pub fn charge(&self, quota: &Quota, now: Tick, cost: u32, debt: u32) {
        let cost = u64::from(cost).saturating_mul(quota.cell);
        let units = quota.units(now);
        let owed = u64::from(debt).saturating_mul(quota.cell);
        let most = units.saturating_add(quota.full).saturating_add(owed);
        let most = most.min(quota.most(units));
        while let Some(word) = self.load(quota, now) {
            let tat = word.tat();
            let next = tat.max(units).saturating_add(cost).min(most).max(tat);
            if self.swap(word, word.with(next)) {
                return;
            }
        }
    }

    /// Retires the bucket if it is full; what it was, for [`revive`](Self::revive).
    pub fn retire(&self, quota: &Quota, now: Tick) -> Option<u64> {
        let word = self.load(quota, now)?;
        let full = word.tat() <= quota.units(now);
        (full && self.swap(word, super::DEAD)).then_some(word.0)
    }

    /// Whether it is retired.
    #[inline]
    pub fn is_retired(&self) -> bool {
        self.word.load(Ordering::Acquire) == super::DEAD
    }

    /// Takes back a retirement: nobody else may have done so.
    pub fn revive(&self, word: u64) {
        let dead = super::Word(super::DEAD);
        self.swap(dead, word);
    }

    /// Takes over what another bucket has, which is dead from then on. Nobody else must
    /// have seen this one.
    pub fn succeed(&self, other: &Self) {
        loop {
            let word = super::Word(other.word.load(Ordering::Acquire));
            match word.0 {
                super::DEAD => return,
                super::BUSY => spin(),
                _ if other.swap(word, super::DEAD) => return self.copy(other, word),
                _ => {}
            }
        }
    }

    /// As [`succeed`](Self::succeed), but the other one goes on.
    pub fn resemble(&self, other: &Self) {
        loop {
            let word = super::Word(other.word.load(Ordering::Acquire));
            match word.0 {
                super::DEAD => return,
                super::BUSY => spin(),
                _ => self.copy(other, word),
            }
            if other.word.load(Ordering::Acquire) == word.0 {
                return;
            }
        }
    }

    fn copy(&self, other: &Self, word: super::Word) {
        self.form(word).copy(other.form(word));
        self.word.store(word.0, Ordering::Release);
    }
}
