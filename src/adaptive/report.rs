//! What the state tells to those who watch.

use super::algorithm::Window;
use super::handle::{Load, Snapshot};
use super::state::{BYPASS_ENDED, BYPASSED, REJECTED, State, WAITED};
use crate::probe::Status;
use crate::registry::{Inspect, Report};

impl State {
    pub(super) fn snapshot(&self) -> Snapshot {
        let count = |which| self.counters.sum(which);
        let now = self.core.clock().now();
        let (last, algorithm) = {
            let judge = self.judge.lock();
            (judge.ledger.last(&self.meter, now), judge.name)
        };
        // Ended before bypassed: a call that ends in between is not missed.
        let ended = count(BYPASS_ENDED);
        let ends = self.counters.ends();
        Snapshot {
            algorithm,
            limit: self.limit.limit(),
            in_flight: self.limit.in_flight() + count(BYPASSED).saturating_sub(ended),
            succeeded: ends.succeeded,
            failed: ends.failed,
            neutral: ends.neutral,
            cancelled: ends.cancelled,
            waiting: self.limit.waiting(),
            waited: count(WAITED),
            rejected: count(REJECTED),
            bypassed: count(BYPASSED),
            load: last.map(|window| Load::of(&window)).unwrap_or_default(),
        }
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        let load = snapshot.load;
        let report = self.core.report([
            ("algorithm", snapshot.algorithm.into()),
            ("limit", snapshot.limit.into()),
            ("in_flight", snapshot.in_flight.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("waiting", snapshot.waiting.into()),
            ("waited", snapshot.waited.into()),
            ("rejected", snapshot.rejected.into()),
            ("bypassed", snapshot.bypassed.into()),
            ("offered_per_second", load.offered_per_second.into()),
            ("served_per_second", load.served_per_second.into()),
            ("response_time", load.response_time.into()),
            ("demand", load.demand.into()),
            ("queue_time", load.queue_time.into()),
            ("in_use", load.in_use.into()),
        ]);
        let is_full = snapshot.in_flight >= snapshot.limit.into();
        report.at_best(is_full, Status::Warn, "full")
    }
}

impl Load {
    pub(super) fn of(window: &Window) -> Self {
        let per_second = |calls: u64| {
            let calls = u128::from(calls) * 1_000_000_000 / window.span.as_nanos().max(1);
            u64::try_from(calls).unwrap_or(u64::MAX)
        };
        let offered = window.ended.saturating_add(window.refused);
        let demand = u128::from(offered) * window.mean.as_nanos();
        Self {
            offered_per_second: per_second(offered),
            served_per_second: per_second(window.ended),
            response_time: window.mean,
            queue_time: window.queue_time,
            in_use: window.in_flight,
            demand: u64::try_from(demand.div_ceil(window.span.as_nanos().max(1)))
                .unwrap_or(u64::MAX),
        }
    }
}
