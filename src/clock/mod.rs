//! The one place that reads a clock and arms a timer.
//!
//! A [`Clock`] is one small concrete type, so that no signature is infected by
//! it. Use one clock for all layers of a stack: times of different clocks do
//! not compare.
//!
//! ```
//! use tower_keep::clock::Clock;
//!
//! let clock = Clock::default();
//! let start = clock.now();
//! assert!(clock.now() >= start);
//! ```

// The rule that nobody reads a clock holds everywhere but here.
#![allow(clippy::disallowed_methods)]

mod driver;
#[cfg(any(test, feature = "test-util"))]
mod manual;
mod real;
mod sleep;
mod stamp;
mod tick;

use std::fmt;
#[cfg(any(test, feature = "test-util", feature = "tsc"))]
use std::sync::Arc;
use std::time::Instant;

pub(crate) use driver::Timers;
#[cfg(feature = "test-util")]
pub(crate) use driver::armed;
#[cfg(any(test, feature = "test-util"))]
pub use manual::ManualClock;
use real::{instant_of, tick_of};
pub use sleep::{NoRuntime, Sleep};
pub(crate) use stamp::Stamp;
pub use tick::Tick;
pub(crate) use tick::nanos;

/// Where a layer reads the time and gets its timers. Cheap to clone.
///
/// The default is [`Clock::tokio`].
#[derive(Clone)]
pub struct Clock {
    source: Source,
    /// Tells the clocks of this process apart; never 0.
    identity: usize,
}

#[derive(Clone)]
enum Source {
    System,
    Tokio,
    #[cfg(feature = "tsc")]
    Tsc(Arc<Tsc>),
    #[cfg(any(test, feature = "test-util"))]
    Manual(ManualClock),
}

#[cfg(feature = "tsc")]
struct Tsc {
    clock: quanta::Clock,
    start: quanta::Instant,
    started: Tick,
}

#[cfg(feature = "tsc")]
impl Tsc {
    // Out of line: the usual clock's way into a call stays short.
    #[inline(never)]
    fn now(&self) -> Tick {
        self.started
            .saturating_add(self.clock.now().saturating_duration_since(self.start))
    }
}

impl Clock {
    fn of(source: Source) -> Self {
        let identity = match &source {
            Source::System => 1,
            Source::Tokio => 2,
            #[cfg(feature = "tsc")]
            Source::Tsc(tsc) => Arc::as_ptr(tsc).addr(),
            #[cfg(any(test, feature = "test-util"))]
            Source::Manual(manual) => manual.identity(),
        };
        Self { source, identity }
    }

    /// The operating system's monotonic clock: [`std::time::Instant`].
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System)
    }

    /// Tokio's clock. It is the system's, and follows tokio's paused time in
    /// tests (`#[tokio::test(start_paused = true)]`).
    #[must_use]
    pub fn tokio() -> Self {
        Self::of(Source::Tokio)
    }

    /// The processor's time stamp counter, by the crate `quanta`: about half
    /// the price of a system call on x86-64, and the system's clock where the
    /// counter is not constant. The first one calibrates for some milliseconds.
    #[cfg(feature = "tsc")]
    #[must_use]
    pub fn tsc() -> Self {
        let clock = quanta::Clock::new();
        let started = tick_of(Instant::now());
        let start = clock.now();
        Self::of(Source::Tsc(Arc::new(Tsc {
            clock,
            start,
            started,
        })))
    }

    /// The time.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Tick {
        match &self.source {
            Source::System => tick_of(Instant::now()),
            Source::Tokio => driver::now(),
            #[cfg(feature = "tsc")]
            Source::Tsc(tsc) => tsc.now(),
            #[cfg(any(test, feature = "test-util"))]
            Source::Manual(manual) => manual.now(),
        }
    }

    /// A timer that fires at `due`: never early, and at once if that has
    /// passed. It costs nothing until it is polled for the first time.
    pub fn sleep_until(&self, due: Tick) -> Sleep {
        self.timer(due, Tick::ZERO)
    }

    /// As [`sleep_until`](Self::sleep_until), for who has just read the clock.
    #[inline]
    pub(crate) fn sleep_from(&self, now: Tick, due: Tick) -> Sleep {
        self.timer(due, now)
    }

    #[inline]
    fn timer(&self, due: Tick, seen: Tick) -> Sleep {
        #[cfg(any(test, feature = "test-util"))]
        if let Source::Manual(manual) = &self.source {
            return Sleep::manual(manual.clone(), due);
        }
        let (at, seen) = self.on_tokio(due, seen);
        Sleep::on_wheel(due, at, seen)
    }

    /// When `due` is by tokio's clock, by which timers go, and the reading of
    /// that clock.
    #[inline]
    fn on_tokio(&self, due: Tick, seen: Tick) -> (Tick, Tick) {
        if matches!(self.source, Source::Tokio) || due == Tick::MAX {
            return (due, seen);
        }
        // What is left counts, and not the point in time: clocks drift apart.
        let now = if seen == Tick::ZERO { self.now() } else { seen };
        let here = driver::now();
        let left = due.saturating_since(now);
        (here.saturating_add(left), here)
    }

    /// What a calendar showed at a point in time of this clock.
    #[cfg(feature = "health")]
    pub(crate) fn wall(&self, at: Tick) -> std::time::SystemTime {
        #[cfg(any(test, feature = "test-util"))]
        if let Source::Manual(_) = &self.source {
            let since = std::time::Duration::from_nanos(at.as_nanos());
            return std::time::SystemTime::UNIX_EPOCH + since;
        }
        let now = std::time::SystemTime::now();
        let ago = self.now().saturating_since(at);
        now.checked_sub(ago)
            .unwrap_or(std::time::SystemTime::UNIX_EPOCH)
    }

    /// Blocks this thread until `due`, or until somebody unparks it; it may return
    /// earlier. For threads of their own: no runtime is needed.
    #[cfg(feature = "watchdog")]
    pub(crate) fn nap_until(&self, due: Tick) {
        #[cfg(any(test, feature = "test-util"))]
        if let Source::Manual(manual) = &self.source {
            return manual.nap_until(due);
        }
        std::thread::park_timeout(due.saturating_since(self.now()));
    }

    /// The time, read once for all layers that are called within one `call`.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::enter(self)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::tokio()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.source {
            Source::System => "Clock::System",
            Source::Tokio => "Clock::Tokio",
            #[cfg(feature = "tsc")]
            Source::Tsc(_) => "Clock::Tsc",
            #[cfg(any(test, feature = "test-util"))]
            Source::Manual(_) => "Clock::Manual",
        })
    }
}
