//! The state that a layer's timeouts share.

use std::sync::Arc;
use std::time::Duration;

use super::policy::Policy;
use crate::classify::{Failure, Outcome};
use crate::clock::nanos;
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::guard::Settle;
use crate::kernel::histogram::Histogram;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::registry::{Inspect, Report, Setup};

const ADMITTED: usize = 0;
const FINISHED: usize = 1;
const TIMED_OUT: usize = 2;
const PANICKED: usize = 3;
const CANCELLED: usize = 4;
const REJECTED: usize = 5;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    /// In nanoseconds, or [`NONE`].
    live: Live<3>,
    counters: Counters<8>,
    /// What was left of the deadline when a call began.
    remaining: Histogram,
}

pooled!(State);

/// Where there is no limit: ten years at most in a policy, so this is never
/// meant.
pub(super) const NONE: u64 = u64::MAX;

fn pack(policy: Policy) -> [u64; 3] {
    [policy.attempt, policy.deadline, policy.readiness].map(|limit| limit.map_or(NONE, nanos))
}

fn limit(word: u64) -> Option<Duration> {
    (word != NONE).then(|| Duration::from_nanos(word))
}

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("timeout", setup);
        let state = Arc::new(Self {
            core,
            live: Live::new(pack(policy)),
            counters: Counters::default(),
            remaining: Histogram::default(),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    /// The limits of a call: on an attempt, and on the whole.
    #[inline]
    pub(super) fn limits(&self) -> [u64; 2] {
        self.live.load_first()
    }

    /// The limit on the wait for readiness.
    #[inline]
    pub(super) fn readiness(&self) -> u64 {
        self.live.word::<2>()
    }

    pub(super) fn policy(&self) -> Policy {
        let [attempt, deadline, readiness] = self.live.load().map(limit);
        Policy {
            attempt,
            deadline,
            readiness,
        }
    }

    pub(super) fn update(&self, policy: Policy) {
        self.live.store(pack(policy));
        self.core.tell(Event::Updated);
    }

    #[inline]
    pub(super) fn admitted(&self) {
        self.counters.add(ADMITTED, 1);
    }

    /// A call begins with this much left of its deadline.
    pub(super) fn record_remaining(&self, left: Duration) {
        self.remaining.record(left);
    }

    /// Refuses a call that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    /// Gives up on a call, or on connecting.
    #[cold]
    pub(super) fn give_up(&self, kind: RejectionKind) -> Rejection {
        let rejection = match kind {
            // There was nothing to send a request on.
            RejectionKind::ConnectTimeout => Rejection::before(kind, self.core.id()),
            _ => Rejection::after(kind, self.core.id()),
        };
        self.core.reject(rejection)
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        // Ends before beginnings: what ends in between is not missed.
        let (finished, timed_out) = (count(FINISHED), count(TIMED_OUT));
        let (panicked, cancelled) = (count(PANICKED), count(CANCELLED));
        let ended = finished + timed_out + panicked + cancelled;
        super::Snapshot {
            in_flight: count(ADMITTED).saturating_sub(ended),
            finished,
            timed_out,
            panicked,
            cancelled,
            rejected: count(REJECTED),
            remaining_p50: self.remaining.quantile(500),
            remaining_p10: self.remaining.quantile(100),
            remaining_p1: self.remaining.quantile(10),
        }
    }
}

impl Settle for State {
    type Token = ();

    #[inline]
    fn settle(&self, (): &(), outcome: Outcome) {
        self.counters.add(
            match outcome {
                Outcome::Success | Outcome::Neutral => FINISHED,
                Outcome::Failure(Failure::Panic) => PANICKED,
                Outcome::Failure(_) => TIMED_OUT,
                Outcome::Cancelled => CANCELLED,
            },
            1,
        );
        self.core.tell_finished(outcome);
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("in_flight", snapshot.in_flight.into()),
            ("finished", snapshot.finished.into()),
            ("timed_out", snapshot.timed_out.into()),
            ("panicked", snapshot.panicked.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("remaining_p50", snapshot.remaining_p50.into()),
            ("remaining_p10", snapshot.remaining_p10.into()),
            ("remaining_p1", snapshot.remaining_p1.into()),
        ])
    }
}
