//! The states of one circuit: every decision that is not on the way of a good
//! call through a closed circuit. No clock, no atomics: the time and the numbers
//! of good calls come in, a transition comes out.

mod back;
#[cfg(all(test, not(keep_loom)))]
mod wrap;

use std::time::Duration;

use super::ends::{End, EndKind, Settled, Status, Ticket};
use super::policy::Policy;
use super::recovery::{Probes, Ramp};
use super::tally::Tally;
use crate::clock::{Tick, nanos};
use crate::event::{CircuitState, Reason, Transition};
use crate::kernel::pending::Taken;
use crate::kernel::window::{Bad, Counts};
use crate::key::KeyId;

/// Classes of the histogram of slow calls: from once to 128 times the threshold.
pub(super) const CLASSES: usize = 8;

/// The good calls that were counted elsewhere since the beginning. A closed
/// state counts in one of two banks, the next one in the other, so that what is
/// late for the one does not fall into the other.
pub(super) type Banks = [u64; 2];

#[derive(Debug)]
pub(super) struct Phases {
    pub(super) policy: Policy,
    key: Option<KeyId>,
    state: CircuitState,
    generation: u32,
    bank: usize,
    /// What was taken from the bank.
    seen: u64,
    since: Tick,
    /// When the wait of the open state is over.
    until: Tick,
    ramp: Option<Ramp>,
    tally: Tally,
    probes: Probes,
    /// Trips in a row, without a lasting recovery in between.
    trips: u32,
    /// On the heap, as the next: circuits of keys are many, and few have ever opened.
    opened: Option<Box<Transition>>,
    /// What the failure that opened it asked for.
    asked: Duration,
    slow: [u64; CLASSES],
    last_bad: Tick,
    /// How often it has changed its state.
    changes: u64,
    told: Option<Box<Transition>>,
}

impl Phases {
    pub(super) fn new(policy: Policy, key: Option<KeyId>, now: Tick) -> Self {
        Self {
            policy,
            key,
            state: CircuitState::Closed,
            generation: 0,
            bank: 0,
            seen: 0,
            since: now,
            until: Tick::ZERO,
            ramp: None,
            tally: Tally::new(&policy, now, key.is_none()),
            probes: Probes::default(),
            trips: 0,
            opened: None,
            asked: Duration::ZERO,
            slow: [0; CLASSES],
            last_bad: Tick::ZERO,
            changes: 0,
            told: None,
        }
    }

    pub(super) fn state(&self) -> CircuitState {
        self.state
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn bank(&self) -> usize {
        self.bank
    }

    pub(super) fn is_ramping(&self) -> bool {
        self.ramp.is_some()
    }

    pub(super) fn key(&self) -> Option<KeyId> {
        self.key
    }

    /// The transition that nobody has told yet.
    pub(super) fn take_told(&mut self) -> Option<Box<Transition>> {
        self.told.take()
    }

    /// Until when every request is refused.
    pub(super) fn refuses_until(&self) -> Tick {
        match self.state {
            CircuitState::Closed => Tick::ZERO,
            CircuitState::Open => self.until,
            CircuitState::HalfOpen => {
                let full = self.probes.full_until(self.policy.probes);
                full.unwrap_or(Tick::ZERO)
            }
        }
    }

    /// The furthest ahead that [`refuses_until`](Self::refuses_until) can lie.
    pub(super) fn longest_refusal(&self) -> Duration {
        match self.state {
            CircuitState::HalfOpen => self.policy.probe_timeout,
            _ => self.longest_wait(),
        }
    }

    /// The longest that a refused call is told to wait. How long a probe takes
    /// nobody knows: its lease is a bound, but no good guess.
    pub(super) fn longest_wait(&self) -> Duration {
        match self.state {
            CircuitState::HalfOpen => self.policy.open_wait,
            _ => self.until.saturating_since(self.since),
        }
    }

    /// Until when good calls need not come here.
    pub(super) fn quiet_until(&self) -> Tick {
        self.tally.quiet_until(&self.policy)
    }

    /// One more call at `now`, or how long it is worth waiting.
    pub(super) fn admit(&mut self, now: Tick) -> Result<Ticket, Duration> {
        let mut probe = 0;
        match self.state {
            CircuitState::Closed => self.climb(now)?,
            CircuitState::Open if now < self.until => {
                return Err(self.until.saturating_since(now));
            }
            CircuitState::Open => {
                let none = Counts::default();
                self.enter(CircuitState::HalfOpen, Reason::WaitOver, none, now);
                probe = self.take_probe(now)?;
            }
            CircuitState::HalfOpen => probe = self.take_probe(now)?,
        }
        let generation = self.generation;
        Ok(Ticket { generation, probe })
    }

    fn take_probe(&mut self, now: Tick) -> Result<u32, Duration> {
        let taken = self.probes.take(&self.policy, now);
        taken.map_err(|left| left.min(self.longest_wait()))
    }

    fn climb(&mut self, now: Tick) -> Result<(), Duration> {
        let elapsed = now.saturating_since(self.since);
        self.ramp
            .as_mut()
            .map_or(Ok(()), |ramp| ramp.admit(elapsed))
    }

    /// It has recovered for good.
    fn end_ramp(&mut self) {
        self.ramp = None;
        self.trips = 0;
    }

    /// Good calls that went their own way.
    pub(super) fn take_good(&mut self, banks: Banks) {
        let total = banks[self.bank];
        self.tally.good(total.wrapping_sub(self.seen));
        self.seen = total;
    }

    /// Moves the windows on, and ends a ramp that is over.
    pub(super) fn advance(&mut self, now: Tick) {
        self.tally.advance(now);
        let elapsed = now.saturating_since(self.since);
        if self.ramp.is_some_and(|ramp| ramp.is_over(elapsed)) {
            self.end_ramp();
        }
    }

    fn record_slow(&mut self, end: End) {
        let Some(took) = end.slow else { return };
        let times = nanos(took) / nanos(self.policy.slow_threshold).max(1);
        let class = times.max(1).ilog2() as usize;
        self.slow[class.min(CLASSES - 1)] += 1;
    }

    /// A call ended.
    pub(super) fn settle(&mut self, end: End, now: Tick) -> Settled {
        if end.ticket.generation != self.generation {
            return Settled::Late;
        }
        if self.state == CircuitState::HalfOpen {
            return match self.settle_probe(end, now) {
                true => Settled::Counted,
                false => Settled::Late,
            };
        }
        self.record_slow(end);
        let failed = match end.kind {
            EndKind::Neutral => None,
            EndKind::Success => Some(false),
            EndKind::Failure { .. } => Some(true),
        };
        let slow = end.slow.is_some();
        let counted = end
            .overdue
            .is_some_and(|slice| self.tally.ended(slice, failed, &self.policy));
        match failed {
            Some(false) if !slow && !counted => return Settled::Usual,
            _ if counted => {}
            Some(failed) => self.tally.bad(Bad { failed, slow }, &self.policy),
            None if slow => self.tally.slow(),
            None => return Settled::Counted,
        }
        if failed == Some(true) || !counted {
            self.last_bad = now;
        }
        Settled::Counted
    }

    fn settle_probe(&mut self, end: End, now: Tick) -> bool {
        if !self.probes.leave(end.ticket.probe, now) {
            return false;
        }
        let (failed, retry_after) = match end.kind {
            EndKind::Neutral => return true,
            EndKind::Success => (false, None),
            EndKind::Failure { retry_after } => (true, retry_after),
        };
        self.record_slow(end);
        let slow = end.slow.is_some();
        self.probes.count(Bad { failed, slow });
        match self.probes.verdict(&self.policy) {
            Some(true) => self.close(Reason::ProbesSucceeded, now),
            Some(false) => {
                let counts = self.probes.counts;
                self.open(Reason::ProbesFailed, counts, now, retry_after);
            }
            None => {}
        }
        true
    }

    /// Calls that are under way for too long.
    pub(super) fn overdue(&mut self, taken: Vec<Taken>, now: Tick) {
        if !taken.is_empty() && self.state == CircuitState::Closed {
            self.tally.overdue(taken);
            self.last_bad = now;
        }
    }

    /// Opens if a condition is met.
    pub(super) fn decide(&mut self, now: Tick, retry_after: Option<Duration>) {
        if self.state == CircuitState::Closed
            && let Some((reason, counts)) = self.tally.trips(&self.policy)
        {
            self.open(reason, counts, now, retry_after);
        }
    }

    fn open(&mut self, reason: Reason, counts: Counts, now: Tick, asked: Option<Duration>) {
        self.trips = self.trips.saturating_add(1);
        self.asked = asked.unwrap_or_default();
        let asked = self.asked.min(self.policy.max_retry_after);
        let wait = self.policy.random_wait(self.trips).max(asked);
        self.until = now.saturating_add(wait);
        self.last_bad = self.until;
        self.enter(CircuitState::Open, reason, counts, now);
        self.opened.clone_from(&self.told);
    }

    fn close(&mut self, reason: Reason, now: Tick) {
        let probed = self.probes.counts;
        self.enter(CircuitState::Closed, reason, probed, now);
        self.ramp = self.policy.ramp.map(Ramp::new);
        if self.ramp.is_none() {
            self.trips = 0;
        }
    }

    fn enter(&mut self, to: CircuitState, reason: Reason, counts: Counts, now: Tick) {
        self.changes += 1;
        self.told = Some(Box::new(Transition {
            number: self.changes,
            from: self.state,
            to,
            reason,
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            wait: (to == CircuitState::Open).then(|| self.until.saturating_since(now)),
            key: self.key,
        }));
        self.state = to;
        self.since = now;
        self.restart(now);
    }

    /// Everything that belongs to the state before is over.
    fn restart(&mut self, now: Tick) {
        self.generation = self.generation.wrapping_add(1);
        self.probes.restart();
        self.ramp = None;
        if self.state == CircuitState::Closed {
            self.bank = 1 - self.bank;
            self.tally = Tally::new(&self.policy, now, self.key.is_none());
        }
    }

    /// Begins to count in the bank that a closed state was given.
    pub(super) fn begin(&mut self, banks: Banks) {
        self.seen = banks[self.bank];
    }

    /// Closed and as if new, by an operator.
    pub(super) fn reset(&mut self, now: Tick) {
        if self.state == CircuitState::Closed {
            self.restart(now);
        } else {
            let none = Counts::default();
            self.enter(CircuitState::Closed, Reason::Operator, none, now);
        }
        self.trips = 0;
    }

    /// Ends the half-open state by what its probes have said so far.
    pub(super) fn drain_probes(&mut self, now: Tick) {
        if self.state != CircuitState::HalfOpen {
            return;
        }
        let counts = self.probes.counts;
        if counts.calls > 0 && counts.failures + counts.slow == 0 {
            self.close(Reason::Operator, now);
        } else {
            self.open(Reason::Operator, counts, now, None);
        }
    }

    /// Follows another policy, and keeps what still applies: the state, the calls
    /// that both windows cover, the probes, the wait unless the new one is
    /// shorter.
    pub(super) fn update(&mut self, policy: Policy, now: Tick) {
        self.policy = policy;
        self.tally.update(&policy, now);
        match (&mut self.ramp, policy.ramp) {
            (Some(ramp), Some(over)) => ramp.update(over),
            (Some(_), None) => self.end_ramp(),
            (None, _) => {}
        }
        let asked = self.asked.min(policy.max_retry_after);
        let longest = policy.wait(self.trips.max(1)).max(asked);
        self.until = self.until.min(self.since.saturating_add(longest));
    }

    /// Whether nothing is lost if it is forgotten at `now`: it is closed and
    /// remembers nothing bad, or nothing bad has happened for a long time.
    pub(super) fn is_idle(&self, now: Tick) -> bool {
        let forgotten = self.last_bad.saturating_add(self.policy.memory()) <= now;
        let clean = self.tally.is_clean(&self.policy) && self.trips == 0;
        // A ramp holds back, whenever the last bad thing was.
        self.ramp.is_none() && (forgotten || (self.state == CircuitState::Closed && clean))
    }

    pub(super) fn status(&self, now: Tick) -> Status {
        Status {
            state: self.state,
            since: self.since,
            next_probe: match self.state {
                CircuitState::Closed => None,
                _ => Some(self.refuses_until()),
            },
            ramping: self.ramp.is_some(),
            count: self.tally.count(),
            time: self.tally.time(),
            run: self.tally.run(),
            probes: self.probes.under_way(now),
            probed: self.probes.counts,
            trips: self.trips,
            opened: self.opened.as_deref().copied(),
            slow: self.slow,
        }
    }
}
