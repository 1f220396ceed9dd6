//! The service.

use std::task::{Context, Poll};

use tower_service::Service;

use super::call::More;
use super::future::HedgeFuture;
use super::may::MayHedge;
use super::state::State;
use crate::classify::{Classify, ErrorsOnly};
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::guard::Guard;
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::replay::{Cloned, Replay};

/// A service whose slow calls are made once more; see the [module](super).
pub struct Hedge<S, M, R = Cloned, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    may: M,
    replay: R,
    classify: C,
}

impl<S, M, R, C> Hedge<S, M, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, may: M, replay: R, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            may,
            replay,
            classify,
        }
    }
}

impl<S: Clone, M: Clone, R: Clone, C: Clone> Clone for Hedge<S, M, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            may: self.may.clone(),
            replay: self.replay.clone(),
            classify: self.classify.clone(),
        }
    }
}

wraps_service!(Hedge<S, M, R, C>);

impl<S, M, R, C, Req> Service<Req> for Hedge<S, M, R, C>
where
    R: Replay<Req> + Clone,
    S: Service<R::Request> + Clone,
    S::Error: AsRejection,
    M: MayHedge<Req>,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HedgeFuture<S, Req, R, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready::<R::Request>(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.refuse(RejectionKind::NotReady);
        if let Err(error) = self.inner.check::<R::Request>(not_ready) {
            return HedgeFuture::refused(error);
        }
        let begun = match self.state.admit() {
            Ok(begun) => begun,
            Err(rejection) => return HedgeFuture::refused(rejection.into()),
        };
        let guard = Guard::new(&self.state, begun);
        let mut kept = match begun.may_hedge() {
            true => self.keep(&request),
            false => None,
        };
        let request = self.replay.first(request, &mut kept);
        let more = kept.map(|kept| More {
            service: self.inner.get_ref().clone(),
            replay: self.replay.clone(),
            kept,
        });
        let inner = &mut self.inner;
        HedgeFuture::begin(guard, more, self.classify.clone(), || inner.call(request))
    }
}

impl<S, M, R, C> Hedge<S, M, R, C> {
    #[inline]
    fn keep<Req>(&self, request: &Req) -> Option<R::Kept>
    where
        M: MayHedge<Req>,
        R: Replay<Req>,
    {
        let may = || self.may.may_hedge(request);
        if self.state.core.contain("may hedge", may) != Some(true) {
            return None;
        }
        let keep = || self.replay.keep(request);
        self.state.core.contain("replay", keep).flatten()
    }
}
