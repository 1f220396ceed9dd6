//! Timers.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

#[cfg(any(test, feature = "test-util"))]
use super::manual::{ManualClock, ManualSleep};
use super::{Tick, origin};

/// A timer was polled where no tokio runtime with its time driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no tokio runtime with a time driver drives this timer")]
pub struct NoRuntime;

pin_project! {
    /// A timer of a [`Clock`](super::Clock).
    ///
    /// It resolves to `Err(`[`NoRuntime`]`)`, and does not panic, if it is polled
    /// for the first time outside a tokio runtime with time enabled.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    #[must_use = "a timer does nothing unless polled"]
    pub struct Sleep {
        due: Tick,
        #[pin]
        timer: Timer,
    }
}

pin_project! {
    #[project = TimerProj]
    enum Timer {
        Unarmed,
        Tokio { #[pin] sleep: tokio::time::Sleep },
        Manual { sleep: Manual },
    }
}

#[cfg(any(test, feature = "test-util"))]
type Manual = ManualSleep;
/// Without a manual clock there is no such timer.
#[cfg(not(any(test, feature = "test-util")))]
type Manual = std::convert::Infallible;

impl Sleep {
    pub(super) fn tokio(due: Tick) -> Self {
        Self {
            due,
            timer: Timer::Unarmed,
        }
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(super) fn manual(clock: ManualClock, due: Tick) -> Self {
        Self {
            due,
            timer: Timer::Manual {
                sleep: ManualSleep::new(clock, due),
            },
        }
    }

    /// When it fires.
    #[must_use]
    pub fn due(&self) -> Tick {
        self.due
    }
}

/// Tokio panics where it has no timers; we say so instead.
fn arm(due: Tick) -> Option<tokio::time::Sleep> {
    tokio::runtime::Handle::try_current().ok()?;
    let instant = origin().checked_add(std::time::Duration::from_nanos(due.as_nanos()));
    catch_unwind(AssertUnwindSafe(|| match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()),
        None => tokio::time::sleep(std::time::Duration::MAX),
    }))
    .ok()
}

impl Future for Sleep {
    type Output = Result<(), NoRuntime>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.timer.as_mut().project() {
                TimerProj::Unarmed => match arm(*this.due) {
                    Some(sleep) => this.timer.set(Timer::Tokio { sleep }),
                    None => return Poll::Ready(Err(NoRuntime)),
                },
                TimerProj::Tokio { sleep } => {
                    // Outside tokio's cooperative budget: what is bounded here
                    // may have used it up, and would never be given up on. And
                    // it panics if its runtime has shut down.
                    let mut sleep = tokio::task::unconstrained(sleep);
                    let poll = || Pin::new(&mut sleep).poll(cx);
                    return match catch_unwind(AssertUnwindSafe(poll)) {
                        Ok(poll) => poll.map(Ok),
                        Err(_) => Poll::Ready(Err(NoRuntime)),
                    };
                }
                #[cfg(any(test, feature = "test-util"))]
                TimerProj::Manual { sleep } => return sleep.poll(cx).map(Ok),
                #[cfg(not(any(test, feature = "test-util")))]
                TimerProj::Manual { sleep } => match *sleep {},
            }
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("due", &self.due).finish()
    }
}
