//! Makes services that a watchdog sees.

use tower_layer::Layer;

use super::policy::Policy;
use super::service::{Unkeyed, Watched};
use super::state::State;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;

/// Makes [`Watched`] services that share a table of what is in flight; see the
/// [module](super). A [`Watchdog`](super::Watchdog) looks through it once it was
/// [told](super::Watchdog::watch) of the layer's handle.
#[derive(Clone)]
pub struct WatchdogLayer<K = Unkeyed> {
    pub(super) state: Shared<State>,
    key: K,
}

impl WatchdogLayer {
    /// A layer with this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, listeners, a registry. It reads no clock.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self {
            state: State::create(policy, setup),
            key: Unkeyed,
        }
    }
}

impl<K> WatchdogLayer<K> {
    /// Tells stuck requests with the id of their [key](crate::key).
    #[must_use]
    pub fn keyed<K2>(self, key: K2) -> WatchdogLayer<K2> {
        WatchdogLayer {
            state: self.state,
            key,
        }
    }
}

has_handle!(WatchdogLayer<K>);

impl<S, K: Clone> Layer<S> for WatchdogLayer<K> {
    type Service = Watched<S, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Watched::new(inner, self.state.clone(), self.key.clone())
    }
}
