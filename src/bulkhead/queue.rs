//! Waiting for a permit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::future::BulkheadFuture;
use super::handle::Permit;
use super::state::{State, Token};
use crate::classify::Classify;
use crate::clock::{Sleep, Tick};
use crate::deadline::Deadline;
use crate::error::{AsRejection, Rejection, RejectionKind};
use crate::kernel::limit::{Full, WaitKey};
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::release::Release;

/// A place in the queue; dropped, it is given up.
#[derive(Debug)]
pub(super) struct Place {
    state: Shared<State>,
    /// Gone once the permits have been taken over.
    key: Option<WaitKey>,
    permits: u32,
    since: Tick,
}

impl Place {
    /// Queues behind everybody who waits, if fewer than `length` do.
    pub(super) fn take(
        state: &Shared<State>,
        permits: u32,
        length: u32,
        since: Tick,
    ) -> Result<Self, Rejection> {
        match state.limit.enqueue(permits, length) {
            Ok(key) => Ok(Self {
                state: state.clone(),
                key: Some(key),
                permits,
                since,
            }),
            Err(Full) => Err(state.reject(RejectionKind::Full)),
        }
    }

    /// A permit, or why there will be none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Permit, RejectionKind>> {
        let Some(key) = self.key else {
            return Poll::Pending;
        };
        let admitted = match self.state.limit.poll_acquired(key, cx) {
            Poll::Ready(Ok(())) => Ok(Token {
                permits: self.permits,
            }),
            // The limit no longer allows one of this weight.
            Poll::Ready(Err(Full)) => Err(RejectionKind::Full),
            // After the queue's lock: an order that came before it is seen here,
            // one that comes later wakes.
            Poll::Pending if self.state.core.is_overruled() => {
                self.leave();
                self.state.try_admit(self.permits)
            }
            Poll::Pending => return Poll::Pending,
        };
        self.key = None;
        Poll::Ready(admitted.map(|token| {
            // From here the permits are the token's: nothing below may lose it.
            let permit = Permit::new(&self.state, token);
            let now = self.state.core.clock().now();
            self.state.waited(now.saturating_since(self.since));
            permit
        }))
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.state.limit.cancel(key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

pin_project! {
    /// A permit, now or after a bounded wait.
    #[project = WaitProj]
    pub(super) enum Wait {
        Decided {
            result: Option<Result<Permit, Rejection>>,
        },
        Queued {
            place: Place,
            due: Tick,
            // What it is called when that has passed.
            late: RejectionKind,
            #[pin]
            timer: Option<Sleep>,
        },
    }
}

impl Wait {
    pub(super) fn start(state: &Shared<State>, permits: u32) -> Self {
        let result = match state.try_admit(permits) {
            Ok(token) => Ok(Permit::new(state, token)),
            Err(kind @ RejectionKind::Closed) => Err(state.reject(kind)),
            Err(_) => match Self::queue(state, permits) {
                Ok(wait) => return wait,
                Err(rejection) => Err(rejection),
            },
        };
        Self::Decided {
            result: Some(result),
        }
    }

    fn queue(state: &Shared<State>, permits: u32) -> Result<Self, Rejection> {
        let (length, longest) = state.queue();
        let now = state.core.clock().stamp().now();
        let mut due = now.saturating_add(longest);
        let mut late = RejectionKind::QueueTimeout;
        if let Some(deadline) = Deadline::current() {
            if deadline.has_passed(now) {
                return Err(state.reject(RejectionKind::DeadlineExceeded));
            }
            if deadline.tick() < due {
                due = deadline.tick();
                late = RejectionKind::DeadlineExceeded;
            }
        }
        Ok(Self::Queued {
            place: Place::take(state, permits, length, now)?,
            due,
            late,
            timer: None,
        })
    }
}

impl Future for Wait {
    type Output = Result<Permit, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match self.as_mut().project() {
            WaitProj::Decided { result } => match result.take() {
                Some(result) => result,
                None => return Poll::Pending,
            },
            WaitProj::Queued {
                place,
                due,
                late,
                mut timer,
            } => {
                // The permit first: one that comes on the last tick counts.
                match place.poll(cx) {
                    Poll::Ready(result) => result.map_err(|kind| place.state.reject(kind)),
                    Poll::Pending => {
                        if timer.is_none() {
                            timer.set(Some(place.state.core.clock().sleep_until(*due)));
                        }
                        let Some(sleep) = timer.as_mut().as_pin_mut() else {
                            return Poll::Pending;
                        };
                        let kind = match ready!(sleep.poll(cx)) {
                            Ok(()) => *late,
                            Err(_) => RejectionKind::NoRuntime,
                        };
                        place.leave();
                        Err(place.state.reject(kind))
                    }
                }
            }
        };
        // Polled again, it neither asks nor counts again.
        self.set(Self::Decided { result: None });
        Poll::Ready(result)
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided { .. } => f.write_str("Decided"),
            Self::Queued { place, due, .. } => f
                .debug_struct("Queued")
                .field("permits", &place.permits)
                .field("due", due)
                .finish_non_exhaustive(),
        }
    }
}

pin_project! {
    /// The future of a [`Bulkhead`](super::Bulkhead) with a [`Queue`](super::Queue).
    #[must_use = "futures do nothing unless polled"]
    pub struct QueueFuture<S, Req, R, C>
    where
        S: Service<Req>,
    {
        #[pin]
        stage: Stage<S, Req, R, C>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, Req, R, C>
    where
        S: Service<Req>,
    {
        Waiting {
            #[pin]
            wait: Wait,
            // Used up by the call.
            call: Option<(Readied<S>, Req, C)>,
        },
        Called {
            #[pin]
            future: BulkheadFuture<S::Future, S::Error, R, C>,
        },
    }
}

impl<S: Service<Req>, Req, R, C> QueueFuture<S, Req, R, C> {
    pub(super) fn called(future: BulkheadFuture<S::Future, S::Error, R, C>) -> Self {
        Self {
            stage: Stage::Called { future },
        }
    }

    /// Waits with the service that was ready, and calls that.
    pub(super) fn waiting(wait: Wait, service: Readied<S>, request: Req, classify: C) -> Self {
        Self {
            stage: Stage::Waiting {
                wait,
                call: Some((service, request, classify)),
            },
        }
    }
}

impl<S, Req, R, C> Future for QueueFuture<S, Req, R, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error>,
    R: Release<S::Response, Permit, C>,
{
    type Output = Result<R::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Called { future } => return future.poll(cx),
                StageProj::Waiting { wait, call } => {
                    let admitted = ready!(wait.poll(cx));
                    let Some((mut service, request, classify)) = call.take() else {
                        return Poll::Pending;
                    };
                    let future = match admitted {
                        Ok(permit) => {
                            BulkheadFuture::call(permit, classify, || service.call(request))
                        }
                        Err(rejection) => BulkheadFuture::refused(rejection.into()),
                    };
                    this.stage.set(Stage::Called { future });
                }
            }
        }
    }
}

impl<S: Service<Req>, Req, R, C> fmt::Debug for QueueFuture<S, Req, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Waiting { wait, .. } => wait.fmt(f),
            Stage::Called { future } => future.fmt(f),
        }
    }
}
