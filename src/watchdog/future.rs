//! The future of a call that a watchdog sees.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::stage::Scope;
use super::state::{State, Token};
use crate::classify::{Failure, Outcome};
use crate::error::AsRejection;
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, through};

pin_project! {
    /// The future of [`Watched`](super::Watched). Polled again after it has resolved,
    /// it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct WatchedFuture<F, E> {
        #[pin]
        gate: Gate<F, E>,
        // Finished when the call has ended, or was refused.
        guard: Guard<State>,
        // Of the call, while it is in the table.
        slot: Option<u32>,
    }
}

impl<F, E> WatchedFuture<F, E> {
    pub(super) fn refused(error: E) -> Self {
        Self {
            gate: Gate::refused(error),
            guard: Guard::finished(Token::UNLISTED),
            slot: None,
        }
    }

    #[inline]
    pub(super) fn called(future: F, mut guard: Guard<State>) -> Self {
        Self {
            gate: Gate::open(future),
            slot: guard.token_mut().slot(),
            guard,
        }
    }
}

/// Whether the call was given up on; else whoever gives up on it will wake it.
#[cold]
fn is_condemned(guard: &mut Guard<State>, slot: u32, cx: &Context<'_>) -> bool {
    guard.token_mut().wakes();
    guard.state().is_some_and(|state| {
        if let Some(waker) = state.waker(slot) {
            waker.register(cx.waker());
        }
        state.table.is_condemned(slot)
    })
}

impl<F, T, E> Future for WatchedFuture<F, E>
where
    F: Future<Output = Result<T, E>>,
    E: AsRejection,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(state) = this.guard.arc() else {
            return this.gate.poll(cx);
        };
        let scope = this.slot.map(|slot| Scope::enter(state, slot));
        let poll = through(this.guard, || this.gate.as_mut().poll(cx));
        drop(scope);
        if let Poll::Ready(result) = poll {
            this.guard.finish(Outcome::Success);
            return Poll::Ready(result);
        }
        let gives_up = this.guard.state().is_some_and(State::gives_up);
        let Some(slot) = this.slot.filter(|_| gives_up) else {
            return Poll::Pending;
        };
        if !is_condemned(this.guard, slot, cx) {
            return Poll::Pending;
        }
        // The inner future is gone before anybody hears of it. Should its drop panic,
        // the guard still counts it.
        through(this.guard, || this.gate.close());
        let rejection = match this.guard.state() {
            Some(state) => state.give_up(),
            None => return Poll::Pending,
        };
        this.guard.finish(Outcome::Failure(Failure::Timeout));
        Poll::Ready(Err(rejection.into()))
    }
}

impl<F, E> fmt::Debug for WatchedFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFuture")
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}
