//! The decisions of a circuit, under its lock.

use std::time::Duration;

use super::circuit::{ASKED, CLOSED, Circuit, FORGIVEN, LEFT_CLOSED, LOST, SUCCESS, TRIPS};
use super::ends::Status;
use super::mode::Mode;
use super::odds::{Odds, Past, Sums};
use super::phases::{Banks, Phases};
use super::policy::Policy;
use super::tally::SLOTS;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::event::{CircuitState, Event, Transition};
use crate::kernel::pending::{Pending, width};
use crate::kernel::sync::{Ordering, stripes};
use crate::key::KeyId;

#[derive(Debug)]
pub(super) struct Cold {
    pub(super) phases: Phases,
    pub(super) past: Option<Box<Past>>,
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
        self.with(now, |phases| {
            // Under the lock, as whoever follows another policy.
            if now.as_nanos() < self.sweep_at.load(Ordering::Relaxed) {
                return;
            }
            let limit = nanos(phases.policy.slow_threshold);
            let next = now.after_nanos(width(limit)).as_nanos();
            self.sweep_at.store(next, Ordering::Relaxed);
            let mut taken = Vec::new();
            if let Some(pending) = self.pending.get() {
                let tell = |calls| taken.push(calls);
                pending.sweep(now, limit, phases.generation(), tell);
            }
            phases.overdue(taken, now);
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

    /// What the odds are about.
    pub(super) fn sums(&self, odds: &Odds) -> Sums {
        let sum = |which| self.counters.sum(which);
        let good = self.banks().into_iter().fold(0, u64::wrapping_add);
        match odds.counts_requests() {
            true => [sum(ASKED), sum(FORGIVEN), good],
            false => [good.wrapping_add(sum(LOST)), 0, good],
        }
    }

    /// Closes what an operator wants closed; `false` if nobody wants that.
    pub(super) fn keeps_closed(&self, phases: &mut Phases, now: Tick) -> bool {
        let forced = self.common.mode() == Mode::ForcedClosed;
        if forced && phases.state() != CircuitState::Closed {
            phases.reset(now);
        }
        forced
    }

    /// Does something to the states, and tells what came of it.
    pub(super) fn with<R>(&self, now: Tick, act: impl FnOnce(&mut Phases) -> R) -> R {
        let (result, told) = {
            let mut cold = self.cold.lock();
            let before = cold.state_and_generation();
            cold.phases.take_good(self.banks());
            // Whoever waited for the lock is a little late: that is no clock gone back.
            let now = match cold.phases.is_ahead(now) {
                true => self.now(),
                false => now,
            };
            cold.phases.rewind(now);
            cold.phases.advance(now);
            let result = act(&mut cold.phases);
            if cold.state_and_generation() != before {
                cold.phases.begin(self.banks());
                cold.past = None;
                if let Some(pending) = self.pending.get() {
                    pending.clear();
                }
            }
            self.publish(&mut cold, now);
            (result, cold.phases.take_told())
        };
        if let Some(change) = told {
            self.tell(*change);
        }
        result
    }

    /// Writes down what the way in and the good ends look at.
    pub(super) fn publish(&self, cold: &mut Cold, now: Tick) {
        let policy = cold.phases.policy;
        let loud = self.common.totals.is_some() || self.common.core.is_heard();
        let word = Word::of(&cold.phases, loud);
        let mut quiet_until = cold.phases.quiet_until();
        let mut longest_wait = nanos(cold.phases.longest_wait());
        if word.is_share() {
            let odds = Odds::of(&policy);
            let sums = self.sums(&odds);
            let past = cold
                .past
                .get_or_insert_with(|| Box::new(Past::new(&policy, now, sums)));
            past.advance(&policy, now, sums);
            self.odds.store(odds.to_words(past));
            quiet_until = past.slot_end();
            longest_wait = past.span();
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
        // Who sees until when it refuses sees this.
        let longest_refusal = nanos(cold.phases.longest_refusal());
        self.longest_refusal
            .store(longest_refusal, Ordering::Relaxed);
        self.longest_wait.store(longest_wait, Ordering::Relaxed);
        let refuses_until = cold.phases.refuses_until().as_nanos();
        self.refuses_until.store(refuses_until, Ordering::Release);
        self.word.store(word.0, Ordering::Release);
    }

    /// It was given up: if it was open, that is over.
    pub(super) fn is_gone(&self) {
        if let Some(totals) = self
            .common
            .totals
            .as_ref()
            .filter(|_| !self.word().is_closed())
        {
            totals.add(CLOSED, 1);
        }
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

    /// Follows the policy that it should follow now.
    pub(super) fn follow(&self, policy: impl FnOnce() -> Policy) {
        let now = self.now();
        self.with(now, |phases| {
            // Under the lock, and the version first: an older policy neither comes
            // after a newer one nor is taken for it.
            self.version.store(self.common.version(), Ordering::Relaxed);
            let (old, policy) = (phases.policy, policy());
            if policy == old {
                return;
            }
            // Their slices are as wide as the old threshold says.
            if old.slow_threshold != policy.slow_threshold
                && let Some(pending) = self.pending.get()
            {
                pending.clear();
                self.sweep_at.store(0, Ordering::Relaxed);
            }
            phases.update(policy, now);
            if old.kind != policy.kind {
                phases.reset(now);
            }
        });
    }

    pub(super) fn reset(&self) {
        let now = self.now();
        self.with(now, |phases| phases.reset(now));
    }

    pub(super) fn drain_probes(&self) {
        let now = self.now();
        self.with(now, |phases| {
            if !self.keeps_closed(phases, now) {
                phases.drain_probes(now);
            }
        });
    }

    /// The clock may have gone back.
    #[cold]
    pub(super) fn look_at_clock(&self) {
        let mut cold = self.cold.lock();
        let now = self.now();
        cold.phases.rewind(now);
        self.publish(&mut cold, now);
    }

    /// A request that came at `start` was as if nobody had come. That hides no other
    /// request: it is taken from the slot that counts this one, if there is one yet.
    pub(super) fn forgive(&self, start: Tick, now: Tick) {
        if !Odds::from_words(&self.odds.load()).counts_requests() {
            return;
        }
        let end = self.quiet_until.load(Ordering::Acquire);
        let slot = self.longest_wait.load(Ordering::Relaxed) / SLOTS as u64;
        let present = end.saturating_sub(slot)..end;
        if present.contains(&start.as_nanos()) && now.as_nanos() < end {
            self.counters.add(FORGIVEN, 1);
            return;
        }
        let mut cold = self.cold.lock();
        self.publish(&mut cold, now);
        if let Some(past) = &mut cold.past
            && !past.forgive(start)
        {
            self.counters.add(FORGIVEN, 1);
        }
        self.publish(&mut cold, now);
    }

    pub(super) fn policy(&self) -> Policy {
        self.cold.lock().phases.policy
    }

    pub(super) fn key(&self) -> Option<KeyId> {
        self.cold.lock().phases.key()
    }

    /// Where it stands at `now`.
    pub(super) fn status(&self, now: Tick) -> Status {
        self.with(now, |phases| phases.status(now))
    }

    pub(super) fn is_idle(&self, now: Tick) -> bool {
        let mut cold = self.cold.lock();
        cold.phases.take_good(self.banks());
        cold.phases.rewind(now);
        cold.phases.advance(now);
        let Cold { phases, past } = &mut *cold;
        let remembers = past.as_mut().is_some_and(|past| {
            let odds = Odds::of(&phases.policy);
            past.advance(&phases.policy, now, self.sums(&odds));
            past.remembers(&odds, self.sums(&odds))
        });
        !remembers && phases.is_idle(now)
    }
}
