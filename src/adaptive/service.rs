//! The service.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::AdaptiveFuture;
use super::handle::Permit;
use super::state::State;
use crate::classify::{Classify, ErrorsOnly};
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::release::{OnHead, Release};

/// A service with a limit that finds itself; see the [module](super).
pub struct Adaptive<S, R = OnHead, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl<S, R, C> Adaptive<S, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            classify,
            release: PhantomData,
        }
    }
}

impl<S: Clone, R, C: Clone> Clone for Adaptive<S, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

wraps_service!(Adaptive<S, R, C>);

impl<S, R, C, Req> Service<Req> for Adaptive<S, R, C>
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
