//! The service, in its three kinds of admission.

use std::marker::PhantomData;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::future::{BulkheadFuture, QueueFuture};
use super::handle::Permit;
use super::state::State;
use crate::classify::{Classify, ErrorsOnly};
use crate::clock::Tick;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::limited::sheds_and_queues;
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::kernel::wait::{Door, Place, Who};
use crate::queue::Shed;
use crate::release::{OnHead, Release};

/// A service is ready only when it has a permit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backpressure;

/// A service with a limit on what is in flight at once; see the
/// [module](super).
pub struct Bulkhead<S, M = Shed, R = OnHead, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    mode: M,
    classify: C,
    reserved: Reserved,
    release: PhantomData<fn() -> R>,
}

/// What `poll_ready` has got hold of, under [`Backpressure`].
#[derive(Debug, Default)]
enum Reserved {
    #[default]
    Nothing,
    Place(Place<State>),
    Permit(Permit),
}

impl<S, M, R, C> Bulkhead<S, M, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, mode: M, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            mode,
            classify,
            reserved: Reserved::Nothing,
            release: PhantomData,
        }
    }
}

/// A clone shares the limit; what the original had reserved stays there.
impl<S: Clone, M: Clone, R, C: Clone> Clone for Bulkhead<S, M, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            mode: self.mode.clone(),
            classify: self.classify.clone(),
            reserved: Reserved::Nothing,
            release: PhantomData,
        }
    }
}

wraps_service!(Bulkhead<S, M, R, C>);

sheds_and_queues!(Bulkhead, BulkheadFuture, QueueFuture, Permit);

impl<S, R, C, Req> Service<Req> for Bulkhead<S, Backpressure, R, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error> + Clone,
    R: Release<S::Response, Permit, C>,
{
    type Response = R::Response;
    type Error = S::Error;
    type Future = BulkheadFuture<S::Future, S::Error, R, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The service first: a permit must not wait for it.
        match self.inner.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            other => {
                self.reserved = Reserved::Nothing;
                return other;
            }
        }
        if let Reserved::Nothing = self.reserved {
            let who = Who::any(1);
            self.reserved = match self.state.try_enter(who) {
                Ok(token) => Reserved::Permit(Permit::new(&self.state, token)),
                // `call` will say so: an error here means that the service is dead.
                Err(RejectionKind::Closed) => return Poll::Ready(Ok(())),
                Err(_) => {
                    // Nothing but its own drop ends this wait.
                    let times = (self.state.core.clock().now(), Tick::MAX);
                    let late = RejectionKind::QueueTimeout;
                    match Place::take(&self.state, who, u32::MAX, times, late) {
                        Ok(place) => Reserved::Place(place),
                        Err(_) => return Poll::Ready(Ok(())),
                    }
                }
            };
        }
        if let Reserved::Place(place) = &mut self.reserved {
            self.reserved = match ready!(place.poll(cx)) {
                Ok(guard) => Reserved::Permit(guard.into()),
                // As above.
                Err(_) => Reserved::Nothing,
            };
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.reject(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return BulkheadFuture::refused(error);
        }
        let permit = match std::mem::take(&mut self.reserved) {
            Reserved::Permit(permit) => permit,
            // Called without waiting for readiness.
            Reserved::Nothing | Reserved::Place(_) => match self.state.admit(1) {
                Ok(token) => Permit::new(&self.state, token),
                Err(rejection) => return BulkheadFuture::refused(rejection.into()),
            },
        };
        let classify = self.classify.clone();
        BulkheadFuture::call(permit, classify, || self.inner.call(request))
    }
}
