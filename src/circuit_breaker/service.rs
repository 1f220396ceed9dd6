//! The service.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::circuit::Circuit;
use super::future::CircuitBreakerFuture;
use super::handle::Permit;
use super::keys::Keys;
use super::mode::Mode;
use super::state::State;
use super::word::Word;
use crate::classify::{Classify, ErrorsOnly, Outcome};
use crate::clock::{Stamp, Tick};
use crate::error::{AsRejection, RejectionKind};
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
    refused: Refused,
    release: PhantomData<fn() -> R>,
}

/// The last refused call of one service. As long as its calls come often for the time
/// that is left, nobody reads the clock in between to see whether the wait is over.
#[derive(Debug, Clone, Copy, Default)]
struct Refused {
    last: Tick,
    /// The generation of the state in which they do.
    often: Option<u32>,
}

impl Refused {
    /// One more at `now`, with so many nanoseconds left.
    #[inline]
    fn add(&mut self, word: Word, now: Tick, left: u64) {
        let gap = now.as_nanos().checked_sub(self.last.as_nanos());
        let often = gap.is_some_and(|gap| gap < left / 1024);
        self.often = often.then(|| word.generation());
        self.last = now;
    }

    #[inline]
    fn are_often(self, word: Word) -> bool {
        self.often == Some(word.generation())
    }
}

impl<S, K, R, C> CircuitBreaker<S, K, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, key: K, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            key,
            classify,
            refused: Refused::default(),
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
            refused: Refused::default(),
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
        if !simple && self.need_not_ask() {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let state = &self.state;
        let word = state.one.word();
        if !state.is_simple(word) {
            return self.call_otherwise(word, request);
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
    /// Every request is refused; or some may be, and the service has said yes.
    #[inline]
    fn need_not_ask(&self) -> bool {
        let state = &self.state;
        state.may_refuse()
            && (self.inner.is_ready() || state.refuses_all(|word| self.refused.are_often(word)))
    }

    /// A closed circuit that somebody listens to or that looks at times, and one that
    /// is shut. Nothing here is moved once it is made: a copy waits for its stores.
    #[inline(never)]
    fn call_otherwise<Req>(
        &mut self,
        word: Word,
        request: Req,
    ) -> CircuitBreakerFuture<S::Future, S::Error, R, C>
    where
        S: Service<Req>,
        S::Error: AsRejection,
        K: Key<Req>,
        C: Clone,
    {
        let state = &self.state;
        if state.keys.is_some() || state.core.is_overruled() {
            return self.call_at_length(request);
        }
        let stamp = word.wants_time().then(|| state.core.clock().stamp());
        let now = stamp.as_ref().map_or(Tick::MAX, Stamp::now);
        if word.is_plain() {
            if let Err(error) = self.inner.check(|| state.reject_unready()) {
                return CircuitBreakerFuture::refused(error);
            }
            if !state.one.finds_overdue(now) {
                let guard = Guard::new(&state.one, state.one.begin_at(word, now));
                let call = || self.inner.call(request);
                return CircuitBreakerFuture::call(Permit::new(guard), self.classify.clone(), call);
            }
        } else if let Some(wait) = state.one.wait(now) {
            self.refused.add(word, now, wait);
            let rejection = state.one.refuse(RejectionKind::Open, Some(wait));
            return CircuitBreakerFuture::refused(rejection.into());
        }
        self.call_at_length(request)
    }

    #[inline(never)]
    fn call_at_length<Req>(
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
        self.refused = Refused::default();
        if state.keys.is_none() && state.mode() == Mode::ForcedOpen {
            let rejection = state.one.refuse(RejectionKind::Closed, None);
            return CircuitBreakerFuture::refused(rejection.into());
        }
        let not_ready = || state.reject_unready();
        let stamp = state.stamp();
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
