//! A guard from outside: to watch it and to steer it.

use super::tally::Tally;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// A guard from outside. Clones are the same guard.
///
/// Code that is no Tower service has a [`Receiver`](super::Receiver).
#[derive(Clone)]
pub struct Handle {
    state: Shared<Tally>,
}

/// What a guard has counted.
///
/// Every call is in one of `in_flight`, `succeeded`, `failed`, `neutral` and
/// `cancelled`, guarded or not; a replay counts as succeeded, and a request that was
/// refused once its key was looked at as neutral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Calls that were answered, replays among them.
    pub succeeded: u64,
    /// Calls that ended in a failure.
    pub failed: u64,
    /// Calls whose end says nothing: refusals, here or inside.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Calls refused before the inner service was called.
    pub rejected: u64,
    /// Keys that were free, and granted.
    pub reserved: u64,
    /// Keys that were granted although an earlier outcome is unknown.
    pub taken_over: u64,
    /// Answers that were recorded.
    pub recorded: u64,
    /// Requests of which only that they are done was recorded.
    pub unrecorded: u64,
    /// Keys given back, since nothing had happened.
    pub released: u64,
    /// Requests whose outcome became unknown.
    pub abandoned: u64,
    /// Answers that came after somebody else had taken over.
    pub fenced: u64,
    /// Duplicates that got the recorded answer.
    pub replayed: u64,
    /// Requests that ran without being guarded, since the store had no room or did not
    /// answer.
    pub unguarded: u64,
    /// Steps of the store that did not succeed.
    pub store_failed: u64,
    /// Duplicates refused while the first one was under way.
    pub in_progress: u64,
    /// Requests refused since their key had another payload.
    pub reused: u64,
    /// Duplicates refused since the outcome is unknown.
    pub unknown: u64,
    /// How often the store had no room.
    pub store_full: u64,
}

steers! {
    Tally,
    {
        /// It holds for the calls that begin from now on.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) **no request is
        /// guarded**: each has its effect, and none is recorded.
        set_override
    }
}
