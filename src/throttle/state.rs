//! The buckets that a layer's throttles share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::buckets::{Bucket, Buckets};
use super::policy::{Headers, MissingKey, Policy, WhenFull};
use super::reserved::Reserved;
use super::words::{Rules, Words, pack, unpack};
use crate::clock::Tick;
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::gcra::{Decision, Gcra, Level, Quota, Reservation};
use crate::kernel::keyed::{Keyed, Overflow};
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::key::{KeyId, KeySpace, NoKey};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

pub(super) const ADMITTED: usize = 0;
const REJECTED: usize = 1;
pub(super) const WAITED: usize = 2;
pub(super) const CANCELLED: usize = 3;
pub(super) const BYPASSED: usize = 4;
const KEYLESS: usize = 5;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    live: Arc<Words>,
    /// The bucket of an unkeyed throttle; in a keyed one, that of all requests
    /// without a key.
    common: Gcra,
    pub(super) keyed: Option<Box<Buckets>>,
    pub(super) counters: Counters<8>,
    /// Tells those who wait of an order.
    recall: Arc<Notify>,
    /// The policy as it was given, and the longest wait of all there have been.
    policy: Mutex<(Policy, Duration)>,
}

pooled!(State);

/// Which bucket a request draws from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    Common,
    Key(KeyId),
}

/// A request may pass: now, or when its reserved time has come.
#[derive(Debug)]
pub(super) enum Pass {
    Now,
    Later(Reserved),
}

impl State {
    pub(super) fn create(policy: Policy, keyed: bool, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("throttle", setup);
        let live = Arc::new(Live::new([0; 7]));
        // The policy was built, so its quota exists.
        if let Ok(quota) = policy.quota(policy.max_wait) {
            live.store(pack(quota, &policy));
        }
        let state = Arc::new(Self {
            core,
            live,
            common: Gcra::new(),
            keyed: keyed.then(|| {
                Box::new(Buckets {
                    space: KeySpace::new(),
                    map: Keyed::new(policy.max_keys),
                    overflow: Gcra::new(),
                })
            }),
            counters: Counters::default(),
            recall: Arc::default(),
            policy: Mutex::new((policy, policy.max_wait)),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut slot = self.policy.lock();
            let max_keys = slot.0.max_keys;
            slot.0 = Policy { max_keys, ..policy };
            slot.1 = slot.1.max(policy.max_wait);
            // As above.
            if let Ok(quota) = policy.quota(slot.1) {
                let (old, _) = unpack(self.live.load());
                let publish = || self.live.store(pack(quota, &policy));
                let now = self.core.clock().now();
                self.common.change(&old, &quota, now, publish);
            }
        }
        self.core.tell(Event::Updated);
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy.lock().0
    }

    /// Wakes who waits, to hear of an order.
    pub(super) fn recall(&self) {
        self.recall.notify_waiters();
    }

    /// Resolves at the next order, also if that comes before its first poll.
    pub(super) fn recalled(&self) -> OwnedNotified {
        Arc::clone(&self.recall).notified_owned()
    }

    /// Where a request with this key draws from.
    pub(super) fn draw(&self, key: Result<KeyId, NoKey>) -> Result<Draw, Rejection> {
        if let Err(NoKey::Missing) = key {
            self.counters.add(KEYLESS, 1);
        }
        if key.is_err() && self.core.is_overruled() {
            // The operator's order comes before the form of the request.
            return Ok(Draw::Common);
        }
        match key {
            Ok(id) => Ok(Draw::Key(id)),
            Err(NoKey::Missing) => {
                let (_, rules) = unpack(self.live.load());
                match rules.missing_key() {
                    MissingKey::Share => Ok(Draw::Common),
                    MissingKey::Refuse => Err(self.reject(RejectionKind::BadKey, None)),
                }
            }
            Err(NoKey::TooLong) => Err(self.reject(RejectionKind::BadKey, None)),
        }
    }

    /// Asks for `cost` at `now`, offering to wait until `patience` has passed.
    #[inline]
    pub(super) fn admit(
        state: &Shared<Self>,
        draw: Draw,
        cost: u32,
        now: Tick,
        patience: Duration,
    ) -> Result<Pass, Rejection> {
        // The usual way in a few steps; whatever is out of the ordinary goes on.
        if matches!(draw, Draw::Common) && cost > 0 && !state.core.is_overruled() {
            let (quota, rules) = unpack(state.live.load());
            if rules.headers() != Headers::Always && state.common.try_admit(&quota, now, cost) {
                state.counters.add(ADMITTED, 1);
                return Ok(Pass::Now);
            }
        }
        Self::decide(state, draw, cost, now, patience)
    }

    #[inline(never)]
    fn decide(
        state: &Shared<Self>,
        draw: Draw,
        cost: u32,
        now: Tick,
        mut patience: Duration,
    ) -> Result<Pass, Rejection> {
        let (quota, rules) = unpack(state.live.load());
        let order = state.core.order();
        if order == Override::Close {
            return Err(state.reject(RejectionKind::Closed, None));
        }
        if cost == 0 {
            state.counters.add(ADMITTED, 1);
            return Ok(Pass::Now);
        }
        if order == Override::Bypass {
            // It will not have to wait, so it reserves nothing.
            patience = Duration::ZERO;
        }
        let decision = match (draw, &state.keyed) {
            (Draw::Key(key), Some(buckets)) => {
                state.ask_key(buckets, key, &quota, rules, now, cost, patience)?
            }
            _ => state.common.admit(&quota, now, cost, patience),
        };
        if let Decision::Admit(level) = decision {
            state.counters.add(ADMITTED, 1);
            if rules.headers() == Headers::Always {
                state.tell_quota(&quota, rules, level, now, None);
            }
            return Ok(Pass::Now);
        }
        if order == Override::Bypass {
            state.counters.add(BYPASSED, 1);
            return Ok(Pass::Now);
        }
        match decision {
            Decision::Wait {
                wait,
                reserved: reservation @ Some(_),
                ..
            } => Ok(Pass::Later(Reserved {
                state: state.clone(),
                draw,
                reservation,
                due: now.saturating_add(wait),
                wait,
            })),
            Decision::Wait { wait, level, .. } => {
                if rules.headers() != Headers::Never {
                    state.tell_quota(&quota, rules, level, now, Some(wait));
                }
                Err(state.reject(RejectionKind::Throttled, Some(wait)))
            }
            _ => Err(state.reject(RejectionKind::CostAboveBurst, None)),
        }
    }

    #[inline]
    #[allow(clippy::too_many_arguments)] // one call, split off for its size
    fn ask_key(
        &self,
        buckets: &Buckets,
        key: KeyId,
        quota: &Quota,
        rules: Rules,
        now: Tick,
        cost: u32,
        patience: Duration,
    ) -> Result<Decision, Rejection> {
        let fresh = || Bucket {
            gcra: Gcra::new(),
            live: Arc::clone(&self.live),
        };
        let asked = buckets.map.with(key, now, fresh, |bucket| {
            match bucket.gcra.admit(quota, now, cost, patience) {
                Decision::Dead => None,
                decision => Some(decision),
            }
        });
        match (asked, rules.when_full()) {
            (Ok(decision), _) => Ok(decision),
            // Its place in the overflow bucket could not be found again.
            (Err(Overflow), WhenFull::Share) => {
                Ok(buckets.overflow.admit(quota, now, cost, Duration::ZERO))
            }
            // Counted as let through by the caller.
            (Err(Overflow), _) if self.core.order() == Override::Bypass => Ok(Decision::Never),
            (Err(Overflow), WhenFull::Refuse) => {
                Err(self.reject(RejectionKind::KeysExhausted, None))
            }
        }
    }

    pub(super) fn cancel(&self, draw: Draw, reservation: Reservation) {
        match (draw, &self.keyed) {
            (Draw::Key(key), Some(buckets)) => {
                // A bucket that is gone was full: nothing is left to give back.
                buckets
                    .map
                    .get(key, |bucket| bucket.gcra.cancel(reservation));
            }
            _ => self.common.cancel(reservation),
        }
    }

    /// The longest wait of the policy.
    #[inline]
    pub(super) fn max_wait(&self) -> Duration {
        let [.., max_wait, _] = self.live.load();
        Duration::from_nanos(max_wait)
    }

    #[cold]
    pub(super) fn reject(&self, kind: RejectionKind, wait: Option<Duration>) -> Rejection {
        self.counters.add(REJECTED, 1);
        let rejection = Rejection::before(kind, self.core.id());
        self.core.reject(match wait {
            Some(wait) => rejection.with_wait(wait),
            None => rejection,
        })
    }

    /// Reports the quota to the layer that writes headers, if there is one.
    fn tell_quota(
        &self,
        quota: &Quota,
        rules: Rules,
        level: Level,
        now: Tick,
        wait: Option<Duration>,
    ) {
        #[cfg(feature = "http")]
        crate::http::report::report(|| {
            let [.., per] = self.live.load();
            crate::http::report::Quota {
                layer: self.core.id(),
                refused: wait.is_some(),
                name: self.core.shared_name(),
                limit: u64::from(rules.permits()),
                window: Duration::from_nanos(per),
                remaining: match wait {
                    Some(_) => 0,
                    // The burst may be more than the window's quota, which a
                    // client would not understand.
                    None => u64::from(quota.remaining(level, now).min(rules.permits())),
                },
                reset: wait.unwrap_or_else(|| quota.reset(level, now)),
            }
        });
        #[cfg(not(feature = "http"))]
        let _ = (quota, rules, level, now, wait);
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let policy = self.policy();
        let keyed = self.keyed.as_deref();
        super::Snapshot {
            permits: policy.permits,
            per: policy.per,
            burst: policy.burst,
            admitted: self.counters.sum(ADMITTED),
            rejected: self.counters.sum(REJECTED),
            waited: self.counters.sum(WAITED),
            cancelled: self.counters.sum(CANCELLED),
            bypassed: self.counters.sum(BYPASSED),
            keyless: self.counters.sum(KEYLESS),
            keys: keyed.map_or(0, |k| k.map.len() as u64),
            max_keys: keyed.map_or(0, |k| k.map.cap() as u64),
            keys_evicted: keyed.map_or(0, |k| k.map.evicted()),
            keys_overflowed: keyed.map_or(0, |k| k.map.overflowed()),
        }
    }

    /// What the common bucket could admit now.
    pub(super) fn remaining(&self, now: Tick) -> u32 {
        let (quota, _) = unpack(self.live.load());
        let level = self.common.level(&quota, now);
        level.map_or(0, |level| quota.remaining(level, now))
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
            ("keyless", snapshot.keyless.into()),
            ("keys", snapshot.keys.into()),
            ("max_keys", snapshot.max_keys.into()),
            ("keys_evicted", snapshot.keys_evicted.into()),
            ("keys_overflowed", snapshot.keys_overflowed.into()),
        ])
    }
}
