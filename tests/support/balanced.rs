//! A balancer as a layer: over one endpoint, whose service is the one it is laid
//! around.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tower::{Layer, Service};
use tower_keep::Setup;
use tower_keep::balance::{Balance, Endpoint, Handle, Policy};
use tower_keep::classify::{ErrorsOnly, Http};
use tower_keep::release::{OnBodyEnd, OnHead};

/// Makes clones of what it is given later.
pub(crate) struct Later<S>(Arc<OnceLock<S>>);

impl<S> Clone for Later<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Clone> Service<Endpoint> for Later<S> {
    type Response = S;
    type Error = Infallible;
    type Future = Ready<Result<S, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.0.get() {
            Some(_) => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    fn call(&mut self, _: Endpoint) -> Self::Future {
        ready(Ok(self.0.get().unwrap().clone()))
    }
}

/// As a layer, it lays one balancer around one service.
pub(crate) struct Balanced<S, R = OnHead, C = ErrorsOnly> {
    inner: Later<S>,
    balance: Balance<S, R, C>,
}

impl<S: Clone + Send + Sync + 'static> Balanced<S> {
    pub(crate) fn with(policy: Policy, setup: Setup) -> Self {
        let inner = Later(Arc::new(OnceLock::new()));
        let endpoints = vec![Endpoint::new("only")];
        Self {
            balance: Balance::with(policy, endpoints, inner.clone(), setup),
            inner,
        }
    }

    pub(crate) fn until_body_end(self) -> Balanced<S, OnBodyEnd, Http> {
        Balanced {
            inner: self.inner,
            balance: self.balance.classify(Http).until_body_end(),
        }
    }
}

impl<S, R, C> Balanced<S, R, C> {
    pub(crate) fn handle(&self) -> Handle {
        self.balance.handle()
    }
}

impl<S, R, C> std::fmt::Debug for Balanced<S, R, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.balance.fmt(f)
    }
}

impl<S: Clone + Send + Sync + 'static, R, C: Clone> Layer<S> for Balanced<S, R, C> {
    type Service = Balance<S, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        assert!(self.inner.0.set(inner).is_ok(), "it has one service");
        self.balance.clone()
    }
}

/// As `for_all_layers`, for those whose readiness is not that of the service they are
/// laid around.
macro_rules! for_choosing_layers {
    ($($law:ident),* $(,)?) => { $(
        mod $law {
            use $crate::support::balanced::Balanced;
            use tower_keep::balance::Policy;
            $crate::support::cases::one_layer! { $law
                balance: |s| Balanced::with(Policy::default(), s);
                balance_body: |s| Balanced::with(Policy::default(), s).until_body_end();
            }
        }
    )* };
}
pub(crate) use for_choosing_layers;
