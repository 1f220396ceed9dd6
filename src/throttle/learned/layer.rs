//! Makes services that share what is learnt.

use std::marker::PhantomData;

use tower_layer::Layer;

use super::policy::Policy;
use super::service::Learned;
use super::state::State;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::key::Global;
use crate::registry::Setup;
use crate::throttle::{Refuse, Wait};

/// Makes [`Learned`]s that share what is learnt; see the [module](super).
pub struct LearnedLayer<C, K = Global, M = Refuse> {
    state: Shared<State>,
    classify: C,
    key: K,
    kind: PhantomData<fn() -> M>,
}

impl<C> LearnedLayer<C> {
    /// One server, whose answers `classify` judges: those that are an
    /// [`Overload`](crate::classify::Failure::Overload) say that it was too much.
    #[must_use]
    pub fn new(policy: Policy, classify: C) -> Self {
        Self::with(policy, classify, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, classify: C, setup: Setup) -> Self {
        Self {
            state: State::create(policy, false, setup),
            classify,
            key: Global,
            kind: PhantomData,
        }
    }
}

impl<C, K> LearnedLayer<C, K> {
    /// One server per key, as the host of the request; see [`key`](crate::key) for
    /// what can be one.
    #[must_use]
    pub fn keyed(policy: Policy, classify: C, key: K) -> Self {
        Self::keyed_with(policy, classify, key, Setup::default())
    }

    /// As [`keyed`](Self::keyed), with a name, a clock, listeners, a registry.
    pub fn keyed_with(policy: Policy, classify: C, key: K, setup: Setup) -> Self {
        Self {
            state: State::create(policy, true, setup),
            classify,
            key,
            kind: PhantomData,
        }
    }
}

impl<C, K, M> LearnedLayer<C, K, M> {
    /// Lets what comes too early wait: [`Wait`].
    #[must_use]
    pub fn waiting(self) -> LearnedLayer<C, K, Wait> {
        LearnedLayer {
            state: self.state,
            classify: self.classify,
            key: self.key,
            kind: PhantomData,
        }
    }
}

impl<C: Clone, K: Clone, M> Clone for LearnedLayer<C, K, M> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            classify: self.classify.clone(),
            key: self.key.clone(),
            kind: PhantomData,
        }
    }
}

has_handle!(LearnedLayer<C, K, M>);

impl<S, C: Clone, K: Clone, M> Layer<S> for LearnedLayer<C, K, M> {
    type Service = Learned<S, C, K, M>;

    fn layer(&self, inner: S) -> Self::Service {
        let (classify, key) = (self.classify.clone(), self.key.clone());
        Learned::new(inner, self.state.clone(), classify, key)
    }
}
