//! The state that a layer's hedges share.

use std::sync::Arc;
use std::time::Duration;

use super::policy::{Delay, Policy};
use crate::budget::{Budget, Grant, Paid};
use crate::classify::{Cause, Failure, Outcome};
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::{Event, Hedged};
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::ends::OWN;
use crate::kernel::guard::Settle;
use crate::kernel::recent::Recent;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::{AtomicU32, AtomicU64, Mutex, Ordering, ids};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const ADMITTED: usize = OWN;
const REJECTED: usize = OWN + 1;
const STARTED: usize = OWN + 2;
const WON: usize = OWN + 3;
const NO_BUDGET: usize = OWN + 4;
/// Of the cancelled, those that had been pending for longer than the delay.
const LATE: usize = OWN + 5;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) budget: Budget,
    policy: Mutex<Policy>,
    /// What the policy comes to now, in nanoseconds, or [`NOT`].
    delay: AtomicU64,
    /// The same, whatever fails.
    late: AtomicU64,
    /// Whether it is asked how long calls take: 0 or 1.
    measures: AtomicU32,
    recent: Recent,
    counters: Counters<10>,
}

pooled!(State);

/// Calls are not hedged now.
const NOT: u64 = u64::MAX;

/// What a call needs to know at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    delay: u64,
    /// When the first attempt was pending for the first time.
    since: Tick,
    measured: bool,
    /// The first attempt has ended.
    over: bool,
    paid: Paid,
}

impl Begun {
    #[inline]
    pub(super) fn may_hedge(&self) -> bool {
        self.delay != NOT
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay)
    }

    /// How long the call has been pending.
    pub(super) fn age(&self, now: Tick) -> Duration {
        now.saturating_since(self.since)
    }
}

impl State {
    pub(super) fn create(policy: Policy, budget: Budget, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("hedge", setup);
        let state = Arc::new(Self {
            core,
            budget,
            policy: Mutex::new(policy),
            delay: AtomicU64::new(at_first(policy)),
            late: AtomicU64::new(at_first(policy)),
            measures: AtomicU32::new(measures(policy)),
            recent: Recent::default(),
            counters: Counters::default(),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn policy(&self) -> Policy {
        *self.policy.lock()
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut current = self.policy.lock();
            *current = policy;
            self.measures.store(measures(policy), Ordering::Relaxed);
            self.decide(policy);
        }
        self.core.tell(Event::Updated);
    }

    /// A call may begin.
    #[inline]
    pub(super) fn admit(&self) -> Result<Begun, Rejection> {
        let mut delay = self.delay.load(Ordering::Relaxed);
        let mut measured = self.measures.load(Ordering::Relaxed) != 0;
        if self.core.is_overruled() {
            match self.core.order() {
                Override::None => {}
                Override::Bypass => (delay, measured) = (NOT, false),
                Override::Close => return Err(self.refuse(RejectionKind::Closed)),
            }
        }
        let thread = ids::thread_index() as usize;
        self.counters.add_from(thread, ADMITTED, 1);
        let paid = self.budget.begin(thread);
        Ok(Begun {
            delay,
            since: Tick::MAX,
            measured,
            over: false,
            paid,
        })
    }

    /// Refuses a call that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    /// The first attempt is pending for the first time.
    pub(super) fn pending(&self, begun: &mut Begun) -> Tick {
        let now = self.core.clock().now();
        begun.since = now;
        if self.recent.is_due(now) {
            self.turn(now);
        }
        now
    }

    #[cold]
    fn turn(&self, now: Tick) {
        let window = self.policy().window;
        if self.recent.turn(now, window, || self.totals()) {
            // Under the lock: no older policy comes after a newer one.
            let policy = self.policy.lock();
            self.decide(*policy);
        }
    }

    /// The good and the bad calls so far.
    fn totals(&self) -> [u64; 2] {
        let ends = self.counters.ends();
        let late = self.counters.sum(LATE);
        [ends.succeeded + ends.neutral, ends.failed + late]
    }

    /// What the policy comes to now. Under its lock.
    fn decide(&self, policy: Policy) {
        let delay = self.delay_of(policy);
        self.late.store(delay, Ordering::Relaxed);
        let delay = match self.is_failing(policy) {
            true => NOT,
            false => delay,
        };
        self.delay.store(delay, Ordering::Relaxed);
    }

    fn delay_of(&self, policy: Policy) -> u64 {
        let share = match policy.delay {
            Delay::Fixed(delay) => return nanos(delay),
            Delay::Percentile(share) => share,
        };
        let per_mille = u32::try_from(share.of(1_000)).unwrap_or(1_000);
        match self.recent.quantile(per_mille) {
            (calls, Some(took)) if calls >= policy.minimum_calls.into() => {
                nanos(took.max(policy.least)).min(NOT - 1)
            }
            _ => NOT,
        }
    }

    fn is_failing(&self, policy: Policy) -> bool {
        let [good, bad] = self.recent.outcomes(self.totals());
        let calls = good + bad;
        calls >= policy.minimum_calls.into() && policy.failure_ratio.is_reached(bad, calls)
    }

    /// The first attempt ended so.
    #[inline]
    pub(super) fn first_ended(&self, begun: &mut Begun, outcome: Outcome) {
        self.budget.first_ended(begun.paid, outcome);
        begun.over = true;
        if begun.measured {
            let good = matches!(outcome, Outcome::Success);
            if begun.since != Tick::MAX {
                self.took(begun.since, begun.delay, good);
            } else if good {
                self.recent.record(Duration::ZERO);
            }
        }
    }

    /// What failed early or was called off early says nothing of how long the
    /// service takes. What had reached the delay by then says that this was not
    /// enough.
    fn took(&self, since: Tick, delay: u64, good: bool) {
        let took = self.core.clock().now().saturating_since(since);
        if good || nanos(took) >= delay {
            self.recent.record(took);
        }
    }

    /// Another attempt, if the budget has one.
    pub(super) fn withdraw(&self) -> Option<Grant> {
        let still = self.delay.load(Ordering::Relaxed) != NOT;
        if !still || self.core.is_overruled() {
            return None;
        }
        let grant = self.budget.withdraw(Outcome::Neutral);
        if grant.is_none() {
            self.counters.add(NO_BUDGET, 1);
            self.core.tell(Event::Hedged(Hedged::NoBudget));
        }
        grant
    }

    pub(super) fn started(&self, attempt: u32, after: Duration) {
        self.counters.add(STARTED, 1);
        self.core
            .tell(Event::Hedged(Hedged::Started { attempt, after }));
    }

    pub(super) fn hedge_ended(&self, attempt: u32, cause: Cause) {
        self.core.tell(Event::Hedged(match cause.outcome() {
            Outcome::Success => {
                self.counters.add(WON, 1);
                Hedged::Won { attempt }
            }
            _ => Hedged::Failed { attempt, cause },
        }));
    }

    pub(super) fn called_off(&self, attempt: u32) {
        self.core.tell(Event::Hedged(Hedged::CalledOff { attempt }));
    }

    pub(super) fn hedges(&self) -> u32 {
        self.policy.lock().hedges
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        let ends = self.counters.ends();
        let delay = self.delay.load(Ordering::Relaxed);
        let won = count(WON);
        super::Snapshot {
            in_flight: count(ADMITTED).saturating_sub(ends.all()),
            succeeded: ends.succeeded,
            failed: ends.failed,
            neutral: ends.neutral,
            cancelled: ends.cancelled,
            rejected: count(REJECTED),
            hedges: count(STARTED),
            won,
            no_budget: count(NO_BUDGET),
            delay: (delay != NOT).then(|| Duration::from_nanos(delay)),
        }
    }
}

/// Before anything is known.
fn at_first(policy: Policy) -> u64 {
    match policy.delay {
        Delay::Fixed(delay) => nanos(delay),
        Delay::Percentile(_) => NOT,
    }
}

fn measures(policy: Policy) -> u32 {
    u32::from(matches!(policy.delay, Delay::Percentile(_)))
}

impl Settle for State {
    type Token = Begun;

    #[inline]
    fn settle(&self, begun: &Begun, outcome: Outcome) {
        if begun.measured && !begun.over && begun.since != Tick::MAX {
            // Called off, by the caller or by a hedge that was faster.
            self.took(begun.since, begun.delay, false);
        }
        self.budget.end(begun.paid);
        self.counters.ended(outcome);
        match outcome {
            Outcome::Failure(_) => self.failed(),
            Outcome::Cancelled => self.cancelled(begun),
            Outcome::Success | Outcome::Neutral => {}
        }
        self.core.tell_finished(outcome);
    }
}

impl State {
    /// Who gives up a call that is late says that it has failed: a timeout outside.
    #[cold]
    fn cancelled(&self, begun: &Begun) {
        let delay = match begun.delay {
            NOT => self.late.load(Ordering::Relaxed),
            delay => delay,
        };
        if begun.since == Tick::MAX || delay == NOT {
            return;
        }
        if nanos(begun.age(self.core.clock().now())) > delay {
            self.counters.add(LATE, 1);
            self.failed();
        }
    }

    /// It need not wait for the turn to see that this is no time for hedges.
    #[cold]
    fn failed(&self) {
        if self.delay.load(Ordering::Relaxed) == NOT {
            return;
        }
        let policy = self.policy.lock();
        if self.is_failing(*policy) {
            self.delay.store(NOT, Ordering::Relaxed);
        }
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("in_flight", snapshot.in_flight.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("hedges", snapshot.hedges.into()),
            ("won", snapshot.won.into()),
            ("no_budget", snapshot.no_budget.into()),
            ("delay", snapshot.delay.unwrap_or_default().into()),
        ])
    }
}

/// Whether an attempt that ended so leaves it to the others.
pub(super) fn leaves_it(outcome: Outcome, is_rejection: bool) -> bool {
    match outcome {
        Outcome::Failure(Failure::Permanent) => false,
        Outcome::Failure(_) => true,
        Outcome::Neutral => is_rejection,
        Outcome::Success | Outcome::Cancelled => false,
    }
}
