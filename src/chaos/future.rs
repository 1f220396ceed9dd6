//! The future of a call that may meet faults.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::body::{Meets, Reach};
use super::state::State;
use crate::clock::Sleep;
use crate::error::AsRejection;
use crate::kernel::gate::Gate;
use crate::kernel::shared::Shared;

pin_project! {
    /// The future of [`Chaos`](super::Chaos). Polled again after it has resolved,
    /// it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct ChaosFuture<F, T, E, M> {
        #[pin]
        gate: Gate<F, E>,
        // Only a call that meets a fault has any, and allocates it.
        trouble: Option<Pin<Box<Trouble<T, E>>>>,
        reach: PhantomData<fn() -> M>,
    }
}

pin_project! {
    /// What becomes of one call.
    pub(super) struct Trouble<T, E> {
        pub(super) state: Shared<State>,
        // What is held back: at once if the inner service is not called.
        pub(super) result: Option<Result<T, E>>,
        // Counted from when there is a result.
        pub(super) delay: Option<Duration>,
        #[pin]
        pub(super) timer: Option<Sleep>,
        pub(super) body: Option<Meets>,
    }
}

impl<F, T, E, M> ChaosFuture<F, T, E, M> {
    #[inline]
    pub(super) fn new(gate: Gate<F, E>) -> Self {
        Self {
            gate,
            trouble: None,
            reach: PhantomData,
        }
    }

    pub(super) fn troubled(gate: Gate<F, E>, trouble: Trouble<T, E>) -> Self {
        Self {
            gate,
            trouble: Some(Box::pin(trouble)),
            reach: PhantomData,
        }
    }
}

impl<F, T, E, M> Future for ChaosFuture<F, T, E, M>
where
    F: Future<Output = Result<T, E>>,
    E: AsRejection,
    M: Reach<T>,
{
    type Output = Result<M::Response, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(trouble) = this.trouble else {
            let result = ready!(this.gate.poll(cx));
            return Poll::Ready(result.map(|response| M::wrap(response, None)));
        };
        let (result, meets) = ready!(trouble.as_mut().poll_through(this.gate, cx));
        *this.trouble = None;
        Poll::Ready(result.map(|response| M::wrap(response, meets)))
    }
}

impl<T, E: AsRejection> Trouble<T, E> {
    #[cold]
    fn poll_through<F>(
        self: Pin<&mut Self>,
        gate: Pin<&mut Gate<F, E>>,
        cx: &mut Context<'_>,
    ) -> Poll<(Result<T, E>, Option<Meets>)>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut this = self.project();
        if this.result.is_none() {
            *this.result = Some(ready!(gate.poll(cx)));
        }
        if let Some(delay) = this.delay.take() {
            let clock = this.state.core.clock();
            let due = clock.now().saturating_add(delay);
            this.timer.set(Some(clock.sleep_until(due)));
        }
        if let Some(timer) = this.timer.as_mut().as_pin_mut()
            && ready!(timer.poll(cx)).is_err()
        {
            *this.result = Some(Err(this.state.no_runtime().into()));
        }
        match this.result.take() {
            Some(result) => Poll::Ready((result, this.body.take())),
            None => Poll::Pending,
        }
    }
}

impl<F, T, E, M> fmt::Debug for ChaosFuture<F, T, E, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosFuture")
            .field("gate", &self.gate)
            .field("troubled", &self.trouble.is_some())
            .finish()
    }
}
