//! The state that a layer's retries share.

use std::sync::Arc;

use super::policy::Policy;
use crate::budget::{self, Budget, Paid};
use crate::classify::Outcome;
use crate::error::{Rejection, RejectionKind};
use crate::event::{Concluded, Conclusion, Event, Retrying};
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::ends::OWN;
use crate::kernel::guard::Settle;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::{AtomicU32, Mutex, Ordering, ids};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const ADMITTED: usize = OWN;
const REJECTED: usize = OWN + 1;
const RETRIED: usize = OWN + 2;
/// One for each conclusion.
const CONCLUDED: usize = OWN + 3;

/// What a request needs to know at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    paid: Paid,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) budget: Budget,
    /// The policy's number of attempts, for the way in.
    max_attempts: AtomicU32,
    /// Read when an attempt has failed.
    policy: Mutex<Policy>,
    counters: Counters<16>,
    bypassed: Counters<1>,
}

pooled!(State);

/// Where a conclusion is counted.
fn place(conclusion: Conclusion) -> usize {
    CONCLUDED
        + match conclusion {
            Conclusion::Succeeded => 0,
            Conclusion::Final => 1,
            Conclusion::Exhausted => 2,
            Conclusion::Budget => 3,
            Conclusion::Deadline => 4,
            Conclusion::Unrepeatable => 5,
            Conclusion::Unwanted => 6,
            Conclusion::NotReady => 7,
            Conclusion::NoRuntime => 8,
        }
}

impl State {
    pub(super) fn create(policy: Policy, budget: Option<Budget>, setup: Setup) -> Shared<Self> {
        let budget = budget.unwrap_or_else(|| Budget::of_layer(budget::Policy::default(), &setup));
        let (core, registry) = Core::new("retry", setup);
        let state = Arc::new(Self {
            core,
            budget,
            max_attempts: AtomicU32::new(policy.max_attempts),
            policy: Mutex::new(policy),
            counters: Counters::default(),
            bypassed: Counters::with_owned(0),
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
            self.max_attempts
                .store(policy.max_attempts, Ordering::Relaxed);
        }
        self.core.tell(Event::Updated);
    }

    /// A request may begin; `false` if it will not be tried again.
    #[inline]
    pub(super) fn admit(&self) -> Result<(Begun, bool), Rejection> {
        let mut retries = self.max_attempts.load(Ordering::Relaxed) > 1;
        if self.core.is_overruled() {
            match self.core.order() {
                Override::Close => return Err(self.refuse(RejectionKind::Closed)),
                Override::Bypass => retries = false,
                Override::None => {}
            }
        }
        let thread = ids::thread_index() as usize;
        self.counters.add_from(thread, ADMITTED, 1);
        let paid = self.budget.begin(thread);
        Ok((Begun { paid }, retries))
    }

    /// The first attempt ended so.
    #[inline]
    pub(super) fn first_ended(&self, begun: Begun, outcome: Outcome) {
        self.budget.first_ended(begun.paid, outcome);
    }

    /// Refuses a request that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    pub(super) fn retrying(&self, retrying: Retrying) {
        self.counters.add(RETRIED, 1);
        self.core.tell(Event::Retrying(retrying));
    }

    /// A failure that was to be tried again is not, by an operator's order.
    pub(super) fn bypassed(&self) {
        self.bypassed.add(0, 1);
    }

    #[cold]
    pub(super) fn conclude(&self, attempts: u32, conclusion: Conclusion) {
        self.counters.add(place(conclusion), 1);
        self.core.tell(Event::Concluded(Concluded {
            attempts,
            conclusion,
        }));
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        let concluded = |conclusion| count(place(conclusion));
        let ends = self.counters.ends();
        super::Snapshot {
            in_flight: count(ADMITTED).saturating_sub(ends.all()),
            succeeded: ends.succeeded,
            failed: ends.failed,
            neutral: ends.neutral,
            cancelled: ends.cancelled,
            rejected: count(REJECTED),
            retried: count(RETRIED),
            recovered: concluded(Conclusion::Succeeded),
            ended_final: concluded(Conclusion::Final),
            exhausted: concluded(Conclusion::Exhausted),
            over_budget: concluded(Conclusion::Budget),
            past_deadline: concluded(Conclusion::Deadline),
            unrepeatable: concluded(Conclusion::Unrepeatable),
            unwanted: concluded(Conclusion::Unwanted),
            not_ready: concluded(Conclusion::NotReady),
            no_runtime: concluded(Conclusion::NoRuntime),
            bypassed: self.bypassed.sum(0),
        }
    }
}

impl Settle for State {
    type Token = Begun;

    #[inline]
    fn settle(&self, begun: &Begun, outcome: Outcome) {
        self.budget.end(begun.paid);
        self.counters.ended(outcome);
        self.core.tell_finished(outcome);
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("max_attempts", self.policy().max_attempts.into()),
            ("in_flight", snapshot.in_flight.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("retried", snapshot.retried.into()),
            ("recovered", snapshot.recovered.into()),
            ("ended_final", snapshot.ended_final.into()),
            ("exhausted", snapshot.exhausted.into()),
            ("over_budget", snapshot.over_budget.into()),
            ("past_deadline", snapshot.past_deadline.into()),
            ("unrepeatable", snapshot.unrepeatable.into()),
            ("unwanted", snapshot.unwanted.into()),
            ("not_ready", snapshot.not_ready.into()),
            ("no_runtime", snapshot.no_runtime.into()),
            ("bypassed", snapshot.bypassed.into()),
        ])
    }
}
