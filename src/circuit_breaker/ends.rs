//! What goes in and out of a circuit's decisions.

use std::time::Duration;

use super::phases::CLASSES;
use crate::clock::Tick;
use crate::event::{CircuitState, Transition};
use crate::kernel::window::Counts;

/// An admission: under which state, and as which probe (0: as none).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) generation: u32,
    pub(super) probe: u32,
}

/// The end of a call, as a circuit sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) ticket: Ticket,
    /// Good, bad, or saying nothing.
    pub(super) kind: EndKind,
    /// How long it took, if it was slow.
    pub(super) slow: Option<Duration>,
    /// The slice of its begin, if a sweep has taken it.
    pub(super) overdue: Option<u32>,
}

/// What became of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It came too late to matter.
    Late,
    /// A good end in the closed state: its bank counts it.
    Usual,
    /// It was counted as what it is.
    Counted,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum EndKind {
    Success,
    Failure { retry_after: Option<Duration> },
    Neutral,
}

/// Where a circuit stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status {
    pub(super) state: CircuitState,
    pub(super) since: Tick,
    pub(super) next_probe: Option<Tick>,
    pub(super) ramping: bool,
    pub(super) count: Option<Counts>,
    pub(super) time: Option<Counts>,
    pub(super) run: u64,
    pub(super) probes: u64,
    pub(super) probed: Counts,
    pub(super) trips: u32,
    pub(super) opened: Option<Transition>,
    pub(super) slow: [u64; CLASSES],
}
