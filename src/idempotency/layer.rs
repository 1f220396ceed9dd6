//! Makes guards that share a store.

use std::sync::Arc;

use tower_layer::Layer;

use super::memory::MemoryStore;
use super::policy::Policy;
use super::receiver::Receiver;
use super::service::Idempotency;
use super::tally::Tally;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;

/// Makes [`Idempotency`] services that share a policy and a store; see the
/// [module](super).
pub struct IdempotencyLayer<X, St = MemoryStore> {
    state: Shared<Tally>,
    exchange: X,
    store: Arc<St>,
}

impl<X> IdempotencyLayer<X> {
    /// The default policy, over a default [`MemoryStore`].
    #[must_use]
    pub fn new(exchange: X) -> Self {
        let store = MemoryStore::default();
        Self::with(Policy::default(), exchange, store, Setup::default())
    }
}

impl<X, St> IdempotencyLayer<X, St> {
    /// With a policy, a store, and a name, a clock, listeners, a registry.
    #[must_use]
    pub fn with(policy: Policy, exchange: X, store: St, setup: Setup) -> Self {
        Self {
            state: Tally::create(policy, setup),
            exchange,
            store: Arc::new(store),
        }
    }

    /// For code that is no Tower service, such as a consumer of a queue: with the same
    /// policy, store and counters.
    #[must_use]
    pub fn receiver(&self) -> Receiver<St> {
        Receiver::new(self.state.clone(), Arc::clone(&self.store))
    }
}

impl<X: Clone, St> Clone for IdempotencyLayer<X, St> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            exchange: self.exchange.clone(),
            store: Arc::clone(&self.store),
        }
    }
}

has_handle!(IdempotencyLayer<X, St>);

impl<S, X: Clone, St> Layer<S> for IdempotencyLayer<X, St> {
    type Service = Idempotency<S, X, St>;

    fn layer(&self, inner: S) -> Self::Service {
        let store = Arc::clone(&self.store);
        Idempotency::new(inner, self.state.clone(), self.exchange.clone(), store)
    }
}
