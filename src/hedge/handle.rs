//! Hedges from outside: to watch them and to steer them.

use std::time::Duration;

use super::state::State;
use crate::budget::Budget;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// Hedges from outside. Clones are the same layer.
///
/// It admits nothing: two attempts at once need a future that is polled with
/// both, which `tokio::select!` is for code that is no Tower service.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a hedging layer has counted.
///
/// Every call is in one of `in_flight`, `succeeded`, `failed`, `neutral` and
/// `cancelled`, once, whatever number of attempts it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Calls that ended as they should.
    pub succeeded: u64,
    /// Calls of which no attempt ended as it should.
    pub failed: u64,
    /// Calls whose end says nothing: refusals of layers inside, callers'
    /// mistakes.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Calls refused before the inner service was called.
    pub rejected: u64,
    /// Attempts beside a first one.
    pub hedges: u64,
    /// Those that were the first to succeed.
    pub won: u64,
    /// Those that were due, and the budget had none.
    pub no_budget: u64,
    /// After how long a call is hedged now; `None` while none is: too little is
    /// known, or too much fails.
    pub delay: Option<Duration>,
}

impl Handle {
    /// The budget that the hedges are paid from.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.state.budget.clone()
    }
}

steers! {
    State,
    {
        /// It holds for the calls that begin from now on; what was learnt of
        /// recent calls is kept.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) no call is hedged, and
        /// none is measured.
        set_override
    }
}
