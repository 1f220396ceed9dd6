//! The future of an admitted, or refused, call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::handle::Permit;
use crate::classify::Classify;
use crate::kernel::call::Call;
use crate::release::Release;

pin_project! {
    /// The future of [`Adaptive`](super::Adaptive). Polled again after it has
    /// resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct AdaptiveFuture<F, E, R, C> {
        #[pin]
        call: Call<F, E, Permit, R, C>,
    }
}

impl<F, E, R, C> AdaptiveFuture<F, E, R, C> {
    pub(super) fn refused(error: E) -> Self {
        let call = Call::refused(error);
        Self { call }
    }

    /// Calls the service under a permit.
    #[inline]
    pub(super) fn call(permit: Permit, classify: C, call: impl FnOnce() -> F) -> Self {
        let call = Call::begin(permit, classify, call);
        Self { call }
    }
}

impl<F, T, E, R, C> Future for AdaptiveFuture<F, E, R, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    R: Release<T, Permit, C>,
{
    type Output = Result<R::Response, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx)
    }
}

impl<F, E, R, C> fmt::Debug for AdaptiveFuture<F, E, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveFuture")
            .field("call", &self.call)
            .finish()
    }
}
