//! The service.

use std::task::{Context, Poll};

use tower_service::Service;

use super::future::WatchedFuture;
use super::stage::Scope;
use super::state::State;
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::guard::{Guard, through};
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::key::{Key, KeyHasher, NoKey};

/// Requests have no key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unkeyed;

impl<Req: ?Sized> Key<Req> for Unkeyed {
    #[inline]
    fn key(&self, _: &Req, _: &mut KeyHasher) -> Result<(), NoKey> {
        Err(NoKey::Missing)
    }
}

/// A service whose requests in flight a watchdog sees; see the [module](super).
#[derive(Clone)]
pub struct Watched<S, K = Unkeyed> {
    inner: Readied<S>,
    state: Shared<State>,
    key: K,
}

impl<S, K> Watched<S, K> {
    pub(super) fn new(inner: S, state: Shared<State>, key: K) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            key,
        }
    }
}

wraps_service!(Watched<S, K>);

impl<S, K, Req> Service<Req> for Watched<S, K>
where
    S: Service<Req>,
    S::Error: AsRejection,
    K: Key<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.refuse(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return WatchedFuture::refused(error);
        }
        let token = match self.state.admit(|| self.state.key_id(&self.key, &request)) {
            Ok(token) => token,
            Err(rejection) => return WatchedFuture::refused(rejection.into()),
        };
        let mut guard = Guard::new(&self.state, token);
        let (inner, state) = (&mut self.inner, self.state.arc());
        let future = through(&mut guard, || {
            let _scope = token.slot().map(|slot| Scope::enter(state, slot));
            inner.call(request)
        });
        WatchedFuture::called(future, guard)
    }
}
