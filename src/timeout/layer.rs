//! Makes timeouts that share a policy.

use std::fmt;

use tower_layer::Layer;

use super::handle::Handle;
use super::limits::PolicyOnly;
use super::policy::Policy;
use super::service::Timeout;
use super::state::State;
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
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self {
            state: State::create(policy, setup),
            limits: PolicyOnly,
        }
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

    /// The timeout from outside.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.state.clone())
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

impl<O> fmt::Debug for TimeoutLayer<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutLayer")
            .field("name", &self.state.core.name())
            .finish_non_exhaustive()
    }
}

impl<S, O: Clone> Layer<S> for TimeoutLayer<O> {
    type Service = Timeout<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.state.clone(), self.limits.clone())
    }
}
