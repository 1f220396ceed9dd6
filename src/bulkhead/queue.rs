//! Waiting for a permit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::handle::Permit;
use super::state::State;
use crate::classify::Classify;
use crate::error::AsRejection;
use crate::kernel::wait::Waiting;
use crate::release::Release;

pin_project! {
    /// The future of a [`Bulkhead`](super::Bulkhead) with a [`Queue`](super::Queue).
    #[must_use = "futures do nothing unless polled"]
    pub struct QueueFuture<S, Req, R, C>
    where
        S: Service<Req>,
    {
        #[pin]
        pub(super) waiting: Waiting<S, Req, State, Permit, R, C>,
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
        self.project().waiting.poll(cx)
    }
}

impl<S: Service<Req>, Req, R, C> fmt::Debug for QueueFuture<S, Req, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.waiting.fmt(f)
    }
}
