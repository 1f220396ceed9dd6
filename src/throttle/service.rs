//! The service, refusing or waiting.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::future::{RefundFuture, ThrottleFuture, WaitFuture};
use super::pass::Pass;
use super::permit::Spent;
use super::state::{Draw, State};
use crate::deadline::Deadline;
use crate::error::{AsRejection, Rejection, RejectionKind};
use crate::kernel::gate::Gate;
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::key::cost::{Cost, One};
use crate::key::{Global, Key, NoKey};

/// What comes too early is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refuse;

/// What comes too early waits in the future, within bounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait;

/// What comes too early is refused, as with [`Refuse`]; and what the inner service then
/// refuses before anything was sent (by a rejection whose
/// [`reached_inner`](crate::Rejection::reached_inner) is `false`) is given back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Refund;

/// A service with a bound on its requests in a given time; see the
/// [module](super).
pub struct Throttle<S, K = Global, M = Refuse, C = One> {
    inner: Readied<S>,
    state: Shared<State>,
    key: K,
    cost: C,
    kind: PhantomData<fn() -> M>,
}

impl<S, K, M, C> Throttle<S, K, M, C> {
    pub(super) fn new(inner: S, state: Shared<State>, key: K, cost: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            key,
            cost,
            kind: PhantomData,
        }
    }

    /// The bucket and the cost of a request.
    #[inline]
    fn draw<Req>(&self, request: &Req) -> Result<(Draw, u32), Rejection>
    where
        K: Key<Req>,
        C: Cost<Req>,
    {
        let core = &self.state.core;
        let cost = core
            .contain("cost", || self.cost.cost(request))
            .unwrap_or(1);
        let draw = match &self.state.keyed {
            None => Draw::Common,
            Some(buckets) => {
                let key = core.contain("key", || buckets.space.id(&self.key, request));
                self.state.draw(key.unwrap_or(Err(NoKey::Missing)))?
            }
        };
        Ok((draw, cost))
    }
}

impl<S: Clone, K: Clone, M, C: Clone> Clone for Throttle<S, K, M, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            key: self.key.clone(),
            cost: self.cost.clone(),
            kind: PhantomData,
        }
    }
}

wraps_service!(Throttle<S, K, M, C>);

impl<S, K, C, Req> Service<Req> for Throttle<S, K, Refuse, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    K: Key<Req>,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ThrottleFuture<S::Future, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return ThrottleFuture::new(Gate::refused(error));
        }
        let (draw, cost) = match self.draw(&request) {
            Ok(drawn) => drawn,
            Err(rejection) => return ThrottleFuture::new(Gate::refused(rejection.into())),
        };
        if self.state.spends(draw, cost) {
            return ThrottleFuture::new(Gate::open(self.inner.call(request)));
        }
        let stamp = self.state.core.clock().stamp();
        ThrottleFuture::new(match State::admit(&self.state, draw, cost, stamp.now()) {
            Ok(()) => Gate::open(self.inner.call(request)),
            Err(rejection) => Gate::refused(rejection.into()),
        })
    }
}

impl<S, K, C, Req> Service<Req> for Throttle<S, K, Refund, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    K: Key<Req>,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RefundFuture<S::Future, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return RefundFuture::new(Gate::refused(error), None);
        }
        let stamp = self.state.core.clock().stamp();
        let spent = self
            .draw(&request)
            .and_then(|(draw, cost)| Spent::take(&self.state, draw, cost, stamp.now()));
        match spent {
            Ok(spent) => RefundFuture::new(Gate::open(self.inner.call(request)), spent),
            Err(rejection) => RefundFuture::new(Gate::refused(rejection.into()), None),
        }
    }
}

impl<S, K, C, Req> Service<Req> for Throttle<S, K, Wait, C>
where
    S: Service<Req> + Clone,
    S::Error: AsRejection,
    K: Key<Req>,
    C: Cost<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WaitFuture<S, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return WaitFuture::decided(Gate::refused(error));
        }
        let (draw, cost) = match self.draw(&request) {
            Ok(drawn) => drawn,
            Err(rejection) => return WaitFuture::decided(Gate::refused(rejection.into())),
        };
        if self.state.spends(draw, cost) {
            return WaitFuture::decided(Gate::open(self.inner.call(request)));
        }
        let stamp = self.state.core.clock().stamp();
        let now = stamp.now();
        let patience = || {
            let most = self.state.max_wait();
            Deadline::current().map_or(most, |deadline| most.min(deadline.remaining(now)))
        };
        match State::admit_in_time(&self.state, draw, cost, now, patience) {
            Ok(Pass::Now) => WaitFuture::decided(Gate::open(self.inner.call(request))),
            Ok(Pass::Later(reserved)) => WaitFuture::waiting(reserved, self.inner.take(), request),
            Err(rejection) => WaitFuture::decided(Gate::refused(rejection.into())),
        }
    }
}
