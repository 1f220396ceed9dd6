//! Makes throttles that share their buckets.

use std::marker::PhantomData;

use tower_layer::Layer;

use super::policy::Policy;
use super::service::{Refund, Refuse, Throttle, Wait};
use super::state::State;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::key::Global;
use crate::key::cost::One;
use crate::registry::Setup;

/// Makes [`Throttle`]s that share their buckets; see the [module](super).
pub struct ThrottleLayer<K = Global, M = Refuse, C = One> {
    state: Shared<State>,
    key: K,
    cost: C,
    kind: PhantomData<fn() -> M>,
}

impl ThrottleLayer {
    /// One bucket for all requests.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self {
            state: State::create(policy, false, setup),
            key: Global,
            cost: One,
            kind: PhantomData,
        }
    }
}

impl<K> ThrottleLayer<K> {
    /// One bucket per key; see [`key`](crate::key) for what can be one.
    #[must_use]
    pub fn keyed(policy: Policy, key: K) -> Self {
        Self::keyed_with(policy, key, Setup::default())
    }

    /// As [`keyed`](Self::keyed), with a name, a clock, listeners, a registry.
    pub fn keyed_with(policy: Policy, key: K, setup: Setup) -> Self {
        Self {
            state: State::create(policy, true, setup),
            key,
            cost: One,
            kind: PhantomData,
        }
    }
}

impl<K, M, C> ThrottleLayer<K, M, C> {
    /// Lets what comes too early wait: [`Wait`].
    #[must_use]
    pub fn waiting(self) -> ThrottleLayer<K, Wait, C> {
        self.mode()
    }

    /// Gives back what was never sent: [`Refund`].
    #[must_use]
    pub fn refunding(self) -> ThrottleLayer<K, Refund, C> {
        self.mode()
    }

    fn mode<M2>(self) -> ThrottleLayer<K, M2, C> {
        ThrottleLayer {
            state: self.state,
            key: self.key,
            cost: self.cost,
            kind: PhantomData,
        }
    }

    /// How much a request counts, by default 1.
    #[must_use]
    pub fn cost<C2>(self, cost: C2) -> ThrottleLayer<K, M, C2> {
        ThrottleLayer {
            state: self.state,
            key: self.key,
            cost,
            kind: PhantomData,
        }
    }
}

impl<K: Clone, M, C: Clone> Clone for ThrottleLayer<K, M, C> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            key: self.key.clone(),
            cost: self.cost.clone(),
            kind: PhantomData,
        }
    }
}

has_handle!(ThrottleLayer<K, M, C>);

impl<S, K: Clone, M, C: Clone> Layer<S> for ThrottleLayer<K, M, C> {
    type Service = Throttle<S, K, M, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Throttle::new(
            inner,
            self.state.clone(),
            self.key.clone(),
            self.cost.clone(),
        )
    }
}
