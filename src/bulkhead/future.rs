//! The future of an admitted, or refused, call.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::handle::Permit;
use crate::classify::{Classify, Outcome, Verdict};
use crate::kernel::gate::Gate;
use crate::release::{Admission, Release};

pin_project! {
    /// The future of [`Bulkhead`](super::Bulkhead). Polled again after it has
    /// resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct BulkheadFuture<F, E, R, C> {
        #[pin]
        gate: Gate<F, E>,
        // Gone when the call has ended, or was refused.
        admitted: Option<(Permit, C)>,
        release: PhantomData<fn() -> R>,
    }
}

impl<F, E, R, C> BulkheadFuture<F, E, R, C> {
    pub(super) fn refused(error: E) -> Self {
        Self {
            gate: Gate::refused(error),
            admitted: None,
            release: PhantomData,
        }
    }

    /// Calls the service under a permit.
    #[inline]
    pub(super) fn call(mut permit: Permit, classify: C, call: impl FnOnce() -> F) -> Self {
        Self {
            gate: Gate::open(permit.through(call)),
            admitted: Some((permit, classify)),
            release: PhantomData,
        }
    }
}

impl<F, T, E, R, C> Future for BulkheadFuture<F, E, R, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
    R: Release<T, Permit, C>,
{
    type Output = Result<R::Response, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match this.admitted {
            Some((permit, _)) => ready!(permit.through(|| this.gate.poll(cx))),
            None => ready!(this.gate.poll(cx)),
        };
        let Some((mut permit, classify)) = this.admitted.take() else {
            // Refused: the gate holds an error, never a response.
            return match result {
                Err(error) => Poll::Ready(Err(error)),
                Ok(_) => Poll::Pending,
            };
        };
        Poll::Ready(match result {
            Ok(response) => {
                let verdict = permit
                    .judge(|| classify.classify(Ok(&response)))
                    .unwrap_or(Verdict::Now(Outcome::Neutral));
                Ok(R::release(response, permit, classify, verdict))
            }
            Err(error) => {
                permit.finish_with(|| classify.classify(Err(&error)).on_head());
                Err(error)
            }
        })
    }
}

impl<F, E, R, C> fmt::Debug for BulkheadFuture<F, E, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadFuture")
            .field("gate", &self.gate)
            .field("admitted", &self.admitted.is_some())
            .finish()
    }
}
