//! The service.

use std::task::{Context, Poll};

use tower_service::Service;

use super::future::RetryFuture;
use super::rules::Rules;
use super::session::Session;
use super::state::State;
use crate::attempt::Attempt;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::guard::{Guard, through};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::replay::{Cloned, Replay};

/// A service that tries again; see the [module](super).
pub struct Retry<S, Y, R = Cloned> {
    inner: Readied<S>,
    state: Shared<State>,
    rules: Y,
    replay: R,
}

impl<S, Y, R> Retry<S, Y, R> {
    pub(super) fn new(inner: S, state: Shared<State>, rules: Y, replay: R) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            rules,
            replay,
        }
    }
}

impl<S: Clone, Y: Clone, R: Clone> Clone for Retry<S, Y, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            rules: self.rules.clone(),
            replay: self.replay.clone(),
        }
    }
}

wraps_service!(Retry<S, Y, R>);

impl<S, Y, R, Req> Service<Req> for Retry<S, Y, R>
where
    S: Service<R::Request> + Clone,
    S::Error: AsRejection,
    Y: Rules<Req, S::Response, S::Error> + Clone,
    R: Replay<Req> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, Req, Y, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.refuse(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return RetryFuture::refused(error);
        }
        let (begun, retries) = match self.state.admit() {
            Ok(admitted) => admitted,
            Err(rejection) => return RetryFuture::refused(rejection.into()),
        };
        let mut guard = Guard::new(&self.state, begun);
        let core = &self.state.core;
        let prepared = core.contain("rules or replay", || {
            let rules = (self.rules.clone(), self.rules.see(&request));
            let kept = match retries {
                true => self.replay.keep(&request),
                false => None,
            };
            let again = kept.is_some();
            let another = again.then(|| (self.inner.clone(), self.replay.clone()));
            (rules, another, kept)
        });
        let (rules, another, mut kept) = match prepared {
            Some((rules, another, kept)) => (Some(rules), another, kept),
            None => (None, None, None),
        };
        let request = self.replay.first(request, &mut kept);
        let mut attempt = Attempt::first().paid_into(self.state.budget.id());
        let inner = &mut self.inner;
        let future = attempt.scope(|| through(&mut guard, || inner.call(request)));
        // Made where it stays, and not before the call: to move it is dear.
        let session = Session::new(guard, attempt, rules, another.zip(kept));
        RetryFuture::going_on(session, future)
    }
}
