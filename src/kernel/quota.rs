//! How much may pass in a given time, in the numbers that [`Gcra`](super::gcra::Gcra)
//! needs.

use std::time::Duration;

use crate::clock::Tick;

/// The fraction bits of [`Quota::scale`].
pub(super) const FRACTION: u32 = 60;

/// How much may pass, in the numbers the algorithm needs. It is `Copy` and fits
/// five words, so that a policy update can publish it atomically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Units per nanosecond, with 60 fraction bits, rounded down: up to 8.
    pub(super) scale: u64,
    /// Units per emission interval: an even number, as all times are.
    pub(super) cell: u64,
    /// Units that an empty bucket needs to fill.
    pub(super) full: u64,
    /// The last time: further ahead than it, a TAT can lie by a full bucket and the
    /// longest reservation.
    pub(super) last: u64,
    /// Since when it has been in force, in nanoseconds; 0 if nobody has said.
    pub(super) since: u64,
}

/// Why a quota cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// Nothing would ever pass.
    Zero,
    /// More than one request a nanosecond.
    TooFast,
    /// The bucket would take more than 36 years to fill, or the period is longer.
    TooSlow,
}

impl Quota {
    /// `permits` every `period`, with up to `burst` at once, and reservations of
    /// up to `patience` (which saturates at 36 years).
    ///
    /// # Errors
    /// [`QuotaError`] if the rate or the burst is zero, the rate is above one a
    /// nanosecond, or `period` or `burst × period / permits` is above 36 years.
    pub fn new(
        permits: u32,
        period: Duration,
        burst: u32,
        patience: Duration,
    ) -> Result<Self, QuotaError> {
        const MOST: u128 = 1 << 60;
        let period = period.as_nanos();
        let permits = u128::from(permits);
        if permits == 0 || period == 0 || burst == 0 {
            return Err(QuotaError::Zero);
        }
        if permits > period {
            return Err(QuotaError::TooFast);
        }
        if period > MOST || period * u128::from(burst) > MOST * permits {
            return Err(QuotaError::TooSlow);
        }
        let exact = (1..=4).find(|units| (units * period).is_multiple_of(permits));
        let cell = 2 * (exact.unwrap_or(4) * period / permits);
        // Rounded down: nobody is early.
        let scale = ((cell * permits) << FRACTION) / period;
        let patience = (patience.as_nanos().min(MOST) * scale) >> FRACTION;
        let ahead = (u128::from(burst) * cell + patience).min(MOST << 3);
        let ahead = ahead.next_multiple_of(2);
        let word = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Self {
            scale: word(scale),
            cell: word(cell),
            full: word(u128::from(burst) * cell),
            last: LAST - word(ahead).min(LAST),
            since: 0,
        })
    }

    /// The same quota, in force from now on.
    #[must_use]
    pub fn since(self, now: Tick) -> Self {
        let since = now.as_nanos().max(1);
        Self { since, ..self }
    }

    /// The same quota, in force since when the other is.
    #[cfg(feature = "throttle")]
    pub(super) fn since_like(self, other: &Self) -> Self {
        let since = other.since;
        Self { since, ..self }
    }

    /// Whether a bucket may go on as it is under the other one.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.scale, self.cell, self.full) == (other.scale, other.cell, other.full)
    }

    /// What a bucket lacks under this quota that lacked so much under another one
    /// with these numbers: what it has is kept as requests, up to the burst; what was
    /// reserved beyond that as time, for those who wait were told their times.
    pub(super) fn lacks_after(&self, lacks: u64, scale: u64, cell: u64, full: u64) -> u128 {
        let (from, to) = (u128::from(cell.max(1)), u128::from(self.cell));
        // Rounded down what it has, and up what was reserved.
        let has = u128::from(full.saturating_sub(lacks)) * to / from;
        let reserved = u128::from(lacks.saturating_sub(full)) * u128::from(self.scale);
        let reserved = reserved.div_ceil(u128::from(scale.max(1)));
        let full = u128::from(self.full);
        full - has.min(full) + reserved
    }

    /// As words, for [`Live`](super::live::Live).
    #[must_use]
    pub fn to_words(self) -> [u64; 5] {
        [self.scale, self.cell, self.full, self.last, self.since]
    }

    /// The quota of [`to_words`](Self::to_words).
    #[must_use]
    #[inline]
    pub fn from_words([scale, cell, full, last, since]: [u64; 5]) -> Self {
        Self {
            scale,
            cell,
            full,
            last,
            since,
        }
    }

    /// Requests that may come at once.
    #[cfg(test)]
    pub(crate) fn burst(&self) -> u32 {
        u32::try_from(self.full / self.cell).unwrap()
    }

    /// Units that `cost` takes; `None` if a full bucket does not hold them.
    #[inline]
    pub(super) fn units_of(&self, cost: u32) -> Option<u64> {
        let units = u64::from(cost).saturating_mul(self.cell);
        (units <= self.full).then_some(units)
    }

    /// The time as units, rounded down to an even number; it stands still where a full bucket more
    /// would not fit the word.
    #[inline]
    pub(super) fn units(&self, now: Tick) -> u64 {
        units(self.scale, now).min(self.last)
    }

    /// The TAT after one of `tat` at the time `units`, and when that begins to fit the
    /// bucket. At the end of time it is beyond the last word, and does not fit.
    #[inline]
    pub(super) fn after(&self, tat: u64, units: u64, cost: u64) -> (u64, u64) {
        let next = tat.max(units).saturating_add(cost);
        (next, next.saturating_sub(self.full))
    }

    /// Units that a TAT can lie ahead.
    #[inline]
    pub(super) fn ahead(&self) -> u64 {
        LAST.saturating_sub(self.last)
    }

    /// The furthest that a TAT can lie ahead at the time `units`.
    #[inline]
    pub(super) fn most(&self, units: u64) -> u64 {
        units.saturating_add(self.ahead())
    }

    /// Whether `tat` is so far ahead that the clock must have been wrong by more
    /// than an hour before it went back. A clock that went back by less catches up,
    /// and nothing is minted meanwhile.
    #[inline]
    pub(super) fn is_unlikely(&self, tat: u64, units: u64) -> bool {
        // 2^42 nanoseconds: 73 minutes.
        tat > self
            .most(units)
            .saturating_add(self.scale >> (FRACTION - 42))
    }

    /// Nanoseconds from `now` until the time is `units`. At the end of time there is
    /// no later: still it is a wait.
    #[inline]
    pub(super) fn wait(&self, units: u64, now: Tick) -> u64 {
        let due = self.time(units).as_nanos();
        due.saturating_sub(now.as_nanos()).max(1)
    }

    /// The earliest time whose units, rounded down, are at least `units`, which are
    /// even.
    #[inline]
    pub(super) fn time(&self, units: u64) -> Tick {
        // Of most quotas a nanosecond has a whole number of units, and mostly two.
        const WHOLE: u64 = 1 << FRACTION;
        const TWO: u64 = WHOLE * 2;
        Tick::from_nanos(match self.scale {
            TWO => units / 2,
            scale if scale.is_multiple_of(WHOLE) => units.div_ceil((scale / WHOLE).max(1)),
            scale => divided(units, scale),
        })
    }

    /// What may still come at `now` in a bucket at `level`.
    #[must_use]
    pub fn remaining(&self, level: Level, now: Tick) -> u32 {
        let used = level.0.saturating_sub(self.units(now));
        let cells = self.full.saturating_sub(used) / self.cell.max(1);
        u32::try_from(cells).unwrap_or(u32::MAX)
    }

    /// Until a bucket at `level` is full again.
    #[must_use]
    pub fn reset(&self, level: Level, now: Tick) -> Duration {
        self.time(level.0).saturating_since(now)
    }
}

/// The time in units of a scale, rounded down.
#[inline]
#[allow(clippy::cast_possible_truncation)] // saturated before
pub(super) fn units(scale: u64, now: Tick) -> u64 {
    let product = u128::from(now.as_nanos()) * u128::from(scale);
    (product >> FRACTION).min(u128::from(u64::MAX)) as u64 & !1
}

/// [`Quota::time`] in full.
#[inline(never)]
pub(super) fn divided(units: u64, scale: u64) -> u64 {
    let ticks = (u128::from(units) << FRACTION).div_ceil(u128::from(scale.max(1)));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// How full a bucket is; [`Quota::remaining`] and [`Quota::reset`] read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(pub(super) u64);

/// The last time that the word of a bucket can hold.
pub(super) const LAST: u64 = u64::MAX - 3;
