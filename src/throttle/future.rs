//! The futures of a throttle.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::pass::Reserved;
use super::permit::Spent;
use crate::clock::Sleep;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::gate::Gate;
use crate::kernel::ready::Readied;

pin_project! {
    /// The future of a throttle that refuses. Polled again after it has
    /// resolved, it stays pending.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ThrottleFuture<F, E> {
        #[pin]
        gate: Gate<F, E>,
    }
}

impl<F, E> ThrottleFuture<F, E> {
    #[inline]
    pub(super) fn new(gate: Gate<F, E>) -> Self {
        Self { gate }
    }
}

impl<F, T, E> Future for ThrottleFuture<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().gate.poll(cx)
    }
}

pin_project! {
    /// The future of a throttle that takes back what was never sent. Polled again
    /// after it has resolved, it stays pending.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RefundFuture<F, E> {
        #[pin]
        gate: Gate<F, E>,
        spent: Option<Spent>,
    }
}

impl<F, E> RefundFuture<F, E> {
    #[inline]
    pub(super) fn new(gate: Gate<F, E>, spent: Option<Spent>) -> Self {
        Self { gate, spent }
    }
}

impl<F, T, E> Future for RefundFuture<F, E>
where
    F: Future<Output = Result<T, E>>,
    E: AsRejection,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.gate.poll(cx));
        let spent = this.spent.take();
        let rejection = result.as_ref().err().and_then(AsRejection::as_rejection);
        if let (Some(rejection), Some(spent)) = (rejection, spent)
            && !rejection.reached_inner()
        {
            spent.refund();
        }
        Poll::Ready(result)
    }
}

pin_project! {
    /// The future of a throttle that waits.
    #[must_use = "futures do nothing unless polled"]
    pub struct WaitFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        stage: Stage<S, Req>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, Req>
    where
        S: Service<Req>,
    {
        Waiting {
            reserved: Reserved,
            #[pin]
            timer: Sleep,
            // An operator's order does not wait for the timer.
            #[pin]
            recalled: OwnedNotified,
            // Used up by the call.
            call: Option<(Readied<S>, Req)>,
        },
        Decided {
            #[pin]
            gate: Gate<S::Future, S::Error>,
        },
    }
}

impl<S: Service<Req>, Req> WaitFuture<S, Req> {
    #[inline]
    pub(super) fn decided(gate: Gate<S::Future, S::Error>) -> Self {
        Self {
            stage: Stage::Decided { gate },
        }
    }

    /// Waits with the service that was ready, and calls that.
    pub(super) fn waiting(reserved: Reserved, service: Readied<S>, request: Req) -> Self {
        Self {
            stage: Stage::Waiting {
                timer: reserved.state().core.clock().sleep_until(reserved.due),
                recalled: reserved.state().recalled(),
                reserved,
                call: Some((service, request)),
            },
        }
    }
}

impl<S, Req> Future for WaitFuture<S, Req>
where
    S: Service<Req>,
    S::Error: AsRejection,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Decided { gate } => return gate.poll(cx),
                StageProj::Waiting {
                    reserved,
                    mut timer,
                    mut recalled,
                    call,
                } => {
                    // The call has panicked.
                    if call.is_none() {
                        return Poll::Pending;
                    }
                    let admitted = match reserved.ordered() {
                        Some(ordered) => ordered,
                        None => match timer.as_mut().poll(cx) {
                            Poll::Ready(Ok(())) => match reserved.take() {
                                Ok(None) => Ok(()),
                                Ok(Some(due)) => {
                                    timer.set(reserved.state().core.clock().sleep_until(due));
                                    continue;
                                }
                                Err(rejection) => Err(rejection),
                            },
                            Poll::Ready(Err(_)) => Err(reserved.refuse(RejectionKind::NoRuntime)),
                            Poll::Pending => {
                                ready!(recalled.as_mut().poll(cx));
                                recalled.set(reserved.state().recalled());
                                continue;
                            }
                        },
                    };
                    let Some((mut service, request)) = call.take() else {
                        return Poll::Pending;
                    };
                    let gate = match admitted {
                        Ok(()) => Gate::open(service.call(request)),
                        Err(rejection) => Gate::refused(rejection.into()),
                    };
                    this.stage.set(Stage::Decided { gate });
                }
            }
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for WaitFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Waiting { reserved, .. } => reserved.fmt(f),
            Stage::Decided { gate } => gate.fmt(f),
        }
    }
}
