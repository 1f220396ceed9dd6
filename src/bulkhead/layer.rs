//! Makes bulkheads that share one limit.

use std::marker::PhantomData;

use tower_layer::Layer;

use super::policy::Policy;
use super::service::{Backpressure, Bulkhead};
use super::state::State;
use crate::classify::ErrorsOnly;
use crate::kernel::limited::queues;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::queue::Shed;
use crate::registry::Setup;
use crate::release::OnHead;

/// Makes [`Bulkhead`]s that share one limit; see the [module](super).
pub struct BulkheadLayer<M = Shed, R = OnHead, C = ErrorsOnly> {
    state: Shared<State>,
    mode: M,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl BulkheadLayer {
    /// A bulkhead that refuses what is over its limit.
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

impl<M, R, C> BulkheadLayer<M, R, C> {
    /// Takes permits in `poll_ready`: [`Backpressure`].
    #[must_use]
    pub fn backpressure(self) -> BulkheadLayer<Backpressure, R, C> {
        self.into_kind(|_| Backpressure)
    }

    /// Holds a permit until the response's body has ended, not only its head.
    /// Services must then answer with `http::Response`s.
    ///
    /// A body that stalls, or that nobody reads, keeps its permit: a deadline ends with
    /// the head. A [`ResponseBodyTimeoutLayer`](crate::timeout::ResponseBodyTimeoutLayer)
    /// inside ends one that stalls, but nothing here ends one that is never polled: a
    /// server that holds permits so needs limits on its idle connections, or as few
    /// clients as there are permits can use them all up by not reading.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn until_body_end(self) -> BulkheadLayer<M, crate::release::OnBodyEnd, C> {
        self.into_kind(|mode| mode)
    }

    /// Judges ends of calls by this instead of [`ErrorsOnly`]. The bulkhead only
    /// counts what it says.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> BulkheadLayer<M, R, C2> {
        BulkheadLayer {
            state: self.state,
            mode: self.mode,
            classify,
            release: PhantomData,
        }
    }
}

queues!(BulkheadLayer);

impl<M: Clone, R, C: Clone> Clone for BulkheadLayer<M, R, C> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            mode: self.mode.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

has_handle!(BulkheadLayer<M, R, C>);

impl<S, M: Clone, R, C: Clone> Layer<S> for BulkheadLayer<M, R, C> {
    type Service = Bulkhead<S, M, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let (mode, classify) = (self.mode.clone(), self.classify.clone());
        Bulkhead::new(inner, self.state.clone(), mode, classify)
    }
}
