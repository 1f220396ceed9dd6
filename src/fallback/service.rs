//! The service.

use std::task::{Context, Poll};

use tower_service::Service;

use super::answer::Answer;
use super::future::FallbackFuture;
use super::mark::{Mark, Unmarked};
use super::state::State;
use crate::classify::{Classify, ErrorsOnly};
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::guard::{Guard, through};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;

/// A service with another answer for its failures; see the [module](super).
pub struct Fallback<S, A, M = Unmarked, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    answer: A,
    mark: M,
    classify: C,
}

impl<S, A, M, C> Fallback<S, A, M, C> {
    pub(super) fn new(inner: S, state: Shared<State>, answer: A, mark: M, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            answer,
            mark,
            classify,
        }
    }
}

impl<S: Clone, A: Clone, M: Clone, C: Clone> Clone for Fallback<S, A, M, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            answer: self.answer.clone(),
            mark: self.mark.clone(),
            classify: self.classify.clone(),
        }
    }
}

wraps_service!(Fallback<S, A, M, C>);

impl<S, A, M, C, Req> Service<Req> for Fallback<S, A, M, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    A: Answer<Req, S::Response, S::Error> + Clone,
    M: Mark<S::Response> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FallbackFuture<S, Req, A, M, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.refuse(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return FallbackFuture::refused(error);
        }
        let answers = match self.state.admit() {
            Ok(answers) => answers,
            Err(rejection) => return FallbackFuture::refused(rejection.into()),
        };
        let mut guard = Guard::new(&self.state, ());
        let kept = match answers {
            true => self
                .state
                .core
                .contain("keep", || (self.answer.clone(), self.answer.keep(&request))),
            false => None,
        };
        let inner = &mut self.inner;
        let future = through(&mut guard, || inner.call(request));
        FallbackFuture::called(
            future,
            guard,
            kept,
            self.mark.clone(),
            self.classify.clone(),
        )
    }
}
