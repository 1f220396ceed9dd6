//! Makes timeouts that share a policy.

use tower_layer::Layer;

use super::connector::ConnectLayer;
use super::limits::PolicyOnly;
use super::policy::Policy;
use super::service::Timeout;
use super::state::State;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;

/// Makes [`Timeout`]s that share a policy; see the [module](super).
pub struct TimeoutLayer<O = PolicyOnly> {
    state: Shared<State>,
    limits: O,
}

impl TimeoutLayer {
    /// A timeout of this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self {
            state: State::create(policy, setup),
            limits: PolicyOnly,
        }
    }

    /// The same timeout for connectors: who gives up on one has sent no request.
    #[must_use]
    pub fn connecting(&self) -> ConnectLayer {
        ConnectLayer(self.clone())
    }
}

impl<O> TimeoutLayer<O> {
    /// Limits that depend on the request, and replace the policy's `attempt`.
    #[must_use]
    pub fn limits<O2>(self, limits: O2) -> TimeoutLayer<O2> {
        TimeoutLayer {
            state: self.state,
            limits,
        }
    }
}

impl<O: Clone> Clone for TimeoutLayer<O> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            limits: self.limits.clone(),
        }
    }
}

has_handle!(TimeoutLayer<O>);

impl<S, O: Clone> Layer<S> for TimeoutLayer<O> {
    type Service = Timeout<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.state.clone(), self.limits.clone())
    }
}
