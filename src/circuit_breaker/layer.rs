//! Makes breakers that share their circuits.

use std::marker::PhantomData;

use tower_layer::Layer;

use super::policy::Policy;
use super::service::CircuitBreaker;
use super::state::State;
use crate::classify::ErrorsOnly;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::key::Global;
use crate::registry::Setup;
use crate::release::OnHead;

/// Makes [`CircuitBreaker`]s that share their circuits; see the
/// [module](super).
pub struct CircuitBreakerLayer<K = Global, R = OnHead, C = ErrorsOnly> {
    state: Shared<State>,
    key: K,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl CircuitBreakerLayer {
    /// One circuit for all requests.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self::made(policy, Global, false, setup)
    }
}

impl<K> CircuitBreakerLayer<K> {
    /// One circuit per key; see [`key`](crate::key) for what can be one.
    #[must_use]
    pub fn keyed(policy: Policy, key: K) -> Self {
        Self::keyed_with(policy, key, Setup::default())
    }

    /// As [`keyed`](Self::keyed), with a name, a clock, listeners, a registry.
    pub fn keyed_with(policy: Policy, key: K, setup: Setup) -> Self {
        Self::made(policy, key, true, setup)
    }

    fn made(policy: Policy, key: K, keyed: bool, setup: Setup) -> Self {
        Self {
            state: State::create(policy, keyed, setup),
            key,
            classify: ErrorsOnly,
            release: PhantomData,
        }
    }
}

impl<K, R, C> CircuitBreakerLayer<K, R, C> {
    /// Judges ends of calls by this instead of [`ErrorsOnly`].
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> CircuitBreakerLayer<K, R, C2> {
        CircuitBreakerLayer {
            state: self.state,
            key: self.key,
            classify,
            release: PhantomData,
        }
    }

    /// A call ends with its response's body, and not with its head. Services must
    /// then answer with `http::Response`s.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn until_body_end(self) -> CircuitBreakerLayer<K, crate::release::OnBodyEnd, C> {
        CircuitBreakerLayer {
            state: self.state,
            key: self.key,
            classify: self.classify,
            release: PhantomData,
        }
    }
}

impl<K: Clone, R, C: Clone> Clone for CircuitBreakerLayer<K, R, C> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            key: self.key.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

has_handle!(CircuitBreakerLayer<K, R, C>);

impl<S, K: Clone, R, C: Clone> Layer<S> for CircuitBreakerLayer<K, R, C> {
    type Service = CircuitBreaker<S, K, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(
            inner,
            self.state.clone(),
            self.key.clone(),
            self.classify.clone(),
        )
    }
}
