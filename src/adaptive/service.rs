//! The service.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::AdaptiveFuture;
use super::handle::Permit;
use super::queue::QueueFuture;
use super::state::State;
use crate::classify::{Classify, ErrorsOnly};
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::kernel::wait::{Door, Wait, Waiting};
use crate::key::Key;
use crate::queue::{Queue, Rank, Shed};
use crate::release::{OnHead, Release};

/// A service with a limit that finds itself; see the [module](super).
pub struct Adaptive<S, M = Shed, R = OnHead, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    mode: M,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl<S, M, R, C> Adaptive<S, M, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, mode: M, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            mode,
            classify,
            release: PhantomData,
        }
    }
}

impl<S: Clone, M: Clone, R, C: Clone> Clone for Adaptive<S, M, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            mode: self.mode.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

wraps_service!(Adaptive<S, M, R, C>);

impl<S, R, C, Req> Service<Req> for Adaptive<S, Shed, R, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error> + Clone,
    R: Release<S::Response, Permit, C>,
{
    type Response = R::Response;
    type Error = S::Error;
    type Future = AdaptiveFuture<S::Future, S::Error, R, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return AdaptiveFuture::refused(error);
        }
        match self.state.admit(1) {
            Ok(token) => {
                let permit = Permit::new(&self.state, token);
                let classify = self.classify.clone();
                AdaptiveFuture::call(permit, classify, || self.inner.call(request))
            }
            Err(rejection) => AdaptiveFuture::refused(rejection.into()),
        }
    }
}

impl<S, P, K, R, C, Req> Service<Req> for Adaptive<S, Queue<P, K>, R, C>
where
    S: Service<Req> + Clone,
    S::Error: AsRejection,
    P: Rank<Req>,
    K: Key<Req>,
    C: Classify<S::Response, S::Error> + Clone,
    R: Release<S::Response, Permit, C>,
{
    type Response = R::Response;
    type Error = S::Error;
    type Future = QueueFuture<S, Req, R, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            let waiting = Waiting::refused(error);
            return QueueFuture { waiting };
        }
        let State { core, tenants, .. } = &*self.state;
        let who = self.mode.who(core, &request);
        let tenant = || self.mode.tenant(core, tenants, &request);
        let wait = Wait::start(&self.state, who, tenant);
        let classify = self.classify.clone();
        let waiting = Waiting::start(wait, &mut self.inner, request, classify);
        QueueFuture { waiting }
    }
}
