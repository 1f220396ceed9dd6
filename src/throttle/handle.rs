//! A throttle from outside: to watch it, to steer it, and for code that is no
//! Tower service.

use std::time::Duration;

use super::permit::{Permit, Spent};
use super::policy::Policy;
use super::state::{Draw, State};
use crate::error::{Rejection, RejectionKind};
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;
use crate::key::{Key, KeyId, NoKey};
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
    /// Requests that gave back what they had taken.
    pub refunded: u64,
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
    /// throttle of that for requests without a key. Of several limits, the fewest. What
    /// a thread holds comes on top of it, for that thread alone.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.state.remaining(self.state.core.clock().now())
    }

    /// As [`remaining`](Self::remaining), for the key of `request`: 0 if it has none and
    /// may not do without.
    #[must_use]
    pub fn remaining_for<K, Req>(&self, key: &K, request: &Req) -> u32
    where
        K: Key<Req>,
    {
        let now = self.state.core.clock().now();
        let left = |draw| self.state.remaining_of(draw, now);
        self.spot(key, request).map_or(0, left)
    }

    /// Takes `cost` from the bucket for requests without a key, now or not at
    /// all: for code that is no Tower service.
    ///
    /// # Errors
    /// [`Throttled`](crate::RejectionKind::Throttled) or
    /// [`TotalRate`](crate::RejectionKind::TotalRate) with the time to wait,
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
        self.take(self.find(key, request)?, cost)
    }

    /// What [`admit`](Self::admit) would say: nothing is taken, counted or told.
    ///
    /// # Errors
    /// As [`admit`](Self::admit), without regard to what an operator has ordered.
    pub fn peek(&self, cost: u32) -> Result<(), Rejection> {
        let now = self.state.core.clock().now();
        self.state.look_all(Draw::Common, cost, now)
    }

    /// As [`peek`](Self::peek), for the key of `request`.
    ///
    /// # Errors
    /// As [`admit_for`](Self::admit_for), without regard to what an operator has
    /// ordered.
    pub fn peek_for<K, Req>(&self, key: &K, request: &Req, cost: u32) -> Result<(), Rejection>
    where
        K: Key<Req>,
    {
        let now = self.state.core.clock().now();
        self.state.look_all(self.spot(key, request)?, cost, now)
    }

    /// Takes `cost` as [`admit`](Self::admit) does, until it is known whether the
    /// request will be sent.
    ///
    /// What the [`Permit`] gives back is never more than what of it still counts: the
    /// part of a bucket that was not refilled since; nothing of a window that is over,
    /// of a sliding log, of a rate that warms up if others have come since, or after an
    /// update of its limit.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn reserve(&self, cost: u32) -> Result<Permit, Rejection> {
        let now = self.state.core.clock().now();
        Spent::take(&self.state, Draw::Common, cost, now).map(Permit::new)
    }

    /// As [`reserve`](Self::reserve), for the key of `request`.
    ///
    /// # Errors
    /// As [`admit_for`](Self::admit_for).
    pub fn reserve_for<K, Req>(
        &self,
        key: &K,
        request: &Req,
        cost: u32,
    ) -> Result<Permit, Rejection>
    where
        K: Key<Req>,
    {
        let draw = self.find(key, request)?;
        let now = self.state.core.clock().now();
        Spent::take(&self.state, draw, cost, now).map(Permit::new)
    }

    /// Takes `cost` from the bucket for requests without a key, whatever there is: for
    /// calls whose true cost is known afterwards. It can leave so many requests below
    /// nothing as the policy's [`max_debt`](super::PolicyBuilder::max_debt) says; those
    /// that come wait for that too.
    pub fn charge(&self, cost: u32) {
        self.state.charge(Draw::Common, cost);
    }

    /// As [`charge`](Self::charge), for the key of `request`.
    ///
    /// # Errors
    /// [`BadKey`](crate::RejectionKind::BadKey).
    pub fn charge_for<K, Req>(&self, key: &K, request: &Req, cost: u32) -> Result<(), Rejection>
    where
        K: Key<Req>,
    {
        self.state.charge(self.find(key, request)?, cost);
        Ok(())
    }

    /// Gives the key of `request` a quota of its own: the rate, burst, kind and further
    /// limits of `policy`; the rest of it, the total too, is that of the layer. `None`
    /// takes it away again. What the key has used stays used, as after an
    /// [`update`](Self::update).
    ///
    /// Up to `max_keys` keys can have one, in use or not; they are not evicted. While any
    /// key has one, requests of all keys cost about as much as with two limits.
    ///
    /// # Errors
    /// [`BadKey`](crate::RejectionKind::BadKey), or
    /// [`KeysExhausted`](crate::RejectionKind::KeysExhausted) if too many have one.
    pub fn set_quota_for<K, Req>(
        &self,
        key: &K,
        request: &Req,
        policy: Option<Policy>,
    ) -> Result<(), Rejection>
    where
        K: Key<Req>,
    {
        match self.find(key, request)? {
            Draw::Key(id) => self.state.set_own(id, policy.as_ref()),
            Draw::Common => Err(self.state.reject(RejectionKind::BadKey)),
        }
    }

    fn find<K, Req>(&self, key: &K, request: &Req) -> Result<Draw, Rejection>
    where
        K: Key<Req>,
    {
        match self.id_of(key, request) {
            None => Ok(Draw::Common),
            Some(id) => self.state.draw(id),
        }
    }

    /// As [`find`](Self::find), but nobody counts it.
    fn spot<K, Req>(&self, key: &K, request: &Req) -> Result<Draw, Rejection>
    where
        K: Key<Req>,
    {
        match self.id_of(key, request) {
            Some(Ok(id)) => Ok(Draw::Key(id)),
            Some(Err(why)) if !self.state.shares(why) => {
                Err(Rejection::before(RejectionKind::BadKey, self.id()))
            }
            _ => Ok(Draw::Common),
        }
    }

    /// The key of a request, if it takes one.
    fn id_of<K, Req>(&self, key: &K, request: &Req) -> Option<Result<KeyId, NoKey>>
    where
        K: Key<Req>,
    {
        let buckets = self.state.keyed.as_ref()?;
        let core = &self.state.core;
        let id = core.contain("key", || buckets.space.id(key, request));
        Some(id.unwrap_or(Err(NoKey::Missing)))
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
            ("refunded", snapshot.refunded.into()),
            ("keyless", snapshot.keyless.into()),
            ("keys", snapshot.keys.into()),
            ("max_keys", snapshot.max_keys.into()),
            ("keys_evicted", snapshot.keys_evicted.into()),
            ("keys_overflowed", snapshot.keys_overflowed.into()),
        ])
    }
}
