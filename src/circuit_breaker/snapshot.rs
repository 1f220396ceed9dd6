//! Where a breaker stands, seen from outside.

use std::time::Duration;

use super::circuit::Circuit;
use super::mode::Mode;
use super::phases::CLASSES;
use super::state::with_counts;
use crate::event::{CircuitState, Transition};
use crate::kernel::window::Counts;

/// Where a breaker stands, and what it has counted.
///
/// Of a breaker with a circuit per key, the state and the windows are those of
/// the circuit for requests without a key or room, and the counts are those of
/// all circuits.
///
/// Every admitted call is in one of `in_flight`, `succeeded`, `failed`,
/// `neutral` and `cancelled`; their sum is exact while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The state.
    pub state: CircuitState,
    /// What an operator has ordered.
    pub mode: Mode,
    /// For how long it has been in this state.
    pub since: Duration,
    /// When the next probe passes at the latest: zero if that is now, `None` if it
    /// is closed.
    pub next_probe: Option<Duration>,
    /// It has closed, and lets only a share of the calls through yet.
    pub ramping: bool,
    /// The calls of the count window, if there is one.
    pub count_window: Option<Counts>,
    /// The calls of the time window, if there is one. Of a kind that refuses a
    /// share, what the share is calculated from: calls that ended, or for the
    /// client throttle requests; and as failures those without success.
    pub time_window: Option<Counts>,
    /// Failures since the last success.
    pub consecutive: u64,
    /// Probes under way.
    pub probes: u64,
    /// What the probes of this half-open state have shown.
    pub probed: Counts,
    /// How often it has opened without having closed for good in between.
    pub trips_in_a_row: u32,
    /// How it opened the last time: why, and the figures that did it.
    pub opened: Option<Transition>,
    /// Slow calls by how long they took: from 1 to 2 times the threshold, from 2 to
    /// 4 times, and so on; the last class is that of all above. Only calls whose
    /// duration matters are in it: those under a slow ratio.
    pub slow_calls: [u64; CLASSES],
    /// For a kind that refuses a share: how large it is now, 0 to 1.
    pub refused_share: f64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Calls that ended as they should.
    pub succeeded: u64,
    /// Calls that ended in a failure.
    pub failed: u64,
    /// Calls whose end says nothing.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests that would have been refused under another [`Mode`].
    pub bypassed: u64,
    /// Calls that ended when the state they were admitted under was over, or their
    /// place as a probe was lost.
    pub late: u64,
    /// How often it has opened.
    pub trips: u64,
    /// Circuits that are open or half-open.
    pub not_closed: u64,
    /// Keys that have a circuit.
    pub keys: u64,
    /// Keys that can have one at once.
    pub max_keys: u64,
    /// Circuits that made room for another key.
    pub keys_evicted: u64,
    /// Requests whose key found no room.
    pub keys_overflowed: u64,
}

impl Snapshot {
    /// The calls of the count window, or of the time window if there is only that.
    #[must_use]
    pub fn window(&self) -> Counts {
        self.count_window.or(self.time_window).unwrap_or_default()
    }

    /// The share of failures in [`window`](Self::window); 0 without calls.
    #[must_use]
    pub fn failure_ratio(&self) -> f64 {
        share(self.window().failures, self.window().calls)
    }

    /// The share of slow calls in [`window`](Self::window); 0 without calls.
    #[must_use]
    pub fn slow_ratio(&self) -> f64 {
        share(self.window().slow, self.window().calls)
    }
}

#[allow(clippy::cast_precision_loss)] // a share needs no 53 bits
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// One circuit's.
pub(super) fn of_circuit(circuit: &Circuit) -> Snapshot {
    let now = circuit.now();
    let status = circuit.status(now);
    let snapshot = Snapshot {
        state: status.state,
        mode: circuit.common.mode(),
        since: now.saturating_since(status.since),
        next_probe: status.next_probe.map(|at| at.saturating_since(now)),
        ramping: status.ramping,
        count_window: status.count,
        time_window: status.time.or_else(|| circuit.share_window()),
        consecutive: status.run,
        probes: status.probes,
        probed: status.probed,
        trips_in_a_row: status.trips,
        opened: status.opened,
        slow_calls: status.slow,
        refused_share: circuit.refused_share(),
        in_flight: 0,
        succeeded: 0,
        failed: 0,
        neutral: 0,
        cancelled: 0,
        rejected: 0,
        bypassed: 0,
        late: 0,
        trips: 0,
        not_closed: 0,
        keys: 0,
        max_keys: 0,
        keys_evicted: 0,
        keys_overflowed: 0,
    };
    with_counts(snapshot, &circuit.counters)
}
