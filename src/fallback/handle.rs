//! A fallback from outside: to watch it and to steer it.

use super::state::State;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// A fallback from outside. Clones are the same fallback.
///
/// It admits nothing: code that is no Tower service has `Result::or_else`.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a fallback has counted.
///
/// Every call is in one of `in_flight`, `succeeded`, `failed`, `neutral` and
/// `cancelled`, by how the inner service ended it, whatever the caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that have not ended, those that wait for a backup service among
    /// them.
    pub in_flight: u64,
    /// Calls that ended as they should.
    pub succeeded: u64,
    /// Calls that ended in a failure.
    pub failed: u64,
    /// Calls whose end says nothing: refusals of layers inside, callers'
    /// mistakes.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Calls refused before the inner service was called.
    pub rejected: u64,
    /// Calls that got another answer.
    pub answered: u64,
    /// Calls that were to get another answer, and there was none: the fallback
    /// failed itself, and the caller got the first failure.
    pub unanswered: u64,
    /// Calls that [`Override::Bypass`](crate::Override::Bypass) kept from being
    /// answered.
    pub bypassed: u64,
}

steers! {
    State,
    {
        /// It holds for the calls that end from now on.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) failures pass as they
        /// are, and those that would have been answered are counted. Under
        /// [`Override::Close`](crate::Override::Close) calls are refused, and the
        /// fallback answers none of them: that a layer *inside* is closed is what
        /// it answers.
        set_override
    }
}
