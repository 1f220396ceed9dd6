//! The service.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::circuit::Circuit;
use super::future::CircuitBreakerFuture;
use super::handle::Permit;
use super::keys::Keys;
use super::state::State;
use crate::classify::{Classify, ErrorsOnly, Outcome};
use crate::error::AsRejection;
use crate::kernel::guard::Guard;
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::key::{Global, Key};
use crate::release::{OnHead, Release};

/// A service that is not called while it fails; see the [module](super).
pub struct CircuitBreaker<S, K = Global, R = OnHead, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    key: K,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl<S, K, R, C> CircuitBreaker<S, K, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, key: K, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            key,
            classify,
            release: PhantomData,
        }
    }
}

impl<S: Clone, K: Clone, R, C: Clone> Clone for CircuitBreaker<S, K, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            key: self.key.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

wraps_service!(CircuitBreaker<S, K, R, C>);

impl<S, K, R, C, Req> Service<Req> for CircuitBreaker<S, K, R, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    K: Key<Req>,
    C: Classify<S::Response, S::Error> + Clone,
    R: Release<S::Response, Permit, C>,
{
    type Response = R::Response;
    type Error = S::Error;
    type Future = CircuitBreakerFuture<S::Future, S::Error, R, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Nobody waits for a service that will not be called.
        let simple = self.state.is_simple(self.state.one.word());
        if !simple && self.state.is_shut(|| self.inner.is_ready()) {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let state = &self.state;
        let word = state.one.word();
        if !state.is_simple(word) {
            return self.call_otherwise(request);
        }
        if let Err(error) = self.inner.check(|| state.reject_unready()) {
            return CircuitBreakerFuture::refused(error);
        }
        let guard = Guard::new(&state.one, state.one.begin(word));
        let call = || self.inner.call(request);
        CircuitBreakerFuture::call(Permit::new(guard), self.classify.clone(), call)
    }
}

impl<S, K, R, C> CircuitBreaker<S, K, R, C> {
    #[inline(never)]
    fn call_otherwise<Req>(
        &mut self,
        request: Req,
    ) -> CircuitBreakerFuture<S::Future, S::Error, R, C>
    where
        S: Service<Req>,
        S::Error: AsRejection,
        K: Key<Req>,
        C: Clone,
    {
        let state = &self.state;
        let not_ready = || state.reject_unready();
        let stamp = state.stamp();
        if let Some(rejection) = state.refusal(stamp.as_ref()) {
            return CircuitBreakerFuture::refused(rejection.into());
        }
        let key = |keys: &Keys| state.id(keys, &self.key, &request);
        let user = state.user(stamp.as_ref(), key);
        let circuit: &Circuit = user.as_deref().unwrap_or(&state.one);
        // What will be refused anyway does not ask the service.
        let shut = stamp
            .as_ref()
            .is_some_and(|stamp| circuit.is_shut(|| stamp.now()));
        if !shut && let Err(error) = self.inner.check(not_ready) {
            return CircuitBreakerFuture::refused(error);
        }
        match state.admit(user, stamp.as_ref()) {
            Ok(mut guard) => {
                // It has just closed.
                if shut && let Err(error) = self.inner.check(not_ready) {
                    guard.finish(Outcome::Neutral);
                    return CircuitBreakerFuture::refused(error);
                }
                let classify = self.classify.clone();
                let call = || self.inner.call(request);
                CircuitBreakerFuture::call(Permit::new(guard), classify, call)
            }
            Err(rejection) => CircuitBreakerFuture::refused(rejection.into()),
        }
    }
}
