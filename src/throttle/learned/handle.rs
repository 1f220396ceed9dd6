//! A learnt limit from outside: to watch it, to steer it, and for code that is no
//! Tower service.

use std::time::Duration;

use super::learner::Rates;
use super::state::{State, Token, interval};
use crate::error::Rejection;
#[cfg(doc)]
use crate::error::RejectionKind;
use crate::kernel::limited::has_permit;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;
use crate::key::{Key, KeyId};

/// A learnt limit from outside. Clones are the same limit.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a layer has counted, and what it has learnt.
///
/// Every admitted call is in one of `in_flight`, `succeeded`, `failed`, `neutral` and
/// `cancelled`; their sum is exact while nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Requests that went out, those after a wait among them.
    pub admitted: u64,
    /// Those that have not ended.
    pub in_flight: u64,
    /// Calls that ended as they should.
    pub succeeded: u64,
    /// Calls that ended in a failure, `too_much` among them.
    pub failed: u64,
    /// Calls whose end says nothing.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Answers that said it was too much.
    pub too_much: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests admitted after a wait.
    pub waited: u64,
    /// Requests that [`Override::Bypass`](crate::Override::Bypass) let through.
    pub bypassed: u64,
    /// Requests that were dropped while they waited.
    pub abandoned: u64,
    /// What is known of the one server, or in a keyed layer of those without a key
    /// and those that found no place.
    pub pace: Pace,
    /// Servers that something is known of.
    pub keys: u64,
    /// Servers that something can be known of at once.
    pub max_keys: u64,
    /// Servers that were forgotten to make room.
    pub keys_evicted: u64,
    /// Requests whose server found no room.
    pub keys_overflowed: u64,
}

/// How fast one server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Pace {
    /// From one request to the next in the long run; none while the server has never
    /// said that it was too much.
    pub interval: Option<Duration>,
    /// What is sent a second, smoothed over half seconds.
    pub sent_per_second: u64,
}

impl Pace {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates
    pub(super) fn of(rates: Rates) -> Self {
        Self {
            interval: rates.rate.map(interval),
            sent_per_second: rates.measured.round() as u64,
        }
    }
}

steers! {
    State,
    {
        /// What was learnt stays. `max_keys` stays as it was.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) requests over the rate
        /// go out and are counted; it is learnt from their answers all the same.
        /// Requests that wait are let through or refused at once, too.
        set_override then recall
    }
}

impl Handle {
    /// A permit for one request of something that is no Tower service, now or not at
    /// all; in a keyed layer, for the server of those without a key.
    /// [`Permit::finish`] tells how it ended: that is what is learnt from.
    ///
    /// # Errors
    /// [`Throttled`](RejectionKind::Throttled) with the time to wait, or
    /// [`Closed`](RejectionKind::Closed).
    pub fn admit(&self) -> Result<Permit, Rejection> {
        self.take(None)
    }

    /// As [`admit`](Self::admit), for the server that `key` finds for `request`.
    ///
    /// # Errors
    /// As there.
    pub fn admit_for<K: Key<Req>, Req>(&self, key: &K, request: &Req) -> Result<Permit, Rejection> {
        self.take(self.state.who(key, request))
    }

    /// What is known of the server that `key` finds for `request`.
    #[must_use]
    pub fn pace_of<K: Key<Req>, Req>(&self, key: &K, request: &Req) -> Pace {
        self.state.pace(self.state.who(key, request))
    }

    fn take(&self, who: Option<KeyId>) -> Result<Permit, Rejection> {
        let now = self.state.core.clock().now();
        State::admit(&self.state, who, now)
    }
}

has_permit!(State, Token);
