//! The least of a Tower service around what is none.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::state::{DirectStateStore, InMemoryState, NotKeyed};
use governor::{RateLimiter, state::StateStore};
use pin_project_lite::pin_project;
use pingora_timeout::Timeout;
use pingora_timeout::fast_timeout::{FastOrTokioTimeout, fast_timeout};
use tower::retry::Policy;
use tower::retry::budget::{Budget, TpsBudget};
use tower_service::Service;

/// Too early.
#[derive(Debug)]
pub(crate) struct Refused;

/// What a rate limiter of governor says to one call.
pub(crate) trait Limiter {
    fn check(&self, call: u64) -> bool;
}

pub(crate) type Direct<C> =
    RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

impl<C> Limiter for Direct<C>
where
    C: Clock,
    C::Instant: Reference,
    InMemoryState: DirectStateStore + StateStore<Key = NotKeyed>,
{
    fn check(&self, _: u64) -> bool {
        RateLimiter::check(self).is_ok()
    }
}

/// One bucket per key, of so many keys.
pub(crate) struct PerKey<C: Clock> {
    pub(crate) limiter:
        RateLimiter<u64, DefaultKeyedStateStore<u64>, C, NoOpMiddleware<C::Instant>>,
    pub(crate) keys: u64,
}

impl<C: Clock> Limiter for PerKey<C> {
    fn check(&self, call: u64) -> bool {
        let key = call.wrapping_mul(7_919) % self.keys;
        self.limiter.check_key(&key).is_ok()
    }
}

/// A service behind a limiter.
pub(crate) struct Governed<S, L> {
    inner: S,
    limiter: Arc<L>,
}

impl<S, L> Governed<S, L> {
    pub(crate) fn new(inner: S, limiter: L) -> Self {
        let limiter = Arc::new(limiter);
        Self { inner, limiter }
    }
}

impl<S: Clone, L> Clone for Governed<S, L> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            limiter: self.limiter.clone(),
        }
    }
}

impl<S: Service<u64>, L: Limiter> Service<u64> for Governed<S, L> {
    type Response = S::Response;
    type Error = Result<S::Error, Refused>;
    type Future = GovernedFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Ok)
    }

    #[inline]
    fn call(&mut self, call: u64) -> Self::Future {
        if self.limiter.check(call) {
            let future = self.inner.call(call);
            GovernedFuture::Passed { future }
        } else {
            GovernedFuture::Refused
        }
    }
}

pin_project! {
    /// The future of [`Governed`].
    #[project = Projected]
    pub(crate) enum GovernedFuture<F> {
        Passed { #[pin] future: F },
        Refused,
    }
}

impl<F, T, E> Future for GovernedFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Result<E, Refused>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Passed { future } => future.poll(cx).map_err(Ok),
            Projected::Refused => Poll::Ready(Err(Err(Refused))),
        }
    }
}

/// A service under pingora's timeout.
#[derive(Clone)]
pub(crate) struct Pingora<S>(pub(crate) S, pub(crate) Duration);

impl<S: Service<u64>> Service<u64> for Pingora<S> {
    type Response = Result<S::Response, S::Error>;
    type Error = pingora_timeout::Elapsed;
    type Future = Timeout<S::Future, FastOrTokioTimeout>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // None of the services here fails to become ready.
        self.0.poll_ready(cx).map(|_| Ok(()))
    }

    #[inline]
    fn call(&mut self, call: u64) -> Self::Future {
        fast_timeout(self.1, self.0.call(call))
    }
}

/// Tower's retry with a budget: the least policy that has one.
#[derive(Clone)]
pub(crate) struct Retrying(pub(crate) Arc<TpsBudget>);

impl<Err> Policy<u64, u64, Err> for Retrying {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, Err>) -> Option<Ready<()>> {
        match result {
            Ok(_) => {
                self.0.deposit();
                None
            }
            Err(_) => self.0.withdraw().then(|| ready(())),
        }
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}
