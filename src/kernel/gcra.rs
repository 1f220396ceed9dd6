//! The generic cell rate algorithm (ITU-T I.371, in its virtual scheduling
//! form) in one word and one compare-and-swap.
//!
//! The word is the *theoretical arrival time* (TAT): when the bucket will be
//! full again. Whole nanoseconds are too coarse for it: at 3·10⁸ a second the
//! emission interval would round from 3.33 to 3 ns, 11 % too fast. So time is
//! counted in **units of a power of two per emission interval**, each between
//! half a nanosecond and one: the interval is then exact, and only the
//! conversion of the current time rounds: down, by less than a unit, which is no
//! more than the clock itself rounds, and without accumulating. 64 bits hold 292
//! years of it.

use std::time::Duration;

use super::sync::{AtomicU32, AtomicU64, Ordering, spin};
use crate::clock::Tick;

/// The fraction bits of [`Quota::scale`].
const FRACTION: u32 = 63;

/// How much may pass, in the numbers the algorithm needs. It is `Copy` and fits
/// five words, so that a policy update can publish it atomically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Units per nanosecond, with 63 fraction bits, rounded up: 1 to 2.
    scale: u64,
    /// Nanoseconds per unit, with 63 fraction bits: 0.5 to 1.
    inverse: u64,
    /// An emission interval is `1 << shift` units.
    shift: u32,
    /// Requests that may come at once.
    burst: u32,
    /// Units that an empty bucket needs to fill: `burst << shift`.
    full: u64,
    /// Units that a TAT can lie ahead: `full` and the longest reservation.
    ahead: u64,
}

/// Why a quota cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// Nothing would ever pass.
    Zero,
    /// More than one request a nanosecond.
    TooFast,
    /// The bucket would take more than 73 years to fill.
    TooSlow,
}

impl Quota {
    /// `permits` every `period`, with up to `burst` at once, and reservations of
    /// up to `patience` (which saturates at 73 years).
    ///
    /// # Errors
    /// [`QuotaError`] if the rate or the burst is zero, the rate is above one a
    /// nanosecond, or `burst × period / permits` is above 73 years.
    pub fn new(
        permits: u32,
        period: Duration,
        burst: u32,
        patience: Duration,
    ) -> Result<Self, QuotaError> {
        const MOST: u128 = 1 << 61;
        let period = period.as_nanos();
        let permits = u128::from(permits);
        if permits == 0 || period == 0 || burst == 0 {
            return Err(QuotaError::Zero);
        }
        if permits > period {
            return Err(QuotaError::TooFast);
        }
        let interval = period.div_ceil(permits);
        if period > MOST || interval * u128::from(burst) > MOST {
            return Err(QuotaError::TooSlow);
        }
        // The smallest power of two that is at least the interval in ns.
        let shift = u128::BITS - (interval - 1).leading_zeros();
        // scale = 2^shift · permits / period, at least 1 and below 2. Rounding
        // up keeps exact multiples of the interval exact.
        let scale = ((permits << shift) << FRACTION).div_ceil(period);
        let inverse = (period << FRACTION) / (permits << shift);
        let full = u64::from(burst) << shift;
        let patience = (patience.as_nanos().min(MOST) * scale) >> FRACTION;
        Ok(Self {
            scale: u64::try_from(scale).unwrap_or(u64::MAX),
            inverse: u64::try_from(inverse).unwrap_or(u64::MAX),
            shift,
            burst,
            full,
            ahead: full.saturating_add(u64::try_from(patience).unwrap_or(u64::MAX)),
        })
    }

    /// As words, for [`Live`](super::live::Live).
    #[must_use]
    pub fn to_words(self) -> [u64; 4] {
        let small = u64::from(self.shift) << 32 | u64::from(self.burst);
        [self.scale, self.inverse, small, self.ahead]
    }

    /// The quota of [`to_words`](Self::to_words).
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // two 32-bit halves
    pub fn from_words([scale, inverse, small, ahead]: [u64; 4]) -> Self {
        let (shift, burst) = ((small >> 32) as u32, small as u32);
        Self {
            scale,
            inverse,
            shift,
            burst,
            full: u64::from(burst) << (shift & 63),
            ahead,
        }
    }

    /// The time as units; it stands still where a full bucket more would not fit
    /// the word.
    #[inline]
    fn units(&self, now: Tick) -> u64 {
        units(self.scale, now).min(LAST - self.ahead.min(LAST))
    }

    /// The earliest time whose units are at least `units`.
    #[allow(clippy::cast_possible_truncation)] // saturated before
    fn time(&self, units: u64) -> Tick {
        let guess = (u128::from(units) * u128::from(self.inverse)) >> FRACTION;
        let mut ticks = guess.min(u128::from(u64::MAX)) as u64;
        // The inverse is rounded down: the guess is early by very few.
        for _ in 0..4 {
            if self::units(self.scale, Tick::from_nanos(ticks)) >= units {
                break;
            }
            ticks = ticks.saturating_add(1);
        }
        Tick::from_nanos(ticks)
    }

    /// What may still come at `now` in a bucket at `level`.
    #[must_use]
    pub fn remaining(&self, level: Level, now: Tick) -> u32 {
        let used = level.0.saturating_sub(self.units(now));
        let cells = self.full.saturating_sub(used) >> self.shift;
        u32::try_from(cells).unwrap_or(self.burst).min(self.burst)
    }

    /// Until a bucket at `level` is full again.
    #[must_use]
    pub fn reset(&self, level: Level, now: Tick) -> Duration {
        self.time(level.0).saturating_since(now)
    }
}

/// The time in units of a scale, rounded down. The scale is rounded up, by so
/// little that exact multiples of the interval stay exact.
#[inline]
#[allow(clippy::cast_possible_truncation)] // saturated before
fn units(scale: u64, now: Tick) -> u64 {
    let product = u128::from(now.as_nanos()) * u128::from(scale);
    (product >> FRACTION).min(u128::from(u64::MAX)) as u64
}

/// How full a bucket is; [`Quota::remaining`] and [`Quota::reset`] read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(u64);

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
/// The last time that a word can hold.
const LAST: u64 = u64::MAX - 2;

/// One bucket.
#[derive(Debug, Default)]
pub struct Gcra {
    /// The theoretical arrival time, in units of the scale below.
    tat: AtomicU64,
    /// The quota that `tat` was written under; written while it is `BUSY`.
    scale: AtomicU64,
    shift: AtomicU32,
}

impl Gcra {
    /// A full bucket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `cost` at `now`, if nothing stands in the way: [`admit`](Self::admit)
    /// in the fewest steps. `false` says nothing yet; ask there.
    #[inline]
    pub fn try_admit(&self, quota: &Quota, now: Tick, cost: u32) -> bool {
        let units = quota.units(now);
        let tat = self.tat.load(Ordering::Acquire);
        if self.scale.load(Ordering::Relaxed) != quota.scale
            || self.shift.load(Ordering::Relaxed) != quota.shift
            || cost > quota.burst
        {
            return false;
        }
        // A mark in place of a time is far ahead, and so are times from before
        // the clock went back: all of them fail here.
        let next = tat
            .max(units)
            .saturating_add(u64::from(cost) << quota.shift);
        next.saturating_sub(quota.full) <= units && self.swap(tat, next)
    }

    /// Asks for `cost` at `now`, offering to wait for up to `patience` (at most
    /// the quota's). A cost of 0 counts as 1. A refusal writes nothing.
    #[inline]
    pub fn admit(&self, quota: &Quota, now: Tick, cost: u32, patience: Duration) -> Decision {
        let cost = cost.max(1);
        if cost > quota.burst {
            return Decision::Never;
        }
        let units = quota.units(now);
        let cost = u64::from(cost) << quota.shift;
        loop {
            let Some(tat) = self.load(quota, now) else {
                return Decision::Dead;
            };
            // A TAT that no grant until now can have left means that the clock
            // went back: the bucket is then as empty as it can be.
            let base = tat.clamp(units, units.saturating_add(quota.ahead));
            let next = base.saturating_add(cost).min(LAST);
            let earliest = next.saturating_sub(quota.full);
            if units >= earliest {
                if self.swap(tat, next) {
                    return Decision::Admit(Level(next));
                }
                continue;
            }
            // At the end of time there is no later: still it is a wait.
            let wait = quota.time(earliest).saturating_since(now);
            let wait = wait.max(Duration::from_nanos(1));
            let mut reserved = None;
            if wait <= patience && next - units <= quota.ahead {
                if !self.swap(tat, next) {
                    continue;
                }
                let (before, after) = (base, next);
                reserved = Some(Reservation { before, after });
            }
            return Decision::Wait {
                wait,
                reserved,
                level: Level(base),
            };
        }
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
            // carried over also reads the units it was carried over to.
            let tat = self.tat.load(Ordering::Acquire);
            if tat < BUSY
                && self.scale.load(Ordering::Relaxed) == quota.scale
                && self.shift.load(Ordering::Relaxed) == quota.shift
            {
                return Some(tat);
            }
            if tat == DEAD {
                return None;
            }
            self.carry_over(quota, now, tat);
        }
    }

    /// Expresses a bucket in the units of another quota. What it lacks is kept
    /// as a number of requests: a faster rate refills it faster from now on.
    #[cold]
    fn carry_over(&self, quota: &Quota, now: Tick, tat: u64) {
        if tat == BUSY || !self.swap(tat, BUSY) {
            spin();
            return;
        }
        let old_scale = self.scale.load(Ordering::Relaxed);
        // A new bucket has no units yet, and lacks nothing.
        let lacks = match old_scale {
            0 => 0,
            scale => tat.saturating_sub(units(scale, now)),
        };
        let up = quota
            .shift
            .saturating_sub(self.shift.load(Ordering::Relaxed));
        let down = self
            .shift
            .load(Ordering::Relaxed)
            .saturating_sub(quota.shift);
        // Rounded up: an update mints nothing.
        let lacks = ((u128::from(lacks) << up) + ((1 << down) - 1)) >> down;
        let lacks = u64::try_from(lacks).unwrap_or(u64::MAX).min(quota.ahead);
        let fresh = if lacks == 0 {
            0
        } else {
            quota.units(now).saturating_add(lacks).min(LAST)
        };
        self.scale.store(quota.scale, Ordering::Relaxed);
        self.shift.store(quota.shift, Ordering::Relaxed);
        self.tat.store(fresh, Ordering::Release);
    }
}

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use super::*;

    /// Also where the interval is no power of two, and so the time in units is
    /// rounded at nearly every tick.
    #[test]
    fn a_full_bucket_admits_its_whole_burst_at_any_time() {
        for (permits, period, burst) in [(1, 3600, 1), (1, 1, 1), (100, 1, 100), (7, 60, 3)] {
            let quota = Quota::new(permits, Duration::from_secs(period), burst, Duration::ZERO);
            let quota = quota.unwrap();
            for n in 0..1_000u64 {
                let now = Tick::from_nanos(3_600_000_000_000 + n * 987_654_321);
                let ask = |bucket: &Gcra, cost| bucket.admit(&quota, now, cost, Duration::ZERO);
                let (whole, single) = (Gcra::new(), Gcra::new());
                assert!(matches!(ask(&whole, burst), Decision::Admit(_)));
                assert!(matches!(ask(&whole, 1), Decision::Wait { .. }));
                for _ in 0..burst {
                    assert!(
                        matches!(ask(&single, 1), Decision::Admit(_)),
                        "{quota:?} at {n}"
                    );
                }
                assert!(matches!(ask(&single, 1), Decision::Wait { .. }));
            }
        }
    }
}
