//! How much time the caller has left, wherever you are.
//!
//! A [`Deadline`] is a *dynamic scope*: it is in force while a closure runs or
//! a future is polled, for everything that is called from there. So it works
//! for any request type, allocates nothing, and a client call made inside a
//! handler inherits what is left of the caller's time by itself.
//! `tokio::spawn` leaves the scope: take it along with [`carry`].
//!
//! Scopes only narrow: the smaller deadline wins.
//!
#![cfg_attr(
    feature = "http",
    doc = "[`ReadLayer`] takes the deadline from a request's headers and [`WriteLayer`] puts it
there."
)]
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::clock::Clock;
//! use tower_keep::deadline::Deadline;
//!
//! let clock = Clock::default();
//! let deadline = Deadline::after(&clock, Duration::from_millis(500));
//! deadline.scope(|| {
//!     assert_eq!(Deadline::current(), Some(deadline));
//! });
//! assert_eq!(Deadline::current(), None);
//! ```

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;

use crate::clock::{Clock, Tick};
#[cfg(feature = "http")]
pub use crate::http::deadline::{Read, ReadLayer, Wire, Write, WriteLayer};

thread_local! {
    static CURRENT: Cell<Tick> = const { Cell::new(Tick::MAX) };
}

/// A point in time after which nobody waits for the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Deadline(Tick);

impl Deadline {
    /// At this time of the stack's clock.
    #[must_use]
    pub fn at(tick: Tick) -> Self {
        Self(tick)
    }

    /// In this time from now.
    #[must_use]
    pub fn after(clock: &Clock, time: Duration) -> Self {
        Self(clock.now().saturating_add(time))
    }

    /// The deadline in force here, if any.
    #[must_use]
    #[inline]
    pub fn current() -> Option<Self> {
        let tick = CURRENT.try_with(Cell::get).unwrap_or(Tick::MAX);
        (tick != Tick::MAX).then_some(Self(tick))
    }

    /// When it is.
    #[must_use]
    pub fn tick(self) -> Tick {
        self.0
    }

    /// What is left of it, zero once it has passed.
    #[must_use]
    pub fn remaining(self, now: Tick) -> Duration {
        self.0.saturating_since(now)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn has_passed(self, now: Tick) -> bool {
        now >= self.0
    }

    /// Runs `f` with this deadline in force, or the one around it if that is
    /// earlier.
    pub fn scope<R>(self, f: impl FnOnce() -> R) -> R {
        let _scope = Scope::enter(self.0);
        f()
    }

    /// A future that is polled with this deadline in force. It is not ended by
    /// it: that is the timeout layer's work.
    ///
    /// Only what the future's polls do is under the deadline. A service is
    /// *called* before, if the future is `service.call(request)`; tower's
    /// `service.oneshot(request)` and an `async` block call it while polled.
    pub fn wrap<F>(self, future: F) -> Scoped<F> {
        Scoped {
            future,
            deadline: self.0,
        }
    }
}

/// A future that keeps the deadline in force here, for `tokio::spawn` and for
/// whatever else polls it elsewhere.
pub fn carry<F>(future: F) -> Scoped<F> {
    let deadline = CURRENT.try_with(Cell::get).unwrap_or(Tick::MAX);
    Scoped { future, deadline }
}

/// Puts the deadline in force until it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Scope {
    before: Tick,
}

impl Scope {
    #[inline]
    pub(crate) fn enter(deadline: Tick) -> Self {
        let before = CURRENT
            .try_with(|cell| {
                let before = cell.get();
                cell.set(before.min(deadline));
                before
            })
            .unwrap_or(Tick::MAX);
        Self { before }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|cell| cell.set(self.before));
    }
}

pin_project! {
    /// A future with a deadline in force; see [`Deadline::wrap`] and [`carry`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        #[pin]
        future: F,
        deadline: Tick,
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _scope = Scope::enter(*this.deadline);
        this.future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_narrow_and_are_restored_by_a_panic() {
        let (near, far) = (Tick::from_nanos(5), Tick::from_nanos(9));
        Deadline::at(near).scope(|| {
            Deadline::at(far).scope(|| assert_eq!(Deadline::current(), Some(Deadline(near))));
        });
        let panicked = std::panic::catch_unwind(|| Deadline::at(near).scope(|| panic!("inner")));
        assert!(panicked.is_err());
        assert_eq!(Deadline::current(), None);
    }
}
