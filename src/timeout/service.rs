//! The service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tower_service::Service;

use super::future::TimeoutFuture;
use super::limits::{LimitFor, PolicyOnly};
use super::state::{NONE, State};
use crate::clock::{Sleep, Tick, nanos};
use crate::deadline::{Deadline, Scope};
use crate::error::{AsRejection, Rejection, RejectionKind};
use crate::kernel::guard::{Guard, through};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::policy::Override;

/// A service with an end to every wait; see the [module](super).
pub struct Timeout<S, O = PolicyOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    limits: O,
    wait: ReadyWait,
}

/// How long we have waited for readiness.
#[derive(Debug, Default)]
enum ReadyWait {
    #[default]
    Not,
    Since {
        start: Tick,
        timer: Sleep,
    },
    /// We have answered ready in the service's place.
    Over(RejectionKind),
}

/// When a call must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Nanoseconds, or none.
    pub(super) limit: u64,
    pub(super) due: Tick,
    /// Whether `due` is ours to put in force.
    pub(super) scoped: bool,
}

impl Terms {
    /// Never.
    pub(super) const NONE: Self = Self {
        limit: NONE,
        due: Tick::MAX,
        scoped: false,
    };
}

impl<S, O> Timeout<S, O> {
    pub(super) fn new(inner: S, state: Shared<State>, limits: O) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            limits,
            wait: ReadyWait::Not,
        }
    }

    /// The inner service is not ready: has it had its time?
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Who has answered ready says so again until the call.
        if let ReadyWait::Over(_) = self.wait {
            return Poll::Ready(());
        }
        let longest = self.state.readiness();
        let deadline = Deadline::current();
        if (longest == NONE && deadline.is_none()) || self.state.core.order() == Override::Bypass {
            self.wait = ReadyWait::Not;
            return Poll::Pending;
        }
        let clock = self.state.core.clock();
        let now = clock.now();
        // Somebody asked long ago and went away: that wait is not this one's.
        if let ReadyWait::Since { start, timer } = &self.wait {
            let length = match longest {
                NONE => timer.due().saturating_since(*start),
                longest => Duration::from_nanos(longest),
            };
            if now.saturating_since(*start) > length.saturating_mul(2) {
                self.wait = ReadyWait::Not;
            }
        }
        // The wait goes on, but the deadline is always that of who asks now.
        let start = match &self.wait {
            ReadyWait::Since { start, .. } => *start,
            _ => now,
        };
        let due = deadline.map_or(Tick::MAX, Deadline::tick);
        let due = due.min(start.after_nanos(longest));
        if !matches!(&self.wait, ReadyWait::Since { timer, .. } if timer.due() == due) {
            self.wait = ReadyWait::Since {
                start,
                timer: clock.sleep_from(now, due),
            };
        }
        if let ReadyWait::Since { timer, .. } = &mut self.wait {
            let kind = match ready!(Pin::new(timer).poll(cx)) {
                Ok(()) if deadline.is_some_and(|d| d.has_passed(now)) => {
                    RejectionKind::DeadlineExceeded
                }
                Ok(()) => RejectionKind::NotReadyInTime,
                Err(_) => RejectionKind::NoRuntime,
            };
            self.wait = ReadyWait::Over(kind);
        }
        Poll::Ready(())
    }

    /// The terms of a call that may begin now.
    #[inline]
    fn terms<Req>(&self, request: &Req) -> Result<Terms, Rejection>
    where
        O: LimitFor<Req>,
    {
        let state = &self.state;
        if state.core.is_overruled() {
            match state.core.order() {
                Override::None => {}
                Override::Bypass => return Ok(Terms::NONE),
                Override::Close => return Err(state.refuse(RejectionKind::Closed)),
            }
        }
        let [attempt, whole] = state.limits();
        let own = state
            .core
            .contain("limit", || self.limits.limit_for(request))
            .flatten();
        let limit = own.map_or(attempt, nanos);
        let current = Deadline::current();
        let scoped = whole != NONE;
        if !scoped && current.is_none() {
            return Ok(Terms {
                limit,
                due: Tick::MAX,
                scoped,
            });
        }
        let now = state.core.clock().stamp().now();
        let mine = now.after_nanos(whole);
        let due = current.map_or(mine, |current| mine.min(current.tick()));
        if now >= due {
            return Err(state.refuse(RejectionKind::DeadlineExceeded));
        }
        state.record_remaining(due.saturating_since(now));
        Ok(Terms { limit, due, scoped })
    }
}

/// A clone has waited for nothing yet.
impl<S: Clone, O: Clone> Clone for Timeout<S, O> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            limits: self.limits.clone(),
            wait: ReadyWait::Not,
        }
    }
}

wraps_service!(Timeout<S, O>);

impl<S, O, Req> Service<Req> for Timeout<S, O>
where
    S: Service<Req>,
    S::Error: AsRejection,
    O: LimitFor<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The service first: ready on the last tick is in time.
        if let Poll::Ready(result) = self.inner.poll_ready(cx) {
            self.wait = ReadyWait::Not;
            return Poll::Ready(result);
        }
        ready!(self.poll_wait(cx));
        Poll::Ready(Ok(()))
    }

    #[inline(always)] // the future is made where it stays, not copied there
    fn call(&mut self, request: Req) -> Self::Future {
        if let ReadyWait::Over(kind) = self.wait {
            self.wait = ReadyWait::Not;
            return TimeoutFuture::refused(self.state.refuse(kind).into());
        }
        let not_ready = || self.state.refuse(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return TimeoutFuture::refused(error);
        }
        let terms = match self.terms(&request) {
            Ok(terms) => terms,
            Err(rejection) => return TimeoutFuture::refused(rejection.into()),
        };
        self.state.admitted();
        let mut guard = Guard::new(&self.state, ());
        let inner = &mut self.inner;
        let future = through(&mut guard, || {
            let _scope = terms.scoped.then(|| Scope::enter(terms.due));
            inner.call(request)
        });
        TimeoutFuture::called(future, guard, terms)
    }
}
