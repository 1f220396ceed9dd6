//! The service.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower_service::Service;

use super::checks;
use super::choose::Nothing;
use super::discover::{BoxError, Discover};
use super::driver::Driver;
use super::endpoint::Endpoint;
use super::future::BalanceFuture;
use super::handle::{Handle, Permit};
use super::hub::Hub;
use super::policy::Policy;
use super::state::State;
use super::wait::Wait;
use crate::attempt::Attempt;
use crate::classify::{Classify, ErrorsOnly};
use crate::error::{AsRejection, RejectionKind};
use crate::probe::{Probe, Schedule};
use crate::registry::Setup;
use crate::release::{OnHead, Release};

/// A service that sends each request to one of many endpoints; see the
/// [module](super).
pub struct Balance<S, R = OnHead, C = ErrorsOnly> {
    hub: Arc<Hub<S>>,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl<S: Send + Sync + 'static> Balance<S> {
    /// Balances over these endpoints, whose services this factory makes.
    ///
    /// The factory is a `Service<Endpoint, Response = S>`, as tower's `MakeService` and
    /// `service_fn` are, or [`by`](super::by) a closure. What needs no waiting is done
    /// here, the rest in a task of the tokio runtime that the balancer is first used
    /// in; a factory that needs a runtime must not be given away outside of one.
    pub fn new<D, F>(policy: Policy, endpoints: D, factory: F) -> Self
    where
        D: Discover + Unpin,
        F: Service<Endpoint, Response = S> + Send + Unpin + 'static,
        F::Future: Send + 'static,
        F::Error: Into<BoxError>,
    {
        Self::with(policy, endpoints, factory, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    pub fn with<D, F>(policy: Policy, endpoints: D, factory: F, setup: Setup) -> Self
    where
        D: Discover + Unpin,
        F: Service<Endpoint, Response = S> + Send + Unpin + 'static,
        F::Future: Send + 'static,
        F::Error: Into<BoxError>,
    {
        let hub = Hub::create(State::create(policy, setup));
        let driver = Driver::new(Arc::downgrade(&hub), endpoints, factory);
        hub.drive_once(Box::pin(driver));
        Self {
            hub,
            classify: ErrorsOnly,
            release: PhantomData,
        }
    }
}

impl<S, R, C> Balance<S, R, C> {
    /// Asks each endpoint how it is, in the background, by the probe that `make` gives
    /// for it: [`probe`](crate::probe) has some for HTTP, gRPC and TCP. One that is found
    /// failing gets no requests until it is found well, or too few are. Until its first
    /// answer an endpoint is taken to be well. Has no effect the second time.
    #[must_use]
    pub fn checked<M, P>(self, schedule: Schedule, make: M) -> Self
    where
        M: Fn(&Endpoint) -> P + Send + Sync + 'static,
        P: Probe,
        S: Send + Sync + 'static,
    {
        let checks = Box::new(checks::By { schedule, make });
        if self.hub.checks.set(checks).is_ok() {
            self.hub.wake_driver();
        }
        self
    }

    /// Counts a call as in flight until the response's body has ended, not only its
    /// head, and judges it by that. Services must then answer with `http::Response`s.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn until_body_end(self) -> Balance<S, crate::release::OnBodyEnd, C> {
        Balance {
            hub: self.hub,
            classify: self.classify,
            release: PhantomData,
        }
    }

    /// Judges ends of calls by this instead of [`ErrorsOnly`]: what the balancer
    /// knows of an endpoint's health is what it says.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> Balance<S, R, C2> {
        Balance {
            hub: self.hub,
            classify,
            release: PhantomData,
        }
    }

    /// The balancer from outside: to watch it and to steer it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.hub.state.shared())
    }
}

/// A clone shares everything.
impl<S, R, C: Clone> Clone for Balance<S, R, C> {
    fn clone(&self) -> Self {
        Self {
            hub: Arc::clone(&self.hub),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

impl<S, R, C> fmt::Debug for Balance<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("name", &self.hub.state.core.name())
            .finish_non_exhaustive()
    }
}

impl<S, R, C, Req> Service<Req> for Balance<S, R, C>
where
    S: Service<Req> + Clone + Send + Sync + 'static,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error> + Clone,
    R: Release<S::Response, Permit, C>,
{
    type Response = R::Response;
    type Error = S::Error;
    type Future = BalanceFuture<S, Req, R, C>;

    /// Always ready: which endpoint is asked depends on the request.
    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.hub.keep_driven();
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let hub = &self.hub;
        hub.keep_driven();
        if hub.state.is_closed() {
            let rejection = hub.state.reject(RejectionKind::Closed);
            return BalanceFuture::refused(rejection.into());
        }
        let stamp = || hub.state.core.clock().stamp().now();
        let cx = &mut Context::from_waker(Waker::noop());
        match hub.choose(Attempt::current(), stamp, Nothing, cx) {
            Some(chosen) => BalanceFuture::call(chosen, self.classify.clone(), request),
            None => match Wait::begin(hub) {
                Ok(wait) => BalanceFuture::wait(wait, self.classify.clone(), request),
                Err(rejection) => BalanceFuture::refused(rejection.into()),
            },
        }
    }
}
