//! A bulkhead from outside: to watch it, to steer it, and for code that is no
//! Tower service.

use super::state::{State, Token};
#[cfg(doc)]
use crate::RejectionKind;
use crate::error::Rejection;
use crate::kernel::limited::{acquires, has_permit};
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// A bulkhead from outside. Clones are the same bulkhead.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a bulkhead has counted, and where it stands.
///
/// Every admitted call is in one of `in_flight`, `succeeded`, `failed`,
/// `neutral` and `cancelled`; their sum is exact while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls allowed at once.
    pub limit: u32,
    /// Permits in use; above `limit` for a while after it was lowered.
    pub in_flight: u64,
    /// Callers in the queue.
    pub waiting: u32,
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
    /// Calls that were admitted after a wait.
    pub waited: u64,
    /// Calls that were admitted beyond the limit under [`Override::Bypass`](crate::Override::Bypass).
    pub bypassed: u64,
}

steers! {
    State,
    {
        /// Calls in flight beyond a lower limit finish undisturbed; callers in the
        /// queue keep their places.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) calls beyond the limit
        /// are admitted and counted. Callers in the queue are let through or refused
        /// at once, too.
        set_override then recall
    }
}

impl Handle {
    /// A permit for one call of something that is no Tower service, now or not
    /// at all. It is held until it is dropped; [`Permit::finish`] says how the
    /// call ended.
    ///
    /// # Errors
    /// [`Full`](RejectionKind::Full) or [`Closed`](RejectionKind::Closed).
    pub fn admit(&self) -> Result<Permit, Rejection> {
        self.admit_weighted(1)
    }

    /// As [`admit`](Self::admit), for a call that counts as `weight` calls (0
    /// counts as 1).
    ///
    /// # Errors
    /// As there.
    pub fn admit_weighted(&self, weight: u32) -> Result<Permit, Rejection> {
        let token = self.state.admit(weight.max(1))?;
        Ok(Permit::new(&self.state, token))
    }

    /// As [`acquire`](Self::acquire), for a call that counts as `weight` calls
    /// (0 counts as 1). It keeps its place while the permits for it gather:
    /// lighter calls behind it do not overtake.
    pub fn acquire_weighted(&self, weight: u32) -> Acquire {
        Acquire::new(&self.state, weight.max(1))
    }
}

acquires!(State);
has_permit!(State, Token);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{BulkheadLayer, Policy};
    use crate::RejectionKind;
    use crate::clock::Clock;
    use crate::deadline::Deadline;

    #[tokio::test(start_paused = true)]
    async fn acquire_does_nothing_until_it_is_polled() {
        let handle = BulkheadLayer::new(Policy::max_concurrent(1).unwrap()).handle();
        let (first, second) = (handle.acquire(), handle.acquire());
        let held = handle.admit().unwrap();
        assert_eq!(
            (handle.snapshot().in_flight, handle.snapshot().waiting),
            (1, 0)
        );
        // It was made outside the deadline, and is polled under it.
        let deadline = Deadline::after(&Clock::default(), Duration::from_millis(30));
        let refused = deadline.wrap(first).await.unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::DeadlineExceeded);
        drop(held);
        assert!(second.await.is_ok());
    }
}
