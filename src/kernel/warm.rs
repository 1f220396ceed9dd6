//! A rate that warms up: after a pause, permits come at a third of the rate, and the
//! faster the more have been used, as in Guava's `SmoothWarmingUp` with its cold
//! factor of 3.
//!
//! In Guava's terms, with `s` the interval at the full rate and `w` the time to warm
//! up: at most `w / s` permits are stored, one for each `s` of idling; those above
//! `w / 2s` cost up to `3s`, the others `s`. Here they are counted as time, so that no
//! fraction is lost.
//!
//! A request passes when the one before has been paid for. The time when that is so is
//! the word that decides; how warm it is, is another one that follows it: a request
//! that comes before it has followed is paced by a rate a little off, between the cold
//! and the full one. Never two requests are closer than the full rate allows.

use super::meter::Look;
use super::sync::{AtomicU64, Ordering};
use crate::clock::Tick;

/// A rate that warms up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    permits: u64,
    per: u64,
    burst: u64,
    /// Nanoseconds to warm up.
    warm_up: u64,
    debt: u64,
}

const DEAD: u64 = u64::MAX;
const UNLIKELY: u64 = 1 << 42;

impl Ramp {
    /// `permits` per `per`, each request of a cost of up to `burst`. `None` if any of
    /// them is 0, or the times are beyond 36 years.
    #[must_use]
    pub fn new(permits: u32, per: u64, burst: u32, warm_up: u64, debt: u32) -> Option<Self> {
        let ramp = Self {
            permits: permits.into(),
            per,
            burst: burst.into(),
            warm_up,
            debt: debt.into(),
        };
        let zero = permits == 0 || per == 0 || burst == 0 || warm_up == 0;
        let longest = ramp.most().max(warm_up).max(per);
        (!zero && longest <= 1 << 60).then_some(ramp)
    }

    /// As words.
    #[must_use]
    pub fn to_words(self) -> [u64; 5] {
        [self.permits, self.per, self.burst, self.warm_up, self.debt]
    }

    /// The one of [`to_words`](Self::to_words).
    #[must_use]
    pub fn from_words([permits, per, burst, warm_up, debt]: [u64; 5]) -> Self {
        Self {
            permits,
            per,
            burst,
            warm_up,
            debt,
        }
    }

    /// What so many permits take at the full rate, rounded up.
    fn time(self, permits: u64) -> u64 {
        let time = u128::from(permits) * u128::from(self.per);
        let time = time.div_ceil(u128::from(self.permits.max(1)));
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// The longest that a request, and what is charged, can keep others waiting.
    fn most(self) -> u64 {
        let most = self.burst.saturating_mul(3).saturating_add(self.debt);
        self.time(most)
    }

    /// What `time` at the full rate takes after `spent` of the store is used up.
    fn paced(self, time: u64, spent: u64) -> u64 {
        let stored = self.warm_up.saturating_sub(spent);
        let cold = stored.saturating_sub(self.warm_up / 2);
        let part = cold.min(time);
        // The middle of where the slope begins and ends.
        let slope = u128::from(cold) + u128::from(cold - part);
        let extra = u128::from(part) * 2 * slope / u128::from(self.warm_up.max(1));
        time.saturating_add(u64::try_from(extra).unwrap_or(u64::MAX))
    }
}

/// One rate.
#[derive(Debug, Default)]
pub struct Warm {
    /// When the last request is paid for.
    next: AtomicU64,
    /// How much of the store was used up, at that time.
    spent: AtomicU64,
}

/// What was taken, for [`Warm::refund`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    before: u64,
    after: u64,
    time: u64,
}

impl Warm {
    /// Takes `cost` at `now`: what, or why not.
    pub fn take(&self, ramp: &Ramp, now: Tick, cost: u32) -> Result<Paid, Look> {
        let cost = u64::from(cost.max(1));
        if cost > ramp.burst {
            return Err(Look::Never);
        }
        let now = now.as_nanos();
        loop {
            let next = self.next.load(Ordering::Acquire);
            if next == DEAD {
                return Err(Look::Dead);
            }
            if next > now {
                let most = now.saturating_add(ramp.most());
                // The clock was wrong, and went back.
                if next > most.saturating_add(UNLIKELY) && self.swap(next, most) {
                    continue;
                }
                return Err(Look::Late(next - now));
            }
            let idle = now - next;
            let spent = self.spent.load(Ordering::Acquire).saturating_sub(idle);
            let time = ramp.time(cost);
            // At the end of time nothing would be refilled.
            let after = now.checked_add(ramp.paced(time, spent));
            let Some(after) = after.filter(|after| *after < DEAD) else {
                return Err(Look::Late(u64::MAX));
            };
            if self.swap(next, after) {
                self.follow(|spent| {
                    let spent = spent.saturating_sub(idle).saturating_add(time);
                    spent.min(ramp.warm_up)
                });
                let before = next;
                return Ok(Paid {
                    before,
                    after,
                    time,
                });
            }
        }
    }

    /// What [`take`](Self::take) would say; it writes nothing.
    pub fn look(&self, ramp: &Ramp, now: Tick, cost: u32) -> Look {
        let now = now.as_nanos();
        match self.next.load(Ordering::Acquire) {
            _ if u64::from(cost) > ramp.burst => Look::Never,
            DEAD => Look::Dead,
            next if next <= now => Look::Free,
            // Taking sets it right.
            next if next - now > ramp.most().saturating_add(UNLIKELY) => Look::Free,
            next => Look::Late(next - now),
        }
    }

    /// Gives back what was taken, if nobody has come since.
    pub fn refund(&self, paid: &Paid) {
        if self.swap(paid.after, paid.before) {
            self.follow(|spent| spent.saturating_sub(paid.time));
        }
    }

    /// Lets the next request pay for `cost` more, up to the debt of the ramp.
    pub fn charge(&self, ramp: &Ramp, now: Tick, cost: u32) {
        let now = now.as_nanos();
        let most = now.saturating_add(ramp.most());
        loop {
            let next = self.next.load(Ordering::Acquire);
            if next == DEAD {
                return;
            }
            let paid = next.max(now).saturating_add(ramp.time(cost.into()));
            if self.swap(next, paid.min(most).max(next)) {
                return;
            }
        }
    }

    /// Whether a request may come at `now`, and when else, in nanoseconds.
    pub fn left(&self, now: Tick) -> (u32, u64) {
        let wait = self.next.load(Ordering::Acquire);
        let wait = wait.saturating_sub(now.as_nanos());
        (u32::from(wait == 0), wait)
    }

    /// Retires it if it is as cold as a new one; what it was, for
    /// [`revive`](Self::revive).
    pub fn retire(&self, now: Tick) -> Option<u64> {
        let next = self.next.load(Ordering::Acquire);
        let idle = now.as_nanos().checked_sub(next)?;
        let cold = self.spent.load(Ordering::Acquire) <= idle;
        (cold && self.swap(next, DEAD)).then_some(next)
    }

    /// Takes back a retirement.
    pub fn revive(&self, word: u64) {
        self.swap(DEAD, word);
    }

    fn swap(&self, old: u64, new: u64) -> bool {
        self.next
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    fn follow(&self, change: impl Fn(u64) -> u64) {
        let change = |spent| Some(change(spent));
        let _ = self
            .spent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }
}
