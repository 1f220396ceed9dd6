//! The service.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_service::Service;

use super::body::{Calls, Meets, Reach};
use super::fate::Fault;
use super::faults::{Faults, Rejected};
use super::future::{ChaosFuture, Trouble};
use super::state::State;
use super::target::{Aim, Everyone, Target};
use crate::error::{AsRejection, RejectionKind};
use crate::kernel::gate::Gate;
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;

/// A service that goes wrong when it is told to; see the [module](super).
pub struct Chaos<S, T = Everyone, A = Rejected, M = Calls> {
    inner: Readied<S>,
    state: Shared<State>,
    target: T,
    faults: A,
    reach: PhantomData<fn() -> M>,
}

impl<S, T, A, M> Chaos<S, T, A, M> {
    pub(super) fn new(inner: S, state: Shared<State>, target: T, faults: A) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            target,
            faults,
            reach: PhantomData,
        }
    }

    /// A call while the layer is running.
    #[cold]
    fn call_running<Req>(
        &mut self,
        request: Req,
    ) -> ChaosFuture<S::Future, S::Response, S::Error, M>
    where
        S: Service<Req>,
        S::Error: AsRejection,
        T: Target<Req>,
        A: Faults<Req, S::Response, S::Error>,
    {
        let state = &self.state;
        let policy = match state.begin() {
            Ok(policy) => policy,
            Err(rejection) => return ChaosFuture::new(Gate::refused(rejection.into())),
        };
        let aim = state
            .core
            .contain("target", || self.target.aim(&request))
            .unwrap_or(Aim::Spare);
        let fate = state.fate(&policy, aim);
        let mut delay = fate.delay;
        if delay.is_some() {
            state.injected(Fault::Latency);
        }
        let result = fate.end.map(|fault| {
            state.injected(fault);
            if fault == Fault::Hang {
                delay = Some(policy.longest_hang);
            }
            state
                .core
                .contain("faults", || self.faults.fail(fault, &request))
                .flatten()
                .unwrap_or_else(|| Err(state.failure().into()))
        });
        let body = fate.body.map(|fault| Meets {
            state: state.clone(),
            fault,
            policy,
        });
        let trouble = Trouble {
            state: state.clone(),
            result,
            delay,
            timer: None,
            body,
        };
        if trouble.result.is_some() {
            return ChaosFuture::troubled(Gate::closed(), trouble);
        }
        let gate = Gate::open(self.inner.call(request));
        match trouble.delay.is_some() || trouble.body.is_some() {
            true => ChaosFuture::troubled(gate, trouble),
            false => ChaosFuture::new(gate),
        }
    }
}

impl<S: Clone, T: Clone, A: Clone, M> Clone for Chaos<S, T, A, M> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.get_ref().clone(),
            self.state.clone(),
            self.target.clone(),
            self.faults.clone(),
        )
    }
}

wraps_service!(Chaos<S, T, A, M>);

impl<S, T, A, M, Req> Service<Req> for Chaos<S, T, A, M>
where
    S: Service<Req>,
    S::Error: AsRejection,
    T: Target<Req>,
    A: Faults<Req, S::Response, S::Error>,
    M: Reach<S::Response>,
{
    type Response = M::Response;
    type Error = S::Error;
    type Future = ChaosFuture<S::Future, S::Response, S::Error, M>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let not_ready = || self.state.refuse(RejectionKind::NotReady);
        if let Err(error) = self.inner.check(not_ready) {
            return ChaosFuture::new(Gate::refused(error));
        }
        if self.state.is_off() {
            return ChaosFuture::new(Gate::open(self.inner.call(request)));
        }
        self.call_running(request)
    }
}
