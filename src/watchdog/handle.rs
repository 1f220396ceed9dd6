//! A watchdog's layer from outside: to watch it and to steer it.

use super::state::State;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;
use crate::key::{Key, KeyId};

/// A watchdog's layer from outside. Clones are the same layer.
///
/// It admits nothing: work that is no Tower service has a
/// [`Kicker`](super::Kicker).
#[derive(Clone)]
pub struct Handle {
    pub(super) state: Shared<State>,
}

/// What a watchdog's layer has counted.
///
/// Every call is in one of `in_flight`, `finished`, `given_up`, `panicked` and
/// `cancelled`; their sum is exact while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Calls that have ended by themselves.
    pub finished: u64,
    /// Calls that were given up on because they were stuck.
    pub given_up: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Calls refused before the inner service was called.
    pub rejected: u64,
    /// Calls that were told to be stuck.
    pub stuck: u64,
    /// Calls that nobody watched because the table was full.
    pub unlisted: u64,
    /// Calls that nobody watched under [`Override::Bypass`](crate::Override::Bypass).
    pub bypassed: u64,
}

steers! {
    State,
    {
        /// It holds for calls in flight, too. The capacity stays as it is. A call that
        /// was pending before [`OnStuck::Reject`](super::OnStuck::Reject) was set is
        /// given up on when it is polled next.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) calls pass unwatched, and
        /// are counted.
        set_override
    }
}

impl Handle {
    /// What the key of a request is told as.
    pub fn key_id<K: Key<Req>, Req>(&self, key: &K, request: &Req) -> Option<KeyId> {
        self.state.key_id(key, request)
    }
}
