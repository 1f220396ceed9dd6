//! The service, refusing or waiting.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::{LearnedFuture, Place, WaitFuture};
use super::state::{Pass, State};
use crate::classify::Classify;
use crate::deadline::Deadline;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::key::{Global, Key};
use crate::release::OnHead;
use crate::throttle::{Refuse, Wait};

/// A service that is asked as fast as it allows; see the [module](super).
pub struct Learned<S, C, K = Global, M = Refuse> {
    inner: Readied<S>,
    state: Shared<State>,
    classify: C,
    key: K,
    kind: PhantomData<fn() -> M>,
}

impl<S, C, K, M> Learned<S, C, K, M> {
    pub(super) fn new(inner: S, state: Shared<State>, classify: C, key: K) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            classify,
            key,
            kind: PhantomData,
        }
    }
}

impl<S: Clone, C: Clone, K: Clone, M> Clone for Learned<S, C, K, M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            classify: self.classify.clone(),
            key: self.key.clone(),
            kind: PhantomData,
        }
    }
}

wraps_service!(Learned<S, C, K, M>);

impl<S, C, K, Req> Service<Req> for Learned<S, C, K, Refuse>
where
    S: Service<Req>,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error> + Clone,
    K: Key<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LearnedFuture<S::Future, S::Error, OnHead, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return LearnedFuture::refused(error);
        }
        let who = self.state.who(&self.key, &request);
        let stamp = self.state.core.clock().stamp();
        match State::admit(&self.state, who, stamp.now()) {
            Ok(permit) => {
                let classify = self.classify.clone();
                LearnedFuture::call(permit, classify, || self.inner.call(request))
            }
            Err(rejection) => LearnedFuture::refused(rejection.into()),
        }
    }
}

impl<S, C, K, Req> Service<Req> for Learned<S, C, K, Wait>
where
    S: Service<Req> + Clone,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error> + Clone,
    K: Key<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WaitFuture<S, Req, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return WaitFuture::decided(LearnedFuture::refused(error));
        }
        let who = self.state.who(&self.key, &request);
        let stamp = self.state.core.clock().stamp();
        let now = stamp.now();
        let patience = || {
            let most = self.state.max_wait();
            Deadline::current().map_or(most, |deadline| most.min(deadline.remaining(now)))
        };
        let classify = self.classify.clone();
        match State::admit_in_time(&self.state, who, now, patience) {
            Ok(Pass::Now(permit)) => {
                let call = || self.inner.call(request);
                WaitFuture::decided(LearnedFuture::call(permit, classify, call))
            }
            Ok(Pass::Later(wait, place)) => {
                let place = Place::new(self.state.clone(), who, place, (now, wait));
                WaitFuture::waiting(place, self.inner.take(), request, classify)
            }
            Err(rejection) => WaitFuture::decided(LearnedFuture::refused(rejection.into())),
        }
    }
}
