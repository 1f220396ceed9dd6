//! Makes services that meet the same faults.

use std::marker::PhantomData;

use tower_layer::Layer;

use super::body::Calls;
use super::faults::Rejected;
use super::policy::Policy;
use super::service::Chaos;
use super::state::State;
use super::target::Everyone;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;

/// Makes [`Chaos`] services that count requests together; see the
/// [module](super). Nothing goes wrong until
/// [`Handle::start`](super::Handle::start).
pub struct ChaosLayer<T = Everyone, A = Rejected, M = Calls> {
    state: Shared<State>,
    target: T,
    faults: A,
    reach: PhantomData<fn() -> M>,
}

impl ChaosLayer {
    /// The faults of this policy, once it is started.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self {
            state: State::create(policy, setup),
            target: Everyone,
            faults: Rejected,
            reach: PhantomData,
        }
    }
}

impl<T, A, M> ChaosLayer<T, A, M> {
    /// Which requests are aimed at, by default [`Everyone`].
    #[must_use]
    pub fn target<T2>(self, target: T2) -> ChaosLayer<T2, A, M> {
        ChaosLayer {
            state: self.state,
            target,
            faults: self.faults,
            reach: PhantomData,
        }
    }

    /// What failed calls get, by default [`Rejected`].
    #[must_use]
    pub fn faults<A2>(self, faults: A2) -> ChaosLayer<T, A2, M> {
        ChaosLayer {
            state: self.state,
            target: self.target,
            faults,
            reach: PhantomData,
        }
    }

    /// Lets the bodies of responses meet faults, too. Services must then answer
    /// with `http::Response`s, whose bodies become
    /// [`ChaosBody`](super::ChaosBody)s.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn with_bodies(self) -> ChaosLayer<T, A, super::Bodies> {
        ChaosLayer {
            state: self.state,
            target: self.target,
            faults: self.faults,
            reach: PhantomData,
        }
    }
}

impl<T: Clone, A: Clone, M> Clone for ChaosLayer<T, A, M> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            target: self.target.clone(),
            faults: self.faults.clone(),
            reach: PhantomData,
        }
    }
}

has_handle!(ChaosLayer<T, A, M>);

impl<S, T: Clone, A: Clone, M> Layer<S> for ChaosLayer<T, A, M> {
    type Service = Chaos<S, T, A, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Chaos::new(
            inner,
            self.state.clone(),
            self.target.clone(),
            self.faults.clone(),
        )
    }
}
