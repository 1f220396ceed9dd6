//! The state that a layer's guards share: who it is, its policy, what it counts.

use std::sync::Arc;
use std::time::Duration;

use super::policy::{Policy, WORDS};
use crate::classify::Outcome;
use crate::clock::nanos;
use crate::error::{Rejection, RejectionKind};
use crate::event::{Event, Guarding, Step, Trouble};
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::guard::Settle;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Admitted,
    Success,
    Failure,
    Neutral,
    Cancelled,
    Rejected,
    Reserved,
    TakenOver,
    Recorded,
    Unrecorded,
    Released,
    Abandoned,
    Fenced,
    Replayed,
    Unguarded,
    StoreFailed,
}

/// What only refusals count, on the cold path.
#[derive(Debug, Clone, Copy)]
enum Refused {
    InProgress,
    Reused,
    Unknown,
    Full,
}

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) core: Core,
    policy: Live<WORDS>,
    counters: Counters<16>,
    refused: Counters<4>,
}

pooled!(Tally);

impl Tally {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("idempotency", setup);
        let tally = Arc::new(Self {
            core,
            policy: Live::new(policy.to_words()),
            counters: Counters::default(),
            refused: Counters::with_owned(0),
        });
        enter(registry, tally.core.id(), &tally);
        Shared::from_arc(tally)
    }

    pub(super) fn policy(&self) -> Policy {
        Policy::from_words(self.policy.load())
    }

    pub(super) fn update(&self, policy: Policy) {
        self.policy.store(policy.to_words());
        self.core.tell(Event::Updated);
    }

    /// A call may begin: `Ok(false)` if it is not to be guarded.
    #[inline]
    pub(super) fn admit(&self) -> Result<bool, Rejection> {
        let order = self.core.order();
        if order == Override::Close {
            return Err(self.refuse(RejectionKind::Closed, None));
        }
        self.add(Count::Admitted);
        Ok(order != Override::Bypass)
    }

    #[inline]
    fn add(&self, count: Count) {
        self.counters.add(count as usize, 1);
    }

    pub(super) fn count(&self, count: Count, told: Guarding) {
        self.add(count);
        self.core.tell(Event::Guarding(told));
    }

    pub(super) fn trouble(&self, step: Step, trouble: Trouble) {
        self.count(Count::StoreFailed, Guarding::StoreFailed { step, trouble });
    }

    /// The store has no room.
    pub(super) fn full(&self) {
        self.refused.add(Refused::Full as usize, 1);
    }

    /// Refuses a call that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind, wait: Option<Duration>) -> Rejection {
        self.add(Count::Rejected);
        let more = match kind {
            RejectionKind::InProgress | RejectionKind::TooEarly | RejectionKind::Accepted => {
                Some(Refused::InProgress)
            }
            RejectionKind::KeyReused => Some(Refused::Reused),
            RejectionKind::OutcomeUnknown => Some(Refused::Unknown),
            _ => None,
        };
        if let Some(more) = more {
            self.refused.add(more as usize, 1);
        }
        let rejection = Rejection::before(kind, self.core.id());
        self.core.reject(rejection.with_wait(wait.map_or(0, nanos)))
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which: Count| self.counters.sum(which as usize);
        let refused = |which: Refused| self.refused.sum(which as usize);
        // Ends before beginnings: what ends in between is not missed.
        let (succeeded, failed) = (count(Count::Success), count(Count::Failure));
        let (neutral, cancelled) = (count(Count::Neutral), count(Count::Cancelled));
        let ended = succeeded + failed + neutral + cancelled;
        super::Snapshot {
            in_flight: count(Count::Admitted).saturating_sub(ended),
            succeeded,
            failed,
            neutral,
            cancelled,
            rejected: count(Count::Rejected),
            reserved: count(Count::Reserved),
            taken_over: count(Count::TakenOver),
            recorded: count(Count::Recorded),
            unrecorded: count(Count::Unrecorded),
            released: count(Count::Released),
            abandoned: count(Count::Abandoned),
            fenced: count(Count::Fenced),
            replayed: count(Count::Replayed),
            unguarded: count(Count::Unguarded),
            store_failed: count(Count::StoreFailed),
            in_progress: refused(Refused::InProgress),
            reused: refused(Refused::Reused),
            unknown: refused(Refused::Unknown),
            store_full: refused(Refused::Full),
        }
    }
}

impl Settle for Tally {
    type Token = ();

    #[inline]
    fn settle(&self, (): &(), outcome: Outcome) {
        self.add(match outcome {
            Outcome::Success => Count::Success,
            Outcome::Failure(_) => Count::Failure,
            Outcome::Neutral => Count::Neutral,
            Outcome::Cancelled => Count::Cancelled,
        });
        self.core.tell_finished(outcome);
    }
}

impl Inspect for Tally {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("in_flight", snapshot.in_flight.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("reserved", snapshot.reserved.into()),
            ("taken_over", snapshot.taken_over.into()),
            ("recorded", snapshot.recorded.into()),
            ("unrecorded", snapshot.unrecorded.into()),
            ("released", snapshot.released.into()),
            ("abandoned", snapshot.abandoned.into()),
            ("fenced", snapshot.fenced.into()),
            ("replayed", snapshot.replayed.into()),
            ("unguarded", snapshot.unguarded.into()),
            ("store_failed", snapshot.store_failed.into()),
            ("in_progress", snapshot.in_progress.into()),
            ("reused", snapshot.reused.into()),
            ("unknown", snapshot.unknown.into()),
            ("store_full", snapshot.store_full.into()),
        ])
    }
}
