//! The future of a request that may be tried again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::rules::Rules;
use super::session::{Next, Session};
use crate::clock::Sleep;
use crate::error::AsRejection;
use crate::event::Conclusion;
use crate::kernel::gate::Gate;
use crate::replay::Replay;

pin_project! {
    /// The future of [`Retry`](super::Retry). Polled again after it has resolved,
    /// it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryFuture<S, Req, Y, R>
    where
        S: Service<R::Request>,
        R: Replay<Req>,
        Y: Rules<Req, S::Response, S::Error>,
    {
        #[pin]
        stage: Stage<S::Future, S::Response, S::Error>,
        // Gone when the request has ended, or was refused.
        session: Option<Session<S, R, R::Kept, Y, Y::Seen>>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, T, E> {
        Calling { #[pin] gate: Gate<F, E> },
        // Both keep what the caller gets if there is no other attempt.
        Waiting { sleep: Sleep, last: Option<Result<T, E>> },
        Readying { until: Option<Sleep>, last: Option<Result<T, E>> },
    }
}

impl<S, Req, Y, R> RetryFuture<S, Req, Y, R>
where
    S: Service<R::Request>,
    R: Replay<Req>,
    Y: Rules<Req, S::Response, S::Error>,
{
    pub(super) fn refused(error: S::Error) -> Self {
        Self {
            stage: Stage::Calling {
                gate: Gate::refused(error),
            },
            session: None,
        }
    }

    /// The first attempt was begun.
    #[inline]
    pub(super) fn going_on(session: Session<S, R, R::Kept, Y, Y::Seen>, future: S::Future) -> Self {
        let gate = Gate::open(future);
        Self {
            stage: Stage::Calling { gate },
            session: Some(session),
        }
    }
}

impl<S, Req, Y, R> Future for RetryFuture<S, Req, Y, R>
where
    S: Service<R::Request>,
    S::Error: AsRejection,
    R: Replay<Req>,
    Y: Rules<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let StageProj::Calling { gate } = this.stage.as_mut().project() else {
                match ready!(self.as_mut().poll_between(cx)) {
                    Some(last) => return Poll::Ready(last),
                    None => continue,
                }
            };
            let Some(session) = this.session else {
                return gate.poll(cx);
            };
            let result = ready!(session.run(|| gate.poll(cx)));
            match session.ended::<Req, _, _>(result.as_ref()) {
                Next::Pass => {
                    session.finish();
                    *this.session = None;
                    return Poll::Ready(result);
                }
                Next::Wait(sleep) => {
                    let last = Some(result);
                    this.stage.set(Stage::Waiting { sleep, last });
                }
            }
        }
    }
}

impl<S, Req, Y, R> RetryFuture<S, Req, Y, R>
where
    S: Service<R::Request>,
    R: Replay<Req>,
    Y: Rules<Req, S::Response, S::Error>,
{
    /// Between two attempts: nothing once the next one has begun, and what the
    /// last one ended in if there will be none.
    #[cold]
    fn poll_between(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<S::Response, S::Error>>> {
        let mut this = self.project();
        let Some(session) = this.session else {
            return Poll::Pending;
        };
        let conclusion = 'conclusion: {
            if let StageProj::Waiting { sleep, last } = this.stage.as_mut().project() {
                if ready!(Pin::new(sleep).poll(cx)).is_err() {
                    break 'conclusion Conclusion::NoRuntime;
                }
                let last = last.take();
                this.stage.set(Stage::Readying { until: None, last });
                if session.is_late() {
                    break 'conclusion Conclusion::Deadline;
                }
                session.begin();
            }
            let StageProj::Readying { until, last } = this.stage.as_mut().project() else {
                return Poll::Pending;
            };
            match session.run_another(|service| service.poll_ready(cx)) {
                None => return Poll::Pending,
                // Nobody knows when the task was polled last.
                Some(Poll::Ready(Ok(()))) if session.is_late() => {
                    break 'conclusion Conclusion::Deadline;
                }
                Some(Poll::Ready(Ok(()))) => {}
                Some(Poll::Ready(Err(_))) => break 'conclusion Conclusion::NotReady,
                Some(Poll::Pending) => {
                    if until.is_none() {
                        *until = session.patience(matches!(last, Some(Ok(_))));
                    }
                    let Some(until) = until else {
                        return Poll::Pending;
                    };
                    break 'conclusion match ready!(Pin::new(until).poll(cx)) {
                        Ok(()) if session.is_late() => Conclusion::Deadline,
                        Ok(()) => Conclusion::NotReady,
                        Err(_) => Conclusion::NoRuntime,
                    };
                }
            }
            let Some(request) = session.request() else {
                break 'conclusion Conclusion::Unrepeatable;
            };
            // The last response is gone before the next attempt begins.
            this.stage.set(Stage::Readying {
                until: None,
                last: None,
            });
            let Some(future) = session.call(request) else {
                return Poll::Pending;
            };
            let gate = Gate::open(future);
            this.stage.set(Stage::Calling { gate });
            return Poll::Ready(None);
        };
        let last = match this.stage.as_mut().project() {
            StageProj::Waiting { last, .. } | StageProj::Readying { last, .. } => last.take(),
            StageProj::Calling { .. } => None,
        };
        session.conclude(conclusion);
        session.finish();
        *this.session = None;
        match last {
            Some(last) => Poll::Ready(Some(last)),
            None => Poll::Pending,
        }
    }
}

impl<S, Req, Y, R> fmt::Debug for RetryFuture<S, Req, Y, R>
where
    S: Service<R::Request>,
    R: Replay<Req>,
    Y: Rules<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl<F, T, E> fmt::Debug for Stage<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Calling { gate } => gate.fmt(f),
            Stage::Waiting { .. } => f.write_str("Waiting"),
            Stage::Readying { .. } => f.write_str("Readying"),
        }
    }
}
