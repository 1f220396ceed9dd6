//! A throttle from outside: to watch it, to steer it, and for code that is no
//! Tower service.

use std::time::Duration;

use super::state::{Draw, State};
use crate::error::Rejection;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;
use crate::key::{Key, NoKey};
use crate::registry::{Inspect, Report};

/// A throttle from outside. Clones are the same throttle.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a throttle has counted, and what it is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Requests per [`per`](Self::per).
    pub permits: u32,
    /// The time that [`permits`](Self::permits) counts for.
    pub per: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// Requests admitted, those after a wait among them.
    pub admitted: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests admitted after a wait.
    pub waited: u64,
    /// Requests that were dropped while they waited.
    pub cancelled: u64,
    /// Requests that [`Override::Bypass`](crate::Override::Bypass) let through.
    pub bypassed: u64,
    /// Requests that threads hold for those to come, in
    /// [leased](super#leased) mode.
    pub held: u64,
    /// Requests of a keyed throttle that had no key, or whose key function
    /// panicked: with [`MissingKey::Share`](super::MissingKey::Share) they share one
    /// bucket.
    pub keyless: u64,
    /// Keys that have a bucket.
    pub keys: u64,
    /// Keys that can have one at once.
    pub max_keys: u64,
    /// Buckets that made room for another key.
    pub keys_evicted: u64,
    /// Requests whose key found no room.
    pub keys_overflowed: u64,
}

steers! {
    State,
    {
        /// What a bucket has is kept as a number of requests, up to the new burst, and
        /// the new rate refills it: nothing is given for the change. (At the same rate
        /// a key's bucket keeps what it lacks; one that nobody has drawn from is full.)
        /// What threads hold in [leased](super#leased) mode is lost. `max_keys` stays as
        /// it was.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) requests over the rate
        /// are admitted and counted. Requests that wait are let through or refused at
        /// once, too.
        set_override then recall
    }
}

impl Handle {
    /// What could pass now, without taking it: of the one bucket, or in a keyed
    /// throttle of that for requests without a key. What a thread holds comes on
    /// top of it, for that thread alone.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.state.remaining(self.state.core.clock().now())
    }

    /// Takes `cost` from the bucket for requests without a key, now or not at
    /// all: for code that is no Tower service.
    ///
    /// # Errors
    /// [`Throttled`](crate::RejectionKind::Throttled) with the time to wait,
    /// [`CostAboveBurst`](crate::RejectionKind::CostAboveBurst) or
    /// [`Closed`](crate::RejectionKind::Closed).
    pub fn admit(&self, cost: u32) -> Result<(), Rejection> {
        self.take(Draw::Common, cost)
    }

    /// Takes `cost` from the bucket that `key` finds for `request`.
    ///
    /// # Errors
    /// As [`admit`](Self::admit), and
    /// [`BadKey`](crate::RejectionKind::BadKey) or
    /// [`KeysExhausted`](crate::RejectionKind::KeysExhausted).
    pub fn admit_for<K, Req>(&self, key: &K, request: &Req, cost: u32) -> Result<(), Rejection>
    where
        K: Key<Req>,
    {
        let draw = match &self.state.keyed {
            None => Draw::Common,
            Some(buckets) => {
                let id = self
                    .state
                    .core
                    .contain("key", || buckets.space.id(key, request));
                self.state.draw(id.unwrap_or(Err(NoKey::Missing)))?
            }
        };
        self.take(draw, cost)
    }

    fn take(&self, draw: Draw, cost: u32) -> Result<(), Rejection> {
        if self.state.spends(draw, cost) {
            return Ok(());
        }
        let now = self.state.core.clock().now();
        State::admit(&self.state, draw, cost, now)
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("permits", snapshot.permits.into()),
            ("per", snapshot.per.into()),
            ("burst", snapshot.burst.into()),
            ("admitted", snapshot.admitted.into()),
            ("rejected", snapshot.rejected.into()),
            ("waited", snapshot.waited.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("bypassed", snapshot.bypassed.into()),
            ("held", snapshot.held.into()),
            ("keyless", snapshot.keyless.into()),
            ("keys", snapshot.keys.into()),
            ("max_keys", snapshot.max_keys.into()),
            ("keys_evicted", snapshot.keys_evicted.into()),
            ("keys_overflowed", snapshot.keys_overflowed.into()),
        ])
    }
}
