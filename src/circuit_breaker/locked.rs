//! The decisions of a circuit, under its lock.

use std::time::Duration;

use super::circuit::{
    ADMITTED, CLOSED, Circuit, DROPPED, FAILED, LEFT_CLOSED, REJECTED, SUCCESS, TRIPS, succeeded,
};
use super::ends::Status;
use super::mode::Mode;
use super::odds::{Odds, Pair, Past};
use super::phases::{Banks, Phases};
use super::policy::Policy;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::event::{CircuitState, Event, Transition};
use crate::kernel::pending::{Pending, width};
use crate::kernel::sync::{Ordering, stripes};

#[derive(Debug)]
pub(super) struct Cold {
    pub(super) phases: Phases,
    pub(super) past: Option<Past>,
}

impl Cold {
    fn state_and_generation(&self) -> (CircuitState, u32) {
        (self.phases.state(), self.phases.generation())
    }
}

impl Circuit {
    /// Looks for calls that should have ended long ago.
    #[cold]
    pub(super) fn sweep(&self, now: Tick) {
        let limit = self.slow_threshold.load(Ordering::Relaxed);
        let next = now.after_nanos(width(limit)).as_nanos();
        self.sweep_at.store(next, Ordering::Relaxed);
        let Some(pending) = self.pending.get() else {
            return;
        };
        self.with(now, |phases| {
            phases.overdue(pending.sweep(now, limit), now);
            self.decide(phases, now, None);
        });
    }

    pub(super) fn decide(&self, phases: &mut Phases, now: Tick, retry_after: Option<Duration>) {
        if self.common.mode() != Mode::ForcedClosed {
            phases.decide(now, retry_after);
        }
    }

    pub(super) fn banks(&self) -> Banks {
        [0, 1].map(|bank| self.counters.sum(SUCCESS + bank))
    }

    /// What the odds are about, and the good ones among it.
    pub(super) fn sums(&self, odds: &Odds) -> Pair {
        let good = succeeded(&self.counters);
        let sum = |which| self.counters.sum(which);
        match odds.counts_requests() {
            true => [sum(ADMITTED) + sum(REJECTED), good],
            false => [sum(FAILED) + sum(DROPPED) + good, good],
        }
    }

    /// Does something to the states, and tells what came of it.
    pub(super) fn with<R>(&self, now: Tick, act: impl FnOnce(&mut Phases) -> R) -> R {
        let (result, told) = {
            let mut cold = self.cold.lock();
            let before = cold.state_and_generation();
            cold.phases.take_good(self.banks());
            cold.phases.advance(now);
            let result = act(&mut cold.phases);
            if cold.state_and_generation() != before {
                cold.phases.begin(self.banks());
                if let Some(pending) = self.pending.get() {
                    pending.clear();
                }
            }
            self.publish(&mut cold, now);
            (result, cold.phases.take_told())
        };
        if let Some(change) = told {
            self.tell(change);
        }
        result
    }

    /// Writes down what the way in and the good ends look at.
    pub(super) fn publish(&self, cold: &mut Cold, now: Tick) {
        let policy = cold.phases.policy;
        let loud = self.common.totals.is_some() || self.common.core.is_heard();
        let word = Word::of(&cold.phases, loud);
        let mut quiet_until = cold.phases.quiet_until();
        if word.is_share() {
            let odds = Odds::of(&policy);
            let sums = self.sums(&odds);
            let past = cold
                .past
                .get_or_insert_with(|| Past::new(&policy, now, sums));
            past.advance(now, sums);
            self.odds.store(odds.to_words(past));
            quiet_until = past.slot_end();
        } else {
            cold.past = None;
        }
        if word.is_timed() {
            let stripes = if self.uses.are_counted() {
                1
            } else {
                stripes()
            };
            self.pending.get_or_init(|| Pending::new(stripes));
        }
        let threshold = nanos(policy.slow_threshold);
        self.slow_threshold.store(threshold, Ordering::Relaxed);
        self.quiet_until
            .store(quiet_until.as_nanos(), Ordering::Release);
        let refuses_until = cold.phases.refuses_until().as_nanos();
        self.refuses_until.store(refuses_until, Ordering::Release);
        self.word.store(word.0, Ordering::Release);
    }

    fn tell(&self, change: Transition) {
        if change.to == CircuitState::Open {
            self.count(TRIPS);
        }
        if change.from == CircuitState::Closed {
            self.count(LEFT_CLOSED);
        }
        if change.to == CircuitState::Closed {
            self.count(CLOSED);
        }
        self.common.core.tell(Event::Transition(change));
    }

    /// The layer has got another policy since.
    pub(super) fn is_behind(&self) -> bool {
        self.version.load(Ordering::Relaxed) != self.common.version()
    }

    /// Follows another policy.
    pub(super) fn update(&self, policy: Policy) {
        self.version.store(self.common.version(), Ordering::Relaxed);
        let now = self.now();
        let rebuilt = {
            let mut cold = self.cold.lock();
            let old = cold.phases.policy;
            let rebuilt = old.kind != policy.kind;
            if rebuilt || old.time_window != policy.time_window {
                // What it remembers is in the other one's slots.
                cold.past = None;
            }
            rebuilt
        };
        self.with(now, |phases| {
            // Their slices are as wide as the old threshold says.
            if phases.policy.slow_threshold != policy.slow_threshold
                && let Some(pending) = self.pending.get()
            {
                pending.clear();
                self.sweep_at.store(0, Ordering::Relaxed);
            }
            phases.update(policy, now);
            if rebuilt {
                phases.reset(now);
            }
        });
    }

    pub(super) fn policy(&self) -> Policy {
        self.cold.lock().phases.policy
    }

    /// Where it stands at `now`.
    pub(super) fn status(&self, now: Tick) -> Status {
        self.with(now, |phases| phases.status())
    }

    pub(super) fn is_idle(&self, now: Tick) -> bool {
        let mut cold = self.cold.lock();
        cold.phases.take_good(self.banks());
        cold.phases.advance(now);
        cold.phases.is_idle(now)
    }
}
