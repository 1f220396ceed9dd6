//! An adaptive limit from outside: to watch it, to steer it, and for code that
//! is no Tower service.

use std::time::Duration;

use super::state::{State, Token};
use crate::error::Rejection;
#[cfg(doc)]
use crate::error::RejectionKind;
use crate::kernel::limited::{acquires, has_permit};
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// An adaptive limit from outside. Clones are the same limit.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What an adaptive limit has counted, and where it stands.
///
/// Every admitted call is in one of `in_flight`, `succeeded`, `failed`,
/// `neutral` and `cancelled`; their sum is exact while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The name of the algorithm.
    pub algorithm: &'static str,
    /// Calls allowed at once, now.
    pub limit: u32,
    /// Calls in flight; above `limit` for a while after it went down.
    pub in_flight: u64,
    /// Calls that ended as they should.
    pub succeeded: u64,
    /// Calls that ended in a failure.
    pub failed: u64,
    /// Calls whose end says nothing.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Callers in the queue.
    pub waiting: u32,
    /// Calls that were admitted after a wait.
    pub waited: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Calls that were admitted beyond the limit under
    /// [`Override::Bypass`](crate::Override::Bypass).
    pub bypassed: u64,
    /// What comes, and what is served.
    pub load: Load,
}

/// What comes and what is served: the signals that a service is scaled by. They
/// are those of the last window, and zero ten windows after it.
///
/// Scale by `demand / limit` or by `offered_per_second`: what is admitted stays
/// the same under overload, however much more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Load {
    /// Requests a second that came, also those that were refused.
    pub offered_per_second: u64,
    /// Calls a second that ended.
    pub served_per_second: u64,
    /// The mean response time.
    pub response_time: Duration,
    /// What calls have waited for their admission, on average.
    pub queue_time: Duration,
    /// Calls in flight, on average: by the limit, the utilisation.
    pub in_use: u32,
    /// The limit that would have admitted all that came (Little's law).
    pub demand: u64,
}

steers! {
    State,
    {
        /// The limit stays where it is if the new bounds allow it, and what was
        /// learnt is kept unless the rule is another one.
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
    /// at all. It is held until it is dropped, and its time is part of the
    /// measurement: [`Permit::finish`] says how the call ended.
    ///
    /// # Errors
    /// [`LimitReached`](RejectionKind::LimitReached) or
    /// [`Closed`](RejectionKind::Closed).
    pub fn admit(&self) -> Result<Permit, Rejection> {
        let token = self.state.admit(1)?;
        Ok(Permit::new(&self.state, token))
    }
}

acquires!(State);
has_permit!(State, Token);
