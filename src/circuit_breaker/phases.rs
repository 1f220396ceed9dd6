//! The states of one circuit: every decision that is not on the way of a good
//! call through a closed circuit. No clock, no atomics: the time and the numbers
//! of good calls come in, a transition comes out.

use std::time::Duration;

use super::ends::{End, EndKind, Status, Ticket};
use super::policy::Policy;
use super::recovery::{Probes, Ramp};
use super::tally::Tally;
use crate::clock::{Tick, nanos};
use crate::event::{CircuitState, Reason, Transition};
use crate::kernel::window::{Bad, Counts};
use crate::key::KeyId;
use crate::policy::Ratio;

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
    opened: Option<Transition>,
    /// What the failure that opened it asked for.
    asked: Duration,
    slow: [u64; CLASSES],
    last_bad: Tick,
    told: Option<Transition>,
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
            tally: Tally::new(&policy, now),
            probes: Probes::default(),
            trips: 0,
            opened: None,
            asked: Duration::ZERO,
            slow: [0; CLASSES],
            last_bad: Tick::ZERO,
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

    /// The transition that nobody has told yet.
    pub(super) fn take_told(&mut self) -> Option<Transition> {
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
                self.enter(
                    CircuitState::HalfOpen,
                    Reason::WaitOver,
                    Counts::default(),
                    now,
                );
                probe = self.probes.take(&self.policy, now)?;
            }
            CircuitState::HalfOpen => probe = self.probes.take(&self.policy, now)?,
        }
        let generation = self.generation;
        Ok(Ticket { generation, probe })
    }

    fn climb(&mut self, now: Tick) -> Result<(), Duration> {
        let elapsed = now.saturating_since(self.since);
        match &mut self.ramp {
            Some(ramp) if !ramp.is_over(elapsed) => ramp.admit(elapsed),
            Some(_) => {
                self.end_ramp();
                Ok(())
            }
            None => Ok(()),
        }
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

    /// Moves the windows on.
    pub(super) fn advance(&mut self, now: Tick) {
        self.tally.advance(now);
    }

    /// A good end that is taken from its bank.
    pub(super) fn is_usual(&self, end: &End) -> bool {
        let good = matches!(end.kind, EndKind::Success) && end.slow.is_none();
        let closed = self.state == CircuitState::Closed;
        closed && end.ticket.probe == 0 && good && !end.overdue
    }

    /// A call ended; `false` if that is too late to matter. A good end in the
    /// closed state is in its bank already, unless it was slow.
    pub(super) fn settle(&mut self, end: End, now: Tick) -> bool {
        let End {
            ticket,
            kind,
            slow,
            overdue,
        } = end;
        if ticket.generation != self.generation {
            return false;
        }
        if self.state == CircuitState::HalfOpen {
            return self.settle_probe(end, now);
        }
        let failed = matches!(kind, EndKind::Failure { .. });
        if let Some(took) = slow {
            self.record_slow(took);
        }
        let bad = Bad {
            failed,
            slow: slow.is_some() && !overdue,
        };
        match kind {
            EndKind::Neutral => {}
            EndKind::Success if overdue => self.tally.ended_well(),
            _ if bad.failed || bad.slow => {
                self.tally.bad(bad, overdue, &self.policy);
                self.last_bad = now;
            }
            _ => {}
        }
        true
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
        if let Some(took) = end.slow {
            self.record_slow(took);
        }
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
    pub(super) fn overdue(&mut self, calls: u64, now: Tick) {
        if calls > 0 && self.state == CircuitState::Closed {
            self.tally.overdue(calls);
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

    fn record_slow(&mut self, took: Duration) {
        let times = nanos(took) / nanos(self.policy.slow_threshold).max(1);
        let class = times.max(1).ilog2() as usize;
        self.slow[class.min(CLASSES - 1)] += 1;
    }

    fn open(&mut self, reason: Reason, counts: Counts, now: Tick, asked: Option<Duration>) {
        self.trips = self.trips.saturating_add(1);
        let mut wait = self.policy.wait(self.trips);
        if self.policy.jitter != Ratio::ZERO {
            wait = self.policy.jittered(wait, rand::random());
        }
        self.asked = asked.unwrap_or_default();
        wait = wait.max(self.asked.min(self.policy.max_retry_after));
        self.until = now.saturating_add(wait);
        self.last_bad = self.until;
        self.enter(CircuitState::Open, reason, counts, now);
        self.opened = self.told;
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
        self.told = Some(Transition {
            from: self.state,
            to,
            reason,
            calls: counts.calls,
            failures: counts.failures,
            slow: counts.slow,
            wait: (to == CircuitState::Open).then(|| self.until.saturating_since(now)),
            key: self.key,
        });
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
            self.tally = Tally::new(&self.policy, now);
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
            self.enter(
                CircuitState::Closed,
                Reason::Operator,
                Counts::default(),
                now,
            );
        }
        self.trips = 0;
    }

    /// Ends the half-open state by what its probes have said so far.
    pub(super) fn drain_probes(&mut self, now: Tick) {
        if self.state != CircuitState::HalfOpen {
            return;
        }
        let counts = self.probes.counts;
        let Counts {
            calls,
            failures,
            slow,
        } = counts;
        if calls > 0 && failures + slow == 0 {
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
        let forgotten = self.last_bad.saturating_add(self.policy.max_open_wait) <= now;
        let clean = self.tally.is_clean() && self.ramp.is_none() && self.trips == 0;
        forgotten || (self.state == CircuitState::Closed && clean)
    }

    pub(super) fn status(&self) -> Status {
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
            probes: self.probes.under_way(),
            probed: self.probes.counts,
            trips: self.trips,
            opened: self.opened,
            slow: self.slow,
        }
    }
}
