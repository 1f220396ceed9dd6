//! The peak-sensitive moving average of Finagle's Peak EWMA: it takes over a
//! longer time at once, and forgets it slowly.

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::kernel::sync::{AtomicU64, Ordering};

/// How fast an average forgets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Decay {
    /// By how much of its time constant an average has aged, per nanosecond.
    rate: f64,
    /// In less time than this an average does not change.
    step: u64,
}

/// Steps in a time constant.
const STEPS: u64 = 1 << 14;

impl Decay {
    /// By a time constant: after so long, 1/e of what was known is left.
    pub(crate) fn new(constant: Duration) -> Self {
        let constant = nanos(constant).max(1);
        #[allow(clippy::cast_precision_loss)] // a share of a nanosecond in days
        let rate = 1.0 / constant as f64;
        Self {
            rate,
            step: constant / STEPS,
        }
    }

    /// What is left after some nanoseconds.
    #[inline]
    fn left(self, since: u64) -> f64 {
        #[allow(clippy::cast_precision_loss)] // as above
        let age = since as f64 * self.rate;
        // The usual case, to a millionth: endpoints are called more often than
        // every sixth of a second.
        if age < 1.0 / 64.0 {
            return 1.0 - age + age * age / 2.0;
        }
        (-age).exp()
    }
}

/// An average of the times that calls of an endpoint took, in nanoseconds.
///
/// Of the calls within a step (the time constant by 16,384) the first is averaged
/// in, with the weight of the time since the one before, and the others only if
/// they took longer: so a busy endpoint's average is seldom written to.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    /// The bits of a number that is not negative: they are ordered as it is.
    cost: AtomicU64,
    /// When it was that.
    stamp: AtomicU64,
}

impl Peak {
    /// A call took so long.
    #[inline]
    pub(crate) fn record(&self, decay: Decay, now: Tick, took: u64) {
        let stamp = self.stamp.load(Ordering::Acquire);
        let since = now.as_nanos().saturating_sub(stamp);
        let cost = f64::from_bits(self.cost.load(Ordering::Acquire));
        #[allow(clippy::cast_precision_loss)] // to a nanosecond in 104 days
        let took = took as f64;
        let is_behind = stamp > now.as_nanos().saturating_add(decay.step);
        if took > cost || since > decay.step || is_behind {
            self.write(decay, now, took, stamp);
        }
    }

    /// The stamp first: who reads in between sees what was known before as if it
    /// were new, and not what is new as if it were old and forgotten.
    #[inline(never)]
    fn write(&self, decay: Decay, now: Tick, took: f64, stamp: u64) {
        let now = now.as_nanos();
        let claim = self
            .stamp
            .compare_exchange(stamp, now, Ordering::AcqRel, Ordering::Acquire);
        // Somebody else has accounted for that time.
        let since = claim.map_or(0, |stamp| now.saturating_sub(stamp));
        let left = decay.left(since);
        let averaged = |bits| {
            let cost = f64::from_bits(bits);
            let next = match took > cost {
                true => took,
                false => took * (1.0 - left) + cost * left,
            };
            Some(next.to_bits())
        };
        let _ = self
            .cost
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, averaged);
    }

    /// A call that says nothing good took so long: it counts if that is longer than
    /// is known.
    #[inline]
    pub(crate) fn record_worse(&self, decay: Decay, now: Tick, took: u64) {
        #[allow(clippy::cast_precision_loss)] // as above
        if took as f64 > self.cost(decay, now) {
            self.record(decay, now, took);
        }
    }

    /// What a call costs in nanoseconds, as far as is known by now; 0 if nothing is.
    #[inline]
    pub(crate) fn cost(&self, decay: Decay, now: Tick) -> f64 {
        // In the order in which they are written.
        let cost = f64::from_bits(self.cost.load(Ordering::Acquire));
        let stamp = self.stamp.load(Ordering::Acquire);
        cost * decay.left(now.as_nanos().saturating_sub(stamp))
    }
}

/// What Finagle takes for the cost of an endpoint that has calls in flight and has
/// not answered any yet: so the first call to a new one is alone.
const UNKNOWN: f64 = 140_737_488_355_327.0;

/// The load of an endpoint: what a call costs, times how many there would be.
#[inline]
pub(crate) fn load(cost: f64, in_flight: u32) -> f64 {
    match cost == 0.0 && in_flight > 0 {
        true => UNKNOWN + f64::from(in_flight),
        false => cost * (f64::from(in_flight) + 1.0),
    }
}
