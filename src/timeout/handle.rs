//! A timeout from outside: to watch it and to steer it.

use std::time::Duration;

use super::state::State;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// A timeout from outside. Clones are the same timeout.
///
/// It admits nothing: code that is no Tower service uses `tokio::time::timeout`
/// or [`Deadline`](crate::deadline::Deadline).
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a timeout has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Calls that were answered in time, by a response or by an error.
    pub finished: u64,
    /// Calls that were given up on.
    pub timed_out: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Calls refused before the inner service was called.
    pub rejected: u64,
    /// What was left of the deadline when calls began: the median, at most
    /// 12.5 % too high; `None` if no call had a deadline.
    pub remaining_p50: Option<Duration>,
    /// A tenth of the calls had less.
    pub remaining_p10: Option<Duration>,
    /// A hundredth of the calls had less.
    pub remaining_p1: Option<Duration>,
}

steers! {
    State,
    {
        /// It holds for the calls that begin from now on.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) no limit holds, not
        /// even a deadline in force.
        set_override
    }
}
