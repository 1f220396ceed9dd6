//! Makes retries that share a policy and a budget.

use tower_layer::Layer;

use super::policy::Policy;
use super::service::Retry;
use super::state::State;
use crate::budget::Budget;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;
use crate::replay::Cloned;

/// Makes [`Retry`]s that share a policy and a budget; see the [module](super).
pub struct RetryLayer<Y, R = Cloned> {
    state: Shared<State>,
    rules: Y,
    replay: R,
}

impl<Y> RetryLayer<Y> {
    /// Tries again what these rules say, within a default
    /// [`Budget`](crate::budget::Policy) of its own: one retry for ten requests,
    /// and one a second besides.
    #[must_use]
    pub fn new(policy: Policy, rules: Y) -> Self {
        Self::with(policy, rules, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, rules: Y, setup: Setup) -> Self {
        Self::create(policy, rules, None, setup)
    }

    /// As [`with`](Self::with), within this budget. Give clones of one budget to
    /// all that retries or hedges calls of the same service.
    #[must_use]
    pub fn with_budget(policy: Policy, rules: Y, budget: Budget, setup: Setup) -> Self {
        Self::create(policy, rules, Some(budget), setup)
    }

    fn create(policy: Policy, rules: Y, budget: Option<Budget>, setup: Setup) -> Self {
        Self {
            state: State::create(policy, budget, setup),
            rules,
            replay: Cloned,
        }
    }
}

impl<Y, R> RetryLayer<Y, R> {
    /// Makes other attempts of a request this way, instead of by
    /// [cloning](Cloned) it.
    #[must_use]
    pub fn replay<R2>(self, replay: R2) -> RetryLayer<Y, R2> {
        RetryLayer {
            state: self.state,
            rules: self.rules,
            replay,
        }
    }
}

impl<Y: Clone, R: Clone> Clone for RetryLayer<Y, R> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            rules: self.rules.clone(),
            replay: self.replay.clone(),
        }
    }
}

has_handle!(RetryLayer<Y, R>);

impl<S, Y: Clone, R: Clone> Layer<S> for RetryLayer<Y, R> {
    type Service = Retry<S, Y, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(
            inner,
            self.state.clone(),
            self.rules.clone(),
            self.replay.clone(),
        )
    }
}
