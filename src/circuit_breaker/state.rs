//! What a layer's breakers share.

use std::ops::Deref;
use std::sync::Arc;

use super::circuit::{
    ADMITTED, BYPASSED, CANCELLED, CLOSED, Circuit, Counts, FAILED, LATE, LEFT_CLOSED, NEUTRAL,
    REJECTED, TRIPS, succeeded,
};
use super::keys::{Keys, User};
use super::mode::Mode;
use super::policy::Policy;
use super::snapshot::{Snapshot, of_circuit};
use super::word::Word;
use crate::clock::Stamp;
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::guard::Guard;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::{AtomicU32, Mutex, Ordering};
use crate::key::{Key, KeyId, NoKey};
use crate::registry::{Inspect, Report, Setup};

/// What all circuits of a layer know.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) core: Core,
    /// Of all circuits; `None` if there is only one, which counts for itself.
    pub(super) totals: Option<Counts>,
    policy: Mutex<Policy>,
    /// How often the policy was replaced: circuits of keys follow when they are
    /// next used.
    version: AtomicU32,
}

impl Common {
    #[cfg(test)]
    pub(super) fn single(policy: Policy, setup: Setup) -> Arc<Self> {
        Arc::new(Self::new(
            Core::new("circuit_breaker", setup).0,
            policy,
            false,
        ))
    }

    fn new(core: Core, policy: Policy, keyed: bool) -> Self {
        Self {
            core,
            totals: keyed.then(Counters::default),
            policy: Mutex::new(policy),
            version: AtomicU32::new(0),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        *self.policy.lock()
    }

    pub(super) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// A policy was replaced.
    pub(super) fn renew(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    #[inline]
    pub(super) fn mode(&self) -> Mode {
        Mode::from_word(self.core.order_word())
    }
}

#[derive(Debug)]
pub(super) struct State {
    common: Arc<Common>,
    /// The only one; in a keyed breaker, that of requests without a key and of
    /// keys that found no room.
    pub(super) one: Shared<Circuit>,
    pub(super) keys: Option<Box<Keys>>,
}

pooled!(State);

impl Deref for State {
    type Target = Common;

    #[inline]
    fn deref(&self) -> &Common {
        &self.common
    }
}

impl State {
    pub(super) fn create(policy: Policy, keyed: bool, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("circuit_breaker", setup);
        let now = core.clock().now();
        let common = Arc::new(Common::new(core, policy, keyed));
        let state = Arc::new(Self {
            one: Shared::from_arc(Arc::new(Circuit::new(&common, || policy, None, now))),
            keys: keyed.then(|| Box::new(Keys::new(policy.max_keys))),
            common,
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    /// Whether calls pass through the only circuit, and are only to be counted.
    #[inline]
    pub(super) fn is_simple(&self, word: Word) -> bool {
        word.is_simple() && !self.core.is_overruled()
    }

    /// The time for the layers below, if this one needs it.
    #[inline]
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let wanted = self.keys.is_some() || self.core.is_overruled();
        (wanted || self.one.word().wants_time()).then(|| self.core.clock().stamp())
    }

    /// Requests may be refused.
    #[inline]
    pub(super) fn may_refuse(&self) -> bool {
        !self.one.word().is_closed() || self.core.is_overruled()
    }

    /// Every request is refused now, whatever its key. No clock is read if the wait
    /// `lasts`.
    #[inline]
    pub(super) fn refuses_all(&self, lasts: impl FnOnce(Word) -> bool) -> bool {
        match &self.keys {
            Some(_) => self.mode() == Mode::ForcedOpen,
            None if lasts(self.one.word()) => self.one.seems_shut(),
            None => self.one.is_shut(|| self.core.clock().now()),
        }
    }

    /// Whose turn it is: the circuit of the key, if there are keys. Who has no key,
    /// or one that is too long, shares the common circuit.
    #[inline]
    pub(super) fn user(
        &self,
        stamp: Option<&Stamp>,
        key: impl FnOnce(&Keys) -> Result<KeyId, NoKey>,
    ) -> Option<User> {
        let keys = self.keys.as_ref()?;
        let (key, stamp) = key(keys).ok().zip(stamp)?;
        keys.user(&self.common, key, stamp.now())
    }

    /// One more call through the circuit of its user, or the common one.
    #[inline]
    pub(super) fn admit(
        &self,
        user: Option<User>,
        stamp: Option<&Stamp>,
    ) -> Result<Guard<Circuit>, Rejection> {
        let now = stamp.map(Stamp::now);
        if let Some(user) = user {
            return user.admit(now);
        }
        let token = self.one.admit(self.one.word(), now)?;
        Ok(Guard::new(&self.one, token))
    }

    /// All circuits of keys.
    pub(super) fn users(&self) -> Vec<User> {
        self.keys.as_ref().map_or_else(Vec::new, |keys| keys.all())
    }

    /// The id of a request's key.
    pub(super) fn id<K, Req>(&self, keys: &Keys, key: &K, request: &Req) -> Result<KeyId, NoKey>
    where
        K: Key<Req>,
    {
        let id = || keys.space.id(key, request);
        self.core.contain("key", id).unwrap_or(Err(NoKey::Missing))
    }

    /// Refuses a request that no circuit was asked about.
    #[cold]
    pub(super) fn reject_unready(&self) -> Rejection {
        self.one.reject(RejectionKind::NotReady, None)
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut slot = self.common.policy.lock();
            let max_keys = slot.max_keys;
            *slot = Policy { max_keys, ..policy };
            self.common.renew();
        }
        self.one.follow(|| self.policy());
        self.core.tell(Event::Updated);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let one = of_circuit(&self.one);
        let Some((keys, totals)) = self.keys.as_ref().zip(self.totals.as_ref()) else {
            return one;
        };
        Snapshot {
            keys: keys.map.len() as u64,
            max_keys: keys.map.cap() as u64,
            keys_evicted: keys.map.evicted(),
            keys_overflowed: keys.map.overflowed(),
            ..with_counts(one, totals)
        }
    }
}

/// A snapshot with these counts of calls.
pub(super) fn with_counts(snapshot: Snapshot, counts: &Counts) -> Snapshot {
    let count = |which| counts.sum(which);
    // Ends before admissions: a call that ends in between is not missed.
    let ended = [
        succeeded(counts),
        count(FAILED),
        count(NEUTRAL),
        count(CANCELLED),
    ];
    let closed = count(CLOSED);
    Snapshot {
        in_flight: count(ADMITTED).saturating_sub(ended.iter().sum()),
        succeeded: ended[0],
        failed: ended[1],
        neutral: ended[2],
        cancelled: ended[3],
        rejected: count(REJECTED),
        bypassed: count(BYPASSED),
        late: count(LATE),
        trips: count(TRIPS),
        not_closed: count(LEFT_CLOSED).saturating_sub(closed),
        ..snapshot
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let s = self.snapshot();
        let mut report = self.core.report([
            ("state", s.state.label().into()),
            ("mode", s.mode.label().into()),
            ("calls", s.window().calls.into()),
            ("failures", s.window().failures.into()),
            ("slow", s.window().slow.into()),
            ("in_flight", s.in_flight.into()),
            ("succeeded", s.succeeded.into()),
            ("failed", s.failed.into()),
            ("neutral", s.neutral.into()),
            ("cancelled", s.cancelled.into()),
            ("rejected", s.rejected.into()),
            ("bypassed", s.bypassed.into()),
            ("late", s.late.into()),
            ("trips", s.trips.into()),
            (
                "reason",
                s.opened.map_or("none", |trip| trip.reason.label()).into(),
            ),
            ("not_closed", s.not_closed.into()),
            ("keys", s.keys.into()),
            ("max_keys", s.max_keys.into()),
            ("keys_evicted", s.keys_evicted.into()),
            ("keys_overflowed", s.keys_overflowed.into()),
        ]);
        // Orders that other layers do not know.
        if matches!(s.mode, Mode::ForcedClosed | Mode::Disabled) {
            let order = report
                .values
                .iter_mut()
                .find(|(name, _)| *name == "override");
            order
                .into_iter()
                .for_each(|(_, order)| *order = s.mode.label().into());
        }
        report
    }
}
