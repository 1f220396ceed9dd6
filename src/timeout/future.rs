//! The future of a call that has an end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::state::{NONE, State};
use crate::classify::{Failure, Outcome};
use crate::clock::{Sleep, Tick};
use crate::deadline::Scope;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, through};

pin_project! {
    /// The future of [`Timeout`](super::Timeout). Polled again after it has
    /// resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<F, E> {
        #[pin]
        gate: Gate<F, E>,
        // Gone when the call has ended, or was refused.
        call: Option<Call>,
        // Made when the inner future is first pending.
        #[pin]
        timer: Option<Sleep>,
    }
}

struct Call {
    guard: Guard<State>,
    limit: u64,
    due: Tick,
    scoped: bool,
    /// What it is called when the timer fires.
    late: RejectionKind,
}

impl<F, E> TimeoutFuture<F, E> {
    pub(super) fn refused(error: E) -> Self {
        Self {
            gate: Gate::refused(error),
            call: None,
            timer: None,
        }
    }

    #[inline]
    pub(super) fn called(
        future: F,
        guard: Guard<State>,
        limit: u64,
        due: Tick,
        scoped: bool,
    ) -> Self {
        Self {
            gate: Gate::open(future),
            call: Some(Call {
                guard,
                limit,
                due,
                scoped,
                late: RejectionKind::Timeout,
            }),
            timer: None,
        }
    }
}

/// The timer, counted from now, and what it is called when it fires; `None` if
/// there is no limit.
fn arm(state: &State, limit: u64, due: Tick) -> Option<(Sleep, RejectionKind)> {
    if limit == NONE && due == Tick::MAX {
        return None;
    }
    let clock = state.core.clock();
    let at = clock.now().after_nanos(limit);
    Some(if due <= at {
        (clock.sleep_until(due), RejectionKind::DeadlineExceeded)
    } else {
        (clock.sleep_until(at), RejectionKind::Timeout)
    })
}

impl<F, T, E> Future for TimeoutFuture<F, E>
where
    F: Future<Output = Result<T, E>>,
    E: AsRejection,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(call) = this.call else {
            return this.gate.poll(cx);
        };
        let Call {
            guard,
            limit,
            due,
            scoped,
            late,
        } = call;
        // The response first: one that comes on the very tick is in time.
        let poll = through(guard, || {
            let _scope = scoped.then(|| Scope::enter(*due));
            this.gate.as_mut().poll(cx)
        });
        if let Poll::Ready(result) = poll {
            guard.finish(Outcome::Success);
            *this.call = None;
            this.timer.set(None);
            return Poll::Ready(result);
        }
        let Some(state) = guard.state() else {
            return Poll::Pending;
        };
        if this.timer.is_none()
            && let Some((timer, kind)) = arm(state, *limit, *due)
        {
            this.timer.set(Some(timer));
            *late = kind;
        }
        let Some(timer) = this.timer.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let kind = match ready!(timer.poll(cx)) {
            Ok(()) => *late,
            Err(_) => RejectionKind::NoRuntime,
        };
        // The inner future is gone before anybody hears of the timeout. Should
        // its drop panic, the guard still counts it.
        through(guard, || this.gate.close());
        this.timer.set(None);
        let rejection = match guard.state() {
            Some(state) => state.give_up(kind),
            None => return Poll::Pending,
        };
        guard.finish(Outcome::Failure(Failure::Timeout));
        *this.call = None;
        Poll::Ready(Err(rejection.into()))
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
