//! The service.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::exchange::{Answers, Given, Got, Look, Requests, Sent};
use super::future::IdempotencyFuture;
use super::memory::MemoryStore;
use super::session::Session;
use super::store::Store;
use super::tally::Tally;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::guard::{Guard, through};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;

/// A service whose requests have their effect once per key; see the
/// [module](super).
pub struct Idempotency<S, X, St = MemoryStore> {
    inner: Readied<S>,
    state: Shared<Tally>,
    exchange: X,
    store: Arc<St>,
}

impl<S, X, St> Idempotency<S, X, St> {
    pub(super) fn new(inner: S, state: Shared<Tally>, exchange: X, store: Arc<St>) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            exchange,
            store,
        }
    }
}

impl<S: Clone, X: Clone, St> Clone for Idempotency<S, X, St> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            exchange: self.exchange.clone(),
            store: Arc::clone(&self.store),
        }
    }
}

wraps_service!(Idempotency<S, X, St>);

impl<S, X, St, Req> Service<Req> for Idempotency<S, X, St>
where
    S: Service<Sent<X, Req>, Response: Send, Error: AsRejection + Send, Future: Send>
        + Clone
        + Send
        + 'static,
    X: Requests<Req> + Answers<Got<S, X, Req>>,
    St: Store,
    Req: 'static,
{
    type Response = Given<S, X, Req>;
    type Error = S::Error;
    type Future = IdempotencyFuture<S::Future, Given<S, X, Req>, S::Error, X>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.refuse(RejectionKind::NotReady, None);
        if let Err(error) = self.inner.check(not_ready) {
            return IdempotencyFuture::refused(error);
        }
        let guards = match self.state.admit() {
            Ok(guards) => guards,
            Err(rejection) => return IdempotencyFuture::refused(rejection.into()),
        };
        let mut guard = Guard::new(&self.state, ());
        let request = match guards {
            false => self.exchange.bare(request),
            true => match self.exchange.look(request, &self.state.core) {
                Look::Pass(request) => request,
                Look::Guard(keyed) => {
                    let session = Session {
                        tally: self.state.clone(),
                        store: Arc::clone(&self.store),
                        policy: self.state.policy(),
                    };
                    let (exchange, inner) = (self.exchange.clone(), self.inner.take());
                    let future = super::future::guard(session, exchange, inner, keyed, guard);
                    return IdempotencyFuture::guarded(Box::pin(future));
                }
                Look::Refuse(kind) => {
                    guard.finish(crate::classify::Outcome::Neutral);
                    return IdempotencyFuture::refused(self.state.refuse(kind, None).into());
                }
            },
        };
        let inner = &mut self.inner;
        let future = through(&mut guard, || inner.call(request));
        IdempotencyFuture::passing(future, guard, self.exchange.clone())
    }
}
