//! The future of a call that goes to an endpoint, at once or after a wait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::choose::Chosen;
use super::handle::Permit;
use super::wait::Wait;
use crate::classify::Classify;
use crate::error::AsRejection;
use crate::kernel::call::Call;
use crate::release::Release;

pin_project! {
    /// The future of [`Balance`](super::Balance). Polled again after it has resolved,
    /// it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct BalanceFuture<S, Req, R, C>
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
        Called {
            #[pin]
            call: Call<S::Future, S::Error, Permit, R, C>,
        },
        // In a box: it is seldom, and greater than a call.
        Waiting {
            wait: Option<Box<Waiting<S, Req, C>>>,
        },
    }
}

struct Waiting<S, Req, C> {
    wait: Wait<S>,
    request: Req,
    classify: C,
}

impl<S, Req, R, C> BalanceFuture<S, Req, R, C>
where
    S: Service<Req>,
{
    pub(super) fn refused(error: S::Error) -> Self {
        let call = Call::refused(error);
        Self {
            stage: Stage::Called { call },
        }
    }

    #[inline]
    pub(super) fn call(chosen: Chosen<S>, classify: C, request: Req) -> Self {
        let Chosen {
            mut service,
            permit,
        } = chosen;
        let call = Call::begin(permit, classify, || service.call(request));
        Self {
            stage: Stage::Called { call },
        }
    }

    #[cold]
    pub(super) fn wait(wait: Wait<S>, classify: C, request: Req) -> Self {
        let waiting = Waiting {
            wait,
            request,
            classify,
        };
        Self {
            stage: Stage::Waiting {
                wait: Some(Box::new(waiting)),
            },
        }
    }
}

impl<S, Req, R, C> Future for BalanceFuture<S, Req, R, C>
where
    S: Service<Req> + Clone + Send + Sync + 'static,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error>,
    R: Release<S::Response, Permit, C>,
{
    type Output = Result<R::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.stage.as_mut().project() {
                StageProj::Called { call } => return call.poll(cx),
                StageProj::Waiting { wait } => {
                    let Some(waiting) = wait else {
                        return Poll::Pending;
                    };
                    let admitted = ready!(waiting.wait.poll::<Req>(cx));
                    let Some(waiting) = wait.take() else {
                        return Poll::Pending;
                    };
                    let Waiting {
                        request, classify, ..
                    } = *waiting;
                    match admitted {
                        Ok(chosen) => Self::call(chosen, classify, request),
                        Err(rejection) => Self::refused(rejection.into()),
                    }
                }
            };
            this.stage.set(next.stage);
        }
    }
}

impl<S: Service<Req>, Req, R, C> fmt::Debug for BalanceFuture<S, Req, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Called { call } => call.fmt(f),
            Stage::Waiting { wait } => f
                .debug_struct("Waiting")
                .field("ends", &wait.is_none())
                .finish(),
        }
    }
}
