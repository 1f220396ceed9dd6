//! One request and its attempts: what is decided between them.

use std::time::Duration;

use super::rules::{Again, Judged, Rules};
use super::state::State;
use tower_service::Service;

use crate::attempt::{self, Attempt};
use crate::backoff;
use crate::budget::Grant;
use crate::classify::{Cause, Outcome};
use crate::clock::Sleep;
use crate::deadline::Deadline;
use crate::error::AsRejection;
use crate::event::{Conclusion, Retrying};
use crate::kernel::guard::{Guard, through};
use crate::kernel::ready::Readied;
use crate::policy::Override;
use crate::replay::Replay;

pub(super) struct Session<S, R, K, Y, N> {
    pub(super) guard: Guard<State>,
    attempt: Attempt,
    /// Attempts made: the last one's number, unless the next is about to begin.
    made: u32,
    /// Nothing if they have panicked.
    rules: Option<(Y, N)>,
    /// What other attempts are made of, if there can be any.
    pub(super) another: Option<((Readied<S>, R), K)>,
    /// How the last attempt ended.
    outcome: Outcome,
    /// Made when the first attempt has failed: most do not, and need not carry it.
    retries: Option<Box<Retries>>,
}

/// What only those have that are tried again.
struct Retries {
    delays: backoff::Session,
    /// Before the attempt under way.
    pause: Duration,
    /// Why there is one.
    cause: Cause,
    /// Of the attempt under way.
    grant: Option<Grant>,
    span: tracing::Span,
}

/// What happens when an attempt has ended.
pub(super) enum Next {
    /// The caller gets what there is.
    Pass,
    /// Another attempt, after this.
    Wait(Sleep),
}

impl<S, R, K, Y, N> Session<S, R, K, Y, N> {
    #[inline]
    pub(super) fn new(
        guard: Guard<State>,
        attempt: Attempt,
        rules: Option<(Y, N)>,
        another: Option<((Readied<S>, R), K)>,
    ) -> Self {
        Self {
            guard,
            attempt,
            made: 1,
            rules,
            another,
            outcome: Outcome::Neutral,
            retries: None,
        }
    }

    /// Runs a part of the attempt.
    #[inline]
    pub(super) fn run<T>(&mut self, f: impl FnOnce() -> T) -> T {
        let Self {
            guard,
            attempt,
            retries,
            ..
        } = self;
        let _entered = retries.as_ref().map(|retries| retries.span.enter());
        attempt.scope(|| through(guard, f))
    }

    /// The same, of the service that other attempts are made with.
    pub(super) fn run_another<T>(&mut self, f: impl FnOnce(&mut Readied<S>) -> T) -> Option<T> {
        let mut another = self.another.take()?;
        let result = self.run(|| f(&mut another.0.0));
        self.another = Some(another);
        Some(result)
    }

    /// The request once more.
    pub(super) fn request<Req>(&mut self) -> Option<R::Request>
    where
        R: Replay<Req, Kept = K>,
    {
        let ((_, replay), kept) = self.another.as_mut()?;
        let state = self.guard.state()?;
        let again = || replay.again(kept, crate::replay::Earlier::Over);
        state.core.contain("replay", again).flatten()
    }

    /// Judges the end of an attempt.
    #[inline]
    pub(super) fn ended<Req, Res, Err>(&mut self, result: Result<&Res, &Err>) -> Next
    where
        Err: AsRejection,
        Y: Rules<Req, Res, Err, Seen = N>,
        R: Replay<Req, Kept = K>,
    {
        let begun = *self.guard.token_mut();
        let Some(state) = self.guard.state() else {
            return Next::Pass;
        };
        let judged = self
            .rules
            .as_ref()
            .and_then(|(rules, seen)| state.core.contain("rules", || rules.judge(seen, result)));
        let Judged { outcome, again } = judged.unwrap_or(Judged {
            outcome: Outcome::Neutral,
            again: Again::No,
        });
        self.outcome = outcome;
        match self
            .retries
            .as_ref()
            .and_then(|retries| retries.grant.as_ref())
        {
            None => state.first_ended(begun, outcome),
            Some(grant) => grant.ended(outcome),
        }
        if again == Again::No {
            if !self.attempt.is_plain() {
                self.over();
            }
            return Next::Pass;
        }
        self.failed(again, Cause::new(outcome, result.err()))
    }

    /// The last attempt ended in what is not tried again.
    #[cold]
    fn over(&self) {
        if self.attempt.number() == 1 {
            return self.pass_on();
        }
        self.conclude(match self.outcome {
            Outcome::Success => Conclusion::Succeeded,
            _ => Conclusion::Final,
        });
    }

    /// What was marked inside is, if it has not succeeded, to those outside, too:
    /// their rules may be others.
    fn pass_on(&self) {
        if self.attempt.is_marked() && self.outcome != Outcome::Success {
            attempt::mark();
        }
    }

    pub(super) fn conclude(&self, conclusion: Conclusion) {
        if let Some(state) = self.guard.state() {
            state.conclude(self.made, conclusion);
        }
        // This tier has done what can be done: those outside are not to do it
        // once more.
        if let Conclusion::Exhausted | Conclusion::Budget | Conclusion::Unwanted = conclusion {
            attempt::mark();
        }
        self.pass_on();
    }

    /// Decides whether to make another attempt.
    #[cold]
    fn failed<Req>(&mut self, again: Again, cause: Cause) -> Next
    where
        R: Replay<Req, Kept = K>,
    {
        let Some(state) = self.guard.state() else {
            return Next::Pass;
        };
        let policy = state.policy();
        if state.core.order() == Override::Bypass {
            state.bypassed();
            match again {
                Again::Never => attempt::mark(),
                _ => self.pass_on(),
            }
            return Next::Pass;
        }
        let possible = self.another.as_ref().is_some_and(|((_, replay), kept)| {
            let possible = || replay.is_possible(kept);
            state.core.contain("replay", possible).unwrap_or(false)
        });
        let refused = if again == Again::Never || self.attempt.is_marked() {
            Some(Conclusion::Unwanted)
        } else if self.attempt.number() >= policy.max_attempts {
            // A policy of one attempt has nothing to give up.
            if self.attempt.number() == 1 {
                return Next::Pass;
            }
            Some(Conclusion::Exhausted)
        } else if !possible {
            Some(Conclusion::Unrepeatable)
        } else {
            None
        };
        if let Some(conclusion) = refused {
            self.conclude(conclusion);
            return Next::Pass;
        }
        let retries = self.retries.get_or_insert_with(|| {
            Box::new(Retries {
                delays: policy.backoff.session(),
                pause: Duration::ZERO,
                cause,
                grant: None,
                span: tracing::Span::none(),
            })
        });
        // The last one's place is free for the next.
        retries.grant = None;
        let delay = match again {
            Again::After(Duration::ZERO) => Duration::ZERO,
            Again::After(wait) => retries.delays.next_delay_after(wait),
            _ => retries.delays.next_delay(),
        };
        let now = state.core.clock().now();
        let due = now.saturating_add(delay);
        if Deadline::current().is_some_and(|deadline| deadline.has_passed(due)) {
            self.conclude(Conclusion::Deadline);
            return Next::Pass;
        }
        let Some(grant) = state.budget.withdraw(self.outcome) else {
            self.conclude(Conclusion::Budget);
            return Next::Pass;
        };
        if let Some(retries) = &mut self.retries {
            retries.grant = Some(grant.waiting());
            (retries.pause, retries.cause) = (delay, cause);
        }
        state.retrying(Retrying {
            attempt: self.attempt.number(),
            delay,
            cause,
        });
        Next::Wait(state.core.clock().sleep_from(now, due))
    }

    /// Whether the caller's deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        let deadline = self.guard.state().zip(Deadline::current());
        deadline.is_some_and(|(state, deadline)| deadline.has_passed(state.core.clock().now()))
    }

    /// How long a service that is not ready is waited for: until the caller's
    /// deadline, and who keeps a response no longer than the pause was.
    pub(super) fn patience(&self, keeps_response: bool) -> Option<Sleep> {
        let pause = self.retries.as_ref().filter(|_| keeps_response);
        let deadline = Deadline::current().map(Deadline::tick);
        if pause.is_none() && deadline.is_none() {
            return None;
        }
        let clock = self.guard.state()?.core.clock();
        let now = clock.now();
        let bound = pause.map(|retries| now.saturating_add(retries.pause));
        let until = bound.into_iter().chain(deadline).min()?;
        Some(clock.sleep_from(now, until))
    }

    /// The next attempt is in force from now on.
    pub(super) fn begin(&mut self) {
        self.attempt = self.attempt.next();
        let name = self.guard.state().map_or("", |state| state.core.name());
        if let Some(retries) = &mut self.retries {
            let reason = retries.cause.label();
            retries.span = attempt::span(name, self.attempt, retries.pause, reason);
        }
    }

    /// Makes it.
    pub(super) fn call<Req>(&mut self, request: Req) -> Option<S::Future>
    where
        S: Service<Req>,
    {
        self.made = self.attempt.number();
        if let Some(grant) = self.retries.as_mut().and_then(|r| r.grant.as_mut()) {
            grant.begin();
        }
        self.run_another(|service| service.call(request))
    }

    /// The request has ended: what the last attempt ended in is how it ended.
    pub(super) fn finish(&mut self) {
        self.guard.finish(self.outcome);
    }
}
