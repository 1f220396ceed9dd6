//! Makes services that share one limit, which finds itself.

use std::marker::PhantomData;

use tower_layer::Layer;

use super::algorithm::Algorithm;
use super::policy::Policy;
use super::service::Adaptive;
use super::state::State;
use crate::classify::ErrorsOnly;
use crate::kernel::limited::queues;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::queue::Shed;
use crate::registry::Setup;
use crate::release::OnHead;

/// Makes [`Adaptive`]s that share one limit; see the [module](super).
pub struct AdaptiveLayer<M = Shed, R = OnHead, C = ErrorsOnly> {
    state: Shared<State>,
    mode: M,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl AdaptiveLayer {
    /// A limit that finds itself, and refuses what is over it.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        Self {
            state: State::create(policy, setup),
            mode: Shed,
            classify: ErrorsOnly,
            release: PhantomData,
        }
    }
}

impl<M, R, C> AdaptiveLayer<M, R, C> {
    /// An algorithm of your own, for all services of this layer. The rule of the
    /// policy no longer matters; its bounds do.
    #[must_use]
    pub fn ruled_by(self, algorithm: impl Algorithm) -> Self {
        self.state.rule_by(Box::new(algorithm));
        self
    }

    /// A call lasts until its response's body has ended, not only its head.
    /// Services must then answer with `http::Response`s.
    ///
    /// A caller that reads slowly then looks like a slow service.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn until_body_end(self) -> AdaptiveLayer<M, crate::release::OnBodyEnd, C> {
        self.into_kind(|mode| mode)
    }

    /// Judges ends of calls by this instead of [`ErrorsOnly`]: on a server
    /// [`Http`](crate::classify::Http), which knows a 503 as an overload.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> AdaptiveLayer<M, R, C2> {
        AdaptiveLayer {
            state: self.state,
            mode: self.mode,
            classify,
            release: PhantomData,
        }
    }
}

queues!(AdaptiveLayer);

impl<M: Clone, R, C: Clone> Clone for AdaptiveLayer<M, R, C> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            mode: self.mode.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

has_handle!(AdaptiveLayer<M, R, C>);

impl<S, M: Clone, R, C: Clone> Layer<S> for AdaptiveLayer<M, R, C> {
    type Service = Adaptive<S, M, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let (mode, classify) = (self.mode.clone(), self.classify.clone());
        Adaptive::new(inner, self.state.clone(), mode, classify)
    }
}
