//! The future of a call that may be made more than once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::call::{Call, More, contain};
use super::state::State;
use crate::attempt::{self, Attempt};
use crate::classify::{Classify, Outcome};
use crate::error::AsRejection;
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, through};
use crate::replay::Replay;

pin_project! {
    /// The future of [`Hedge`](super::Hedge). Polled again after it has resolved,
    /// it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct HedgeFuture<S, Req, R, C>
    where
        R: Replay<Req>,
        S: Service<R::Request>,
    {
        #[pin]
        first: Gate<S::Future, S::Error>,
        // Gone when the call has ended, or was refused.
        call: Option<Call<S, Req, R, C>>,
    }
}

impl<S, Req, R, C> HedgeFuture<S, Req, R, C>
where
    R: Replay<Req>,
    S: Service<R::Request>,
{
    pub(super) fn refused(error: S::Error) -> Self {
        Self {
            first: Gate::refused(error),
            call: None,
        }
    }

    #[inline]
    pub(super) fn begin(
        mut guard: Guard<State>,
        more: Option<More<S, R, R::Kept>>,
        classify: C,
        call: impl FnOnce() -> S::Future,
    ) -> Self {
        // A tier outside may have made attempts already.
        let mut attempt = Attempt::nth(Attempt::current().map_or(1, |a| a.number()));
        if let Some(state) = guard.state() {
            attempt = attempt.paid_into(state.budget.id());
        }
        let first = through(&mut guard, || attempt.scope(call));
        Self {
            first: Gate::open(first),
            call: Some(Call {
                guard,
                attempt,
                classify,
                more,
                timer: None,
                hedges: Vec::new(),
                made: 0,
                ended: attempt,
                marked: false,
                held: None,
            }),
        }
    }
}

/// Calls off whatever else is under way, and only then tells of the end.
#[inline]
fn end<S, Req, R, C>(
    first: Pin<&mut Gate<S::Future, S::Error>>,
    slot: &mut Option<Call<S, Req, R, C>>,
    outcome: Outcome,
    result: Result<S::Response, S::Error>,
) -> Result<S::Response, S::Error>
where
    R: Replay<Req>,
    S: Service<R::Request>,
{
    if let Some(call) = slot {
        // Else the first is all that there was, and has dropped itself.
        if call.made > 0 {
            contain(&call.guard, || first.close());
            while let Some(hedge) = call.hedges.pop() {
                hedge.call_off(&call.guard);
            }
        }
        // It was for this tier to hear, and for the next one if this one fails.
        if call.marked && outcome != Outcome::Success {
            attempt::mark();
        }
        call.guard.finish(outcome);
    }
    *slot = None;
    result
}

impl<S, Req, R, C> Future for HedgeFuture<S, Req, R, C>
where
    R: Replay<Req>,
    S: Service<R::Request> + Clone,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(call) = this.call else {
            return this.first.poll(cx);
        };
        if call.held.is_none() {
            let (first, attempt) = (this.first.as_mut(), &mut call.attempt);
            let poll = through(&mut call.guard, || attempt.scope(|| first.poll(cx)));
            if let Poll::Ready(result) = poll {
                let (outcome, others) = call.judge(&result, call.attempt);
                call.first_ended(outcome);
                if others && !call.hedges.is_empty() {
                    call.drop_waiting();
                }
                if !others || call.hedges.is_empty() {
                    return Poll::Ready(end(this.first, this.call, outcome, result));
                }
                call.hold(outcome, result);
            } else if call.timer.is_none() {
                call.first_pending();
            }
        }
        let (outcome, result) = ready!(call.poll_others(cx));
        Poll::Ready(end(this.first, this.call, outcome, result))
    }
}

impl<S, Req, R, C> fmt::Debug for HedgeFuture<S, Req, R, C>
where
    R: Replay<Req>,
    S: Service<R::Request>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hedges = self.call.as_ref().map_or(0, |call| call.hedges.len());
        f.debug_struct("HedgeFuture")
            .field("first", &self.first)
            .field("hedges", &hedges)
            .finish_non_exhaustive()
    }
}
