//! How a limit follows what a window has measured: pure arithmetic, one step
//! for each window.

mod aimd;
mod baseline;
mod gradient;
mod guarded;
#[cfg(all(test, not(keep_loom)))]
mod tests;
mod vegas;

use std::fmt;
use std::time::Duration;

pub use self::aimd::Aimd;
pub use self::gradient::{Gradient, Gradient2};
pub use self::guarded::Guarded;
pub use self::vegas::Vegas;

/// Finds a limit. One step for each [`Window`]; yours goes to
/// [`AdaptiveLayer::ruled_by`](super::AdaptiveLayer::ruled_by).
///
/// It is never asked about a window without samples. What it answers is kept
/// within the policy's floor and ceiling; the next window tells what was in
/// force. It runs under a lock, once a window: it should be short. A panic is
/// counted, and the limit stays.
///
/// ```
/// use tower_keep::adaptive::{Algorithm, Window};
///
/// /// Half of the calls that were in flight when the service was at its best.
/// #[derive(Debug, Default)]
/// struct Careful(u32);
///
/// impl Algorithm for Careful {
///     fn update(&mut self, window: &Window) -> u32 {
///         self.0 = self.0.max(window.in_flight);
///         self.0 / 2
///     }
/// }
/// ```
pub trait Algorithm: fmt::Debug + Send + 'static {
    /// The limit from now on.
    fn update(&mut self, window: &Window) -> u32;

    /// The name in snapshots and reports.
    fn name(&self) -> &'static str {
        "own"
    }
}

impl<A: Algorithm + ?Sized> Algorithm for Box<A> {
    fn update(&mut self, window: &Window) -> u32 {
        (**self).update(window)
    }

    fn name(&self) -> &'static str {
        (**self).name()
    }
}

/// What was measured in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Window {
    /// The limit that was in force.
    pub limit: u32,
    /// How long it was.
    pub span: Duration,
    /// Calls whose time counts: those that succeeded, and others that lasted
    /// longer than is usual.
    pub samples: u64,
    /// Their mean response time.
    pub mean: Duration,
    /// Calls in flight, on average (Little's law), rounded up.
    pub in_flight: u32,
    /// All calls that ended.
    pub ended: u64,
    /// Those of them that ended in an overload or a timeout.
    pub dropped: u64,
    /// Requests that found the limit reached, and were refused or had to wait.
    pub reached: u64,
    /// Requests that were refused, at once or after a wait.
    pub refused: u64,
    /// What calls have waited for their admission, on average over all that ended.
    pub queue_time: Duration,
}

impl Window {
    /// A second in which the limit was reached all the time, and 100 calls took
    /// `mean`: to test an algorithm with.
    #[must_use]
    pub fn new(limit: u32, mean: Duration) -> Self {
        Self {
            limit,
            span: Duration::from_secs(1),
            samples: 100,
            mean,
            in_flight: limit,
            ended: 100,
            dropped: 0,
            reached: 0,
            refused: 0,
            queue_time: Duration::ZERO,
        }
    }

    /// As this one, with so many calls in flight.
    #[must_use]
    pub fn with_in_flight(self, in_flight: u32) -> Self {
        Self { in_flight, ..self }
    }

    /// As this one, with so many of its calls dropped.
    #[must_use]
    pub fn with_dropped(self, dropped: u64) -> Self {
        Self { dropped, ..self }
    }

    /// Whether the limit was felt: somebody found it reached, or at least half of
    /// it was in use. Another window says nothing about the limit.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.reached > 0 || u64::from(self.in_flight) * 2 >= self.limit.into()
    }

    /// Whether the service was overloaded by its own account: more than a
    /// hundredth of the calls was dropped. Of a large number some always are.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.dropped.saturating_mul(100) > self.ended
    }

    /// Samples a second.
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    pub(super) fn throughput(&self) -> f64 {
        self.samples as f64 / self.span.as_secs_f64().max(1e-9)
    }

    /// Seconds, above zero.
    pub(super) fn seconds(&self) -> f64 {
        self.mean.as_secs_f64().max(1e-9)
    }
}

/// A limit with the fraction that rounding takes off it.
#[derive(Debug, Clone, Copy, Default)]
struct Estimate(f64);

impl Estimate {
    /// What it was, or what somebody else has made of it.
    fn of(self, limit: u32) -> f64 {
        if whole(self.0) == limit {
            self.0
        } else {
            limit.into()
        }
    }

    fn set(&mut self, limit: f64) -> u32 {
        self.0 = limit;
        whole(limit)
    }
}

/// Whole calls, at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
fn whole(limit: f64) -> u32 {
    (limit as u32).max(1)
}
