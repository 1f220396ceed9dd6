//! The future of a call that holds an admission, or was refused.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::gate::Gate;
use crate::classify::{Classify, Outcome, Verdict};
use crate::release::{Admission, Release};

/// What an admission does around the polls of its call.
pub trait Hold: Admission {
    /// Runs a part of the call; if it panics, the admission ends as a failure.
    fn through<R>(&mut self, f: impl FnOnce() -> R) -> R;

    /// What a classifier says; `None` if it panics.
    fn judge<R>(&self, f: impl FnOnce() -> R) -> Option<R>;

    /// The call is not ready.
    #[inline]
    fn pending(&mut self) {}
}

pin_project! {
    /// Polled again after it has resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct Call<F, E, P, R, C> {
        #[pin]
        gate: Gate<F, E>,
        // Gone when the call has ended, or was refused.
        admitted: Option<(P, C)>,
        release: PhantomData<fn() -> R>,
    }
}

impl<F, E, P, R, C> Call<F, E, P, R, C> {
    /// Resolves to the error.
    pub fn refused(error: E) -> Self {
        Self {
            gate: Gate::refused(error),
            admitted: None,
            release: PhantomData,
        }
    }

    /// Calls the service under an admission.
    #[inline]
    pub fn begin(mut permit: P, classify: C, call: impl FnOnce() -> F) -> Self
    where
        P: Hold,
    {
        Self {
            gate: Gate::open(permit.through(call)),
            admitted: Some((permit, classify)),
            release: PhantomData,
        }
    }
}

impl<F, T, E, P, R, C> Future for Call<F, E, P, R, C>
where
    F: Future<Output = Result<T, E>>,
    P: Hold,
    C: Classify<T, E>,
    R: Release<T, P, C>,
{
    type Output = Result<R::Response, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let poll = match this.admitted {
            Some((permit, _)) => permit.through(|| this.gate.poll(cx)),
            None => this.gate.poll(cx),
        };
        let Poll::Ready(result) = poll else {
            if let Some((permit, _)) = this.admitted {
                permit.pending();
            }
            return Poll::Pending;
        };
        let Some((permit, classify)) = this.admitted else {
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
                Ok(R::release(response, this.admitted, verdict))
            }
            Err(error) => {
                permit.finish_with(|| classify.classify(Err(&error)).on_head());
                *this.admitted = None;
                Err(error)
            }
        })
    }
}

impl<F, E, P, R, C> fmt::Debug for Call<F, E, P, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("gate", &self.gate)
            .field("admitted", &self.admitted.is_some())
            .finish()
    }
}
