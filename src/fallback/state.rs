//! The state that a layer's fallbacks share.

use std::sync::Arc;

use super::policy::Policy;
use crate::classify::{Cause, Outcome};
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::ends::OWN;
use crate::kernel::guard::Settle;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::{AtomicU32, Ordering};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const ADMITTED: usize = OWN;
const REJECTED: usize = OWN + 1;
const ANSWERED: usize = OWN + 2;
const UNANSWERED: usize = OWN + 3;
const BYPASSED: usize = OWN + 4;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    /// The policy, as its word.
    policy: AtomicU32,
    counters: Counters<9>,
}

pooled!(State);

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("fallback", setup);
        let state = Arc::new(Self {
            core,
            policy: AtomicU32::new(policy.to_word()),
            counters: Counters::default(),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn policy(&self) -> Policy {
        Policy::from_word(self.policy.load(Ordering::Relaxed))
    }

    pub(super) fn update(&self, policy: Policy) {
        self.policy.store(policy.to_word(), Ordering::Relaxed);
        self.core.tell(Event::Updated);
    }

    /// A call may begin: `Ok(false)` if it is only watched.
    #[inline]
    pub(super) fn admit(&self) -> Result<bool, Rejection> {
        let order = self.core.order();
        if order == Override::Close {
            return Err(self.refuse(RejectionKind::Closed));
        }
        self.counters.add(ADMITTED, 1);
        Ok(order != Override::Bypass)
    }

    /// Refuses a call that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    /// Whether a call that ended so is to get another answer.
    #[cold]
    pub(super) fn answers(&self, cause: Cause) -> bool {
        let answers = self.policy().answers(cause);
        if answers && self.core.order() == Override::Bypass {
            self.counters.add(BYPASSED, 1);
            return false;
        }
        answers
    }

    pub(super) fn answered(&self, cause: Cause) {
        self.counters.add(ANSWERED, 1);
        self.core.tell(Event::Answered(cause));
    }

    pub(super) fn unanswered(&self, cause: Cause) {
        self.counters.add(UNANSWERED, 1);
        self.core.tell(Event::Unanswered(cause));
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        let ends = self.counters.ends();
        super::Snapshot {
            in_flight: count(ADMITTED).saturating_sub(ends.all()),
            succeeded: ends.succeeded,
            failed: ends.failed,
            neutral: ends.neutral,
            cancelled: ends.cancelled,
            rejected: count(REJECTED),
            answered: count(ANSWERED),
            unanswered: count(UNANSWERED),
            bypassed: count(BYPASSED),
        }
    }
}

impl Settle for State {
    type Token = ();

    #[inline]
    fn settle(&self, (): &(), outcome: Outcome) {
        self.counters.ended(outcome);
        self.core.tell_finished(outcome);
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
            ("answered", snapshot.answered.into()),
            ("unanswered", snapshot.unanswered.into()),
            ("bypassed", snapshot.bypassed.into()),
        ])
    }
}
