//! The future of a call that has an end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::service::Terms;
use super::state::{NONE, State};
use crate::classify::{Failure, Outcome};
use crate::clock::{Sleep, Tick};
use crate::deadline::Scope;
use crate::error::{AsRejection, Rejection, RejectionKind};
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, through};

pin_project! {
    /// The future of [`Timeout`](super::Timeout). Polled again after it has
    /// resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<F, E> {
        #[pin]
        gate: Gate<F, E>,
        // Finished when the call has ended, or was refused.
        guard: Guard<State>,
        limit: u64,
        due: Tick,
        scoped: bool,
        connects: bool,
        // Made when the inner future is first pending, with what it is called
        // when it fires.
        timer: Option<(Sleep, RejectionKind)>,
    }
}

impl<F, E> TimeoutFuture<F, E> {
    #[inline]
    fn new(gate: Gate<F, E>, guard: Guard<State>, terms: Terms) -> Self {
        Self {
            gate,
            guard,
            limit: terms.limit,
            due: terms.due,
            scoped: terms.scoped,
            connects: false,
            timer: None,
        }
    }

    pub(super) fn refused(error: E) -> Self {
        Self::new(Gate::refused(error), Guard::finished(()), Terms::NONE)
    }

    #[inline]
    pub(super) fn called(future: F, guard: Guard<State>, terms: Terms) -> Self {
        Self::new(Gate::open(future), guard, terms)
    }

    /// The call is a connector's: it sends no request.
    pub(super) fn connecting(mut self) -> Self {
        self.connects = true;
        self
    }
}

/// The timer, counted from now, and what it is called when it fires.
#[inline]
fn arm(state: &State, limit: u64, due: Tick) -> (Sleep, RejectionKind) {
    let clock = state.core.clock();
    let (mut now, mut at, mut kind) = (Tick::ZERO, Tick::MAX, RejectionKind::Timeout);
    if limit != NONE || due != Tick::MAX {
        now = clock.now();
        at = now.after_nanos(limit);
        if due <= at {
            (at, kind) = (due, RejectionKind::DeadlineExceeded);
        }
    }
    // Made in one place only, so that it need not be copied to where it stays.
    (clock.sleep_from(now, at), kind)
}

impl<F, T, E> Future for TimeoutFuture<F, E>
where
    F: Future<Output = Result<T, E>>,
    E: AsRejection,
{
    type Output = Result<T, E>;

    // The way of a call that is ready at once is short, and a call of it would cost as
    // much again.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if this.guard.state().is_none() {
            return this.gate.poll(cx);
        }
        // The response first: one that comes on the very tick is in time.
        let poll = through(this.guard, || {
            let _scope = this.scoped.then(|| Scope::enter(*this.due));
            this.gate.as_mut().poll(cx)
        });
        if let Poll::Ready(result) = poll {
            this.guard.finish(Outcome::Success);
            *this.timer = None;
            return Poll::Ready(result);
        }
        ready!(self.poll_timer(cx)).map_or(Poll::Pending, |rejection| {
            Poll::Ready(Err(rejection.into()))
        })
    }
}

impl<F, E> TimeoutFuture<F, E> {
    /// The inner future is pending: resolves when it has had its time.
    #[inline(never)]
    fn poll_timer(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Rejection>> {
        let this = self.project();
        let Some(state) = this.guard.state() else {
            return Poll::Pending;
        };
        if this.timer.is_none() {
            *this.timer = Some(arm(state, *this.limit, *this.due));
        }
        let Some((timer, kind)) = this.timer else {
            return Poll::Pending;
        };
        let kind = match ready!(Pin::new(timer).poll(cx)) {
            Ok(()) if *this.connects => RejectionKind::ConnectTimeout,
            Ok(()) => *kind,
            Err(_) => RejectionKind::NoRuntime,
        };
        // The inner future is gone before anybody hears of the timeout. Should
        // its drop panic, the guard still counts it.
        through(this.guard, || this.gate.close());
        *this.timer = None;
        let rejection = this.guard.state().map(|state| state.give_up(kind));
        this.guard.finish(Outcome::Failure(Failure::Timeout));
        Poll::Ready(rejection)
    }
}

impl<F, E> fmt::Debug for TimeoutFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture")
            .field("gate", &self.gate)
            .field("timer", &self.timer)
            .finish()
    }
}
