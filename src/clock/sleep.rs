//! Timers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Tick;
use super::driver::{Armed, now};
#[cfg(any(test, feature = "test-util"))]
use super::manual::{ManualClock, ManualSleep};

/// A timer was polled where no tokio runtime with its time driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no tokio runtime with a time driver drives this timer")]
pub struct NoRuntime;

/// A timer of a [`Clock`](super::Clock).
///
/// It resolves to `Err(`[`NoRuntime`]`)`, and does not panic, if it has to wait
/// outside a tokio runtime with time enabled. If its runtime ends, it goes on in
/// the one it is polled in then.
///
/// # Precision
/// Never early. Late by tokio's own rounding to the next millisecond, and by a
/// task switch: on an idle machine under two milliseconds.
///
/// # Cost
/// All timers of a runtime hang on one timing wheel with a shard per thread and
/// one task that drives it. Arming and cancelling take one uncontended lock each,
/// and do not allocate; neither depends on how many timers are armed.
///
/// # Cancel safety
/// May be dropped at any time.
#[must_use = "a timer does nothing unless polled"]
pub struct Sleep {
    due: Tick,
    /// The same by the clock of the runtime.
    at: Tick,
    /// A reading of the clock that the first poll may use; zero if there is none.
    seen: Tick,
    armed: Armed,
    #[cfg(any(test, feature = "test-util"))]
    manual: Option<ManualSleep>,
}

impl Sleep {
    #[inline]
    pub(super) const fn on_wheel(due: Tick, at: Tick, seen: Tick) -> Self {
        Self {
            due,
            at,
            seen,
            armed: Armed::not(),
            #[cfg(any(test, feature = "test-util"))]
            manual: None,
        }
    }

    /// It never fires.
    #[cfg(feature = "hedge")]
    #[inline]
    pub(crate) const fn never() -> Self {
        Self::on_wheel(Tick::MAX, Tick::MAX, Tick::ZERO)
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn manual(clock: ManualClock, due: Tick) -> Self {
        let mut sleep = Self::on_wheel(due, due, Tick::ZERO);
        sleep.manual = Some(ManualSleep::new(clock, due));
        sleep
    }

    /// When it fires.
    #[must_use]
    #[inline]
    pub fn due(&self) -> Tick {
        self.due
    }
}

impl Future for Sleep {
    type Output = Result<(), NoRuntime>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        #[cfg(any(test, feature = "test-util"))]
        if let Some(manual) = &mut this.manual {
            return manual.poll(cx).map(Ok);
        }
        if this.at == Tick::MAX {
            return Poll::Pending;
        }
        let seen = std::mem::take(&mut this.seen);
        let now = if seen == Tick::ZERO { now() } else { seen };
        // Who polls may be faster than the driver.
        if now >= this.at {
            this.armed.cancel();
            return Poll::Ready(Ok(()));
        }
        if this.armed.renew(cx.waker()) {
            return Poll::Pending;
        }
        this.armed.cancel();
        match this.armed.arm(this.at, now, cx.waker()) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("due", &self.due).finish()
    }
}
