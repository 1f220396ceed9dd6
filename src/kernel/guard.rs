//! RAII for admissions: whatever happens to a call, its admission is released
//! exactly once.

use std::fmt;
use std::sync::Arc;

use super::shared::{Pooled, Shared, give_back, lend};
use crate::classify::{Failure, Outcome};

/// A state that hands out admissions.
pub trait Settle: Pooled {
    /// What it needs to know when the admission ends: the generation it was
    /// admitted under, a weight, a start.
    type Token: Copy + fmt::Debug + Send + Sync + Unpin + 'static;

    /// Ends one admission. Must not panic: it runs in `Drop`.
    fn settle(&self, token: &Self::Token, outcome: Outcome);
}

/// One admission. [`finish`](Guard::finish) says how the call ended; a guard
/// that is dropped without it was cancelled, or its thread is panicking.
#[must_use = "an admission ends when its guard is dropped"]
pub struct Guard<T: Settle> {
    state: Option<Arc<T>>,
    token: T::Token,
}

impl<T: Settle> Guard<T> {
    /// Takes over the duty to settle `token`.
    #[inline]
    pub fn new(state: &Shared<T>, token: T::Token) -> Self {
        Self {
            state: Some(lend(state.arc())),
            token,
        }
    }

    /// The guard of no admission.
    #[inline]
    pub(crate) fn finished(token: T::Token) -> Self {
        Self { state: None, token }
    }

    /// Ends the admission. Later calls, and the drop, change nothing.
    #[inline(always)] // inside, half of it is known and falls away
    pub fn finish(&mut self, outcome: Outcome) {
        if let Some(state) = self.state.take() {
            state.settle(&self.token, outcome);
            give_back(state);
        }
    }

    /// What the admission will be settled with, to add what is learnt on the way.
    #[inline]
    pub fn token_mut(&mut self) -> &mut T::Token {
        &mut self.token
    }

    /// As [`state`](Self::state), to lend it on.
    #[cfg(feature = "watchdog")]
    #[inline]
    pub(crate) fn arc(&self) -> Option<&Arc<T>> {
        self.state.as_ref()
    }

    /// The state that admitted the call, until it has finished.
    #[must_use]
    pub fn state(&self) -> Option<&T> {
        self.state.as_deref()
    }
}

impl<T: Settle> Drop for Guard<T> {
    #[inline]
    fn drop(&mut self) {
        if self.state.is_some() {
            self.abandon();
        }
    }
}

impl<T: Settle> Guard<T> {
    // Out of line, so that the drop of a finished guard is one comparison.
    #[cold]
    #[inline(never)]
    fn abandon(&mut self) {
        self.finish(if std::thread::panicking() {
            Outcome::Failure(Failure::Panic)
        } else {
            Outcome::Cancelled
        });
    }

    #[cold]
    #[inline(never)]
    fn panicked(&mut self) {
        self.finish(Outcome::Failure(Failure::Panic));
    }
}

impl<T: Settle> fmt::Debug for Guard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("token", &self.token)
            .field("finished", &self.state.is_none())
            .finish()
    }
}

/// Runs `f` and finishes the guard as a panic if `f` unwinds. The panic goes
/// on: only the admission must not wait for the future to be dropped.
#[inline]
pub fn through<T: Settle, R>(guard: &mut Guard<T>, f: impl FnOnce() -> R) -> R {
    struct Fuse<'a, T: Settle>(Option<&'a mut Guard<T>>);
    impl<T: Settle> Drop for Fuse<'_, T> {
        #[inline]
        fn drop(&mut self) {
            if let Some(guard) = self.0.take() {
                guard.panicked();
            }
        }
    }
    let mut fuse = Fuse(Some(guard));
    let result = f();
    fuse.0 = None;
    result
}
