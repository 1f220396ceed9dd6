//! A call and its hedges: what is decided while they are under way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::state::{State, leaves_it};
use crate::attempt::{self, Attempt};
use crate::budget::Grant;
use crate::classify::{Cause, Classify, Failure, Outcome};
use crate::clock::{Sleep, Tick};
use crate::deadline::Deadline;
use crate::error::AsRejection;
use crate::kernel::guard::{Guard, through};
use crate::kernel::oneshot::Oneshot;
use crate::replay::{Earlier, Replay};

pub(super) struct Call<S, Req, R, C>
where
    R: Replay<Req>,
    S: Service<R::Request>,
{
    pub(super) attempt: Attempt,
    pub(super) classify: C,
    /// Gone when there will be no further attempt.
    pub(super) more: Option<More<S, R, R::Kept>>,
    /// Armed when the first attempt is first pending.
    pub(super) timer: Option<Sleep>,
    pub(super) hedges: Vec<Attempted<S, R::Request>>,
    /// How many there have been: the attempts' numbers can come from outside.
    pub(super) made: u32,
    /// Of the attempts that have ended, the latest.
    pub(super) ended: Attempt,
    /// One of them said: overloaded, do not retry.
    pub(super) marked: bool,
    /// What the first attempt came to while others are under way.
    pub(super) held: Option<Held<S::Response, S::Error>>,
    /// The last: who is told of the end finds nothing under way.
    pub(super) guard: Guard<State>,
}

type Held<T, E> = (Outcome, Result<T, E>);

/// What further attempts are made of.
pub(super) struct More<S, R, K> {
    pub(super) service: S,
    pub(super) replay: R,
    pub(super) kept: K,
}

/// Another attempt under way.
pub(super) struct Attempted<S: Service<Req>, Req> {
    pub(super) call: Pin<Box<Oneshot<S, Req>>>,
    pub(super) attempt: Attempt,
    pub(super) grant: Grant,
    pub(super) span: tracing::Span,
}

impl<S, Req, R, C> Call<S, Req, R, C>
where
    R: Replay<Req>,
    S: Service<R::Request> + Clone,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error>,
{
    /// How an attempt ended, and whether others may still do better.
    #[inline]
    pub(super) fn judge(
        &mut self,
        result: &Result<S::Response, S::Error>,
        attempt: Attempt,
    ) -> (Outcome, bool) {
        let result = result.as_ref();
        let Some(state) = self.guard.state() else {
            return (Outcome::Neutral, false);
        };
        let judge = || self.classify.classify(result).on_head();
        let outcome = state.core.contain("classifier", judge);
        let outcome = outcome.unwrap_or(Outcome::Neutral);
        if outcome == Outcome::Success {
            return (outcome, false);
        }
        let rejected = result.err().is_some_and(|e| e.as_rejection().is_some());
        let overload = matches!(outcome, Outcome::Failure(Failure::Overload { .. }));
        self.marked |= attempt.is_marked();
        if overload || self.marked {
            self.more = None;
        }
        (outcome, leaves_it(outcome, rejected))
    }

    #[inline]
    pub(super) fn first_ended(&mut self, outcome: Outcome) {
        let mut begun = *self.guard.token_mut();
        if let Some(state) = self.guard.state() {
            state.first_ended(&mut begun, outcome);
        }
        *self.guard.token_mut() = begun;
    }

    /// What is beside the first attempt, or will be.
    #[inline(never)]
    pub(super) fn poll_others(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Held<S::Response, S::Error>> {
        loop {
            if let Poll::Ready(end) = self.poll_hedges(cx) {
                return Poll::Ready(end);
            }
            if self.held.is_some() {
                return self.poll_held(cx);
            }
            ready!(self.poll_due(cx));
            self.hedge();
        }
    }

    /// The next attempt that has ended and is the call's end.
    pub(super) fn poll_hedges(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Held<S::Response, S::Error>> {
        self.drop_late();
        let mut at = 0;
        while let Some(hedge) = self.hedges.get_mut(at) {
            let (call, attempt) = (hedge.call.as_mut(), &mut hedge.attempt);
            let poll = hedge
                .span
                .in_scope(|| through(&mut self.guard, || attempt.scope(|| call.poll(cx))));
            if hedge.call.is_called() {
                hedge.grant.begin();
            }
            let Poll::Ready(result) = poll else {
                at += 1;
                continue;
            };
            let attempt = *attempt;
            if attempt.number() > self.ended.number() {
                self.ended = attempt;
            }
            let (outcome, others) = self.judge(&result, attempt);
            let hedge = self.hedges.swap_remove(at);
            hedge.grant.ended(outcome);
            contain(&self.guard, || drop(hedge));
            if let Some(state) = self.guard.state() {
                let error = result.as_ref().err();
                state.hedge_ended(attempt.number(), Cause::new(outcome, error));
            }
            if !others {
                return Poll::Ready((outcome, result));
            }
        }
        match self.hedges.is_empty() {
            // None has done better than the first.
            true => self.held.take().map_or(Poll::Pending, Poll::Ready),
            false => Poll::Pending,
        }
    }

    /// An attempt that still waits for its service when the deadline has passed is
    /// not begun.
    pub(super) fn drop_late(&mut self) {
        let (Some(deadline), Some(state)) = (Deadline::current(), self.guard.state()) else {
            return;
        };
        let waits = |hedge: &Attempted<_, _>| !hedge.call.is_called();
        if self.hedges.iter().any(waits) && deadline.has_passed(state.core.clock().now()) {
            self.drop_waiting();
        }
    }

    /// What holds them back may be what the first attempt came to.
    pub(super) fn drop_waiting(&mut self) {
        let waits = |hedge: &mut Attempted<_, _>| !hedge.call.is_called();
        for hedge in self.hedges.extract_if(.., waits) {
            hedge.call_off(&self.guard);
        }
    }

    /// The first attempt has ended, and those that have been called may do better:
    /// until the deadline in force, and a response, which may hold what the others
    /// wait for, for no longer than it took.
    #[cold]
    pub(super) fn hold(&mut self, outcome: Outcome, result: Result<S::Response, S::Error>) {
        let begun = *self.guard.token_mut();
        if let Some(state) = self.guard.state() {
            let clock = state.core.clock();
            let now = clock.now();
            let fair = result.as_ref().ok();
            let fair = fair.map(|_| now.saturating_add(begun.age(now)));
            let deadline = Deadline::current().map(Deadline::tick);
            self.timer = fair
                .into_iter()
                .chain(deadline)
                .min()
                .map(|due| clock.sleep_from(now, due));
        }
        self.held = Some((outcome, result));
    }

    /// Whether what the first attempt came to is held no longer.
    pub(super) fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Held<S::Response, S::Error>> {
        match self.timer.as_mut().map(|timer| Pin::new(timer).poll(cx)) {
            Some(Poll::Ready(Ok(()))) => {}
            // No runtime: there is no end of it.
            Some(Poll::Ready(Err(_))) => self.timer = None,
            _ => return Poll::Pending,
        }
        match self.timer.take().and_then(|_| self.held.take()) {
            Some(held) => Poll::Ready(held),
            None => Poll::Pending,
        }
    }

    /// Whether it is time for another attempt.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.more.is_none() {
            return Poll::Pending;
        }
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        if ready!(Pin::new(timer).poll(cx)).is_err() {
            // No runtime: there is no later attempt, and the first goes on.
            self.more = None;
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The first attempt is pending: another one is due after the delay, if that
    /// is before anybody's deadline.
    pub(super) fn arm(&mut self, after: Option<Tick>) {
        let begun = *self.guard.token_mut();
        let Some(state) = self.guard.state() else {
            return;
        };
        let clock = state.core.clock();
        let now = after.unwrap_or_else(|| clock.now());
        let due = now.saturating_add(begun.delay());
        if Deadline::current().is_some_and(|deadline| deadline.tick() <= due) {
            self.more = None;
            return;
        }
        self.timer = Some(clock.sleep_from(now, due));
    }

    #[inline(never)]
    pub(super) fn first_pending(&mut self) {
        let mut begun = *self.guard.token_mut();
        let Some(state) = self.guard.state() else {
            return;
        };
        let now = state.pending(&mut begun);
        *self.guard.token_mut() = begun;
        // That there is one says that this was done.
        self.timer = Some(Sleep::never());
        if self.more.is_some() {
            self.arm(Some(now));
        }
    }

    /// What another attempt needs, unless it is too late, there is none of the
    /// request, or none in the budget.
    pub(super) fn prepare(&mut self) -> Option<(R::Request, Grant)> {
        let (state, more) = (self.guard.state()?, self.more.as_mut()?);
        let core = &state.core;
        if Deadline::current().is_some_and(|deadline| deadline.has_passed(core.clock().now())) {
            return None;
        }
        let possible = || more.replay.is_possible(&more.kept);
        if !core.contain("replay", possible)? {
            return None;
        }
        let grant = state.withdraw()?.waiting();
        let again = || more.replay.again(&mut more.kept, Earlier::Running);
        Some((core.contain("replay", again)??, grant))
    }

    /// Makes another attempt.
    #[cold]
    pub(super) fn hedge(&mut self) {
        self.timer = Some(Sleep::never());
        let prepared = self.prepare();
        let begun = *self.guard.token_mut();
        let delay = begun.delay();
        let (Some((request, grant)), Some(more), Some(state)) =
            (prepared, &self.more, self.guard.state())
        else {
            self.more = None;
            return;
        };
        let hedges = self.hedges.iter().map(|hedge| hedge.attempt);
        let latest = hedges.fold(self.attempt, later);
        let attempt = later(latest, self.ended).next();
        self.made += 1;
        let made = self.made;
        self.hedges.push(Attempted {
            call: Box::pin(Oneshot::new(more.service.clone(), request)),
            attempt,
            grant,
            span: attempt::span(state.core.name(), attempt, delay, "late"),
        });
        state.started(attempt.number(), delay * made);
        if made >= state.hedges() {
            self.more = None;
        } else {
            self.arm(None);
        }
    }
}

/// The one that knows more.
pub(super) fn later(one: Attempt, other: Attempt) -> Attempt {
    match other.number() > one.number() {
        true => other,
        false => one,
    }
}

impl<S: Service<Req>, Req> Attempted<S, Req> {
    pub(super) fn call_off(self, guard: &Guard<State>) {
        let attempt = self.attempt.number();
        contain(guard, || drop(self));
        if let Some(state) = guard.state() {
            state.called_off(attempt);
        }
    }
}

/// Drops what nobody waits for: should it panic, the answer is not lost for that.
pub(super) fn contain(guard: &Guard<State>, drop: impl FnOnce()) {
    match guard.state() {
        Some(state) => _ = state.core.contain("attempt called off", drop),
        None => drop(),
    }
}
