//! Makes hedges that share a policy.

use tower_layer::Layer;

use super::policy::Policy;
use super::service::Hedge;
use super::state::State;
use crate::budget::{self, Budget};
use crate::classify::ErrorsOnly;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;
use crate::replay::Cloned;

/// Makes [`Hedge`]s that share a policy; see the [module](super).
pub struct HedgeLayer<M, R = Cloned, C = ErrorsOnly> {
    state: Shared<State>,
    may: M,
    replay: R,
    classify: C,
}

impl<M> HedgeLayer<M> {
    /// Hedges of this policy, for the requests that may be made twice. Its budget
    /// is its own: one hedge for twenty calls, and one a second besides.
    #[must_use]
    pub fn new(policy: Policy, may: M) -> Self {
        Self::with(policy, may, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, may: M, setup: Setup) -> Self {
        let budget = Budget::of_layer(budget::Policy::of_hedges(), &setup);
        Self::with_budget(policy, may, budget, setup)
    }

    /// As [`with`](Self::with), out of a budget that others share.
    #[must_use]
    pub fn with_budget(policy: Policy, may: M, budget: Budget, setup: Setup) -> Self {
        Self {
            state: State::create(policy, budget, setup),
            may,
            replay: Cloned,
            classify: ErrorsOnly,
        }
    }
}

impl<M, R, C> HedgeLayer<M, R, C> {
    /// Makes other attempts by this [`Replay`](crate::replay::Replay) instead of a
    /// clone of the request: `Buffered` for HTTP with streaming bodies, `Reread` for
    /// the same inside a retry that keeps them already.
    #[must_use]
    pub fn replay<R2>(self, replay: R2) -> HedgeLayer<M, R2, C> {
        HedgeLayer {
            state: self.state,
            may: self.may,
            replay,
            classify: self.classify,
        }
    }

    /// Judges ends of attempts by this instead of [`ErrorsOnly`], which takes every
    /// response for a success.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> HedgeLayer<M, R, C2> {
        HedgeLayer {
            state: self.state,
            may: self.may,
            replay: self.replay,
            classify,
        }
    }
}

impl<M: Clone, R: Clone, C: Clone> Clone for HedgeLayer<M, R, C> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            may: self.may.clone(),
            replay: self.replay.clone(),
            classify: self.classify.clone(),
        }
    }
}

has_handle!(HedgeLayer<M, R, C>);

impl<S, M: Clone, R: Clone, C: Clone> Layer<S> for HedgeLayer<M, R, C> {
    type Service = Hedge<S, M, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Hedge::new(
            inner,
            self.state.clone(),
            self.may.clone(),
            self.replay.clone(),
            self.classify.clone(),
        )
    }
}
