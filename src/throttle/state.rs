//! The buckets that a layer's throttles share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::buckets::Buckets;
use super::keyless::Keyless;
use super::pass::{Pass, Reserved};
use super::policy::{Headers, MissingKey, Policy, WhenFull};
use super::several::More;
use super::words::{LENGTH, MAX_WAIT, PERIOD, PLACES, Rules, TOTAL, Words, in_force, pack};
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::gcra::{Answer, Decision, Gcra, Quota, Reservation};
use crate::kernel::keyed::Overflow;
use crate::kernel::lease::Leases;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::stripes;
use crate::key::{KeyId, NoKey};
use crate::policy::Override;
use crate::registry::Setup;

pub(super) const ADMITTED: usize = 0;
pub(super) const REJECTED: usize = 1;
pub(super) const WAITED: usize = 2;
pub(super) const CANCELLED: usize = 3;
pub(super) const BYPASSED: usize = 4;
pub(super) const REFUNDED: usize = 5;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) live: Arc<Words>,
    /// The bucket of an unkeyed throttle; in a keyed one, that of all requests
    /// without a key.
    pub(super) common: Gcra,
    pub(super) common_more: More,
    /// What all keys share.
    pub(super) total: More,
    /// What threads hold of an unkeyed one's.
    pub(super) leases: Leases,
    pub(super) keyed: Option<Box<Buckets>>,
    pub(super) counters: Counters<8>,
    pub(super) keyless: Keyless,
    /// What `RateLimit` headers call the limits.
    pub(super) quota_names: [Arc<str>; PLACES],
    /// Tells those who wait of an order.
    recall: Arc<Notify>,
    /// The policy as it was given, and the longest wait of all there have been.
    pub(super) policy: Mutex<(Policy, Duration)>,
}

pooled!(State);

/// Which bucket a request draws from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    Common,
    Key(KeyId),
}

impl State {
    pub(super) fn create(policy: Policy, keyed: bool, setup: Setup) -> Shared<Self> {
        let name = setup.name.clone();
        let (core, registry) = Core::new("throttle", setup);
        let live = Arc::new(Live::new([0; LENGTH]));
        let leases = Leases::with_slots(if keyed { 0 } else { stripes() });
        leases.set(policy.slice(&leases));
        // The policy was built, so its quota exists.
        if let Ok(quota) = policy.quota(policy.max_wait, &leases) {
            let way = policy.way(&leases);
            live.store(pack(quota, &policy, policy.max_wait, way));
        }
        // Two of them without a name are two quotas to a client.
        let name = name.unwrap_or_else(|| format!("throttle-{}", core.id().0).into());
        let state = Arc::new(Self {
            quota_names: std::array::from_fn(|at| match at {
                0 => Arc::clone(&name),
                TOTAL => format!("{name}-total").into(),
                at => format!("{name}-{}", at + 1).into(),
            }),
            core,
            live,
            common: Gcra::new(),
            common_more: More::default(),
            total: More::default(),
            leases,
            keyed: keyed.then(|| Box::new(Buckets::new(policy.max_keys))),
            counters: Counters::default(),
            keyless: Keyless::default(),
            recall: Arc::default(),
            policy: Mutex::new((policy, policy.max_wait)),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut slot = self.policy.lock();
            let before = slot.0;
            let max_keys = before.max_keys;
            slot.0 = Policy { max_keys, ..policy };
            slot.1 = slot.1.max(policy.max_wait);
            self.publish(&before, &slot);
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
    #[inline]
    pub(super) fn draw(&self, key: Result<KeyId, NoKey>) -> Result<Draw, Rejection> {
        match key {
            Ok(id) => Ok(Draw::Key(id)),
            Err(why) => self.draw_without(why).map(|()| Draw::Common),
        }
    }

    /// Whether it may do without a key.
    pub(super) fn shares(&self, why: NoKey) -> bool {
        why == NoKey::Missing && Rules::of(&self.live).missing_key() == MissingKey::Share
    }

    #[cold]
    fn draw_without(&self, why: NoKey) -> Result<(), Rejection> {
        if why == NoKey::Missing {
            self.keyless.count(&self.core);
        }
        // The operator's order comes before the form of the request.
        match self.core.is_overruled() || self.shares(why) {
            true => Ok(()),
            false => Err(self.reject(RejectionKind::BadKey)),
        }
    }

    /// Asks for `cost` at `now`, without patience.
    // Always inlined, so that an admission never becomes a `Result` in memory.
    #[inline(always)]
    pub(super) fn admit(
        state: &Shared<Self>,
        draw: Draw,
        cost: u32,
        now: Tick,
    ) -> Result<(), Rejection> {
        match state.ask(draw, cost, now) {
            Answer::Admit => Ok(()),
            answer => Self::settle(state, answer, draw, cost, now),
        }
    }

    #[inline(never)]
    fn settle(
        state: &Shared<Self>,
        answer: Answer,
        draw: Draw,
        cost: u32,
        now: Tick,
    ) -> Result<(), Rejection> {
        match answer {
            Answer::Late(nanos) => Err(state.refuse(nanos)),
            _ => Self::decide(state, draw, cost, now, Duration::ZERO).map(drop),
        }
    }

    /// Asks for `cost` at `now`, offering to wait until `patience` has passed.
    #[inline]
    pub(super) fn admit_in_time(
        state: &Shared<Self>,
        draw: Draw,
        cost: u32,
        now: Tick,
        patience: impl FnOnce() -> Duration,
    ) -> Result<Pass, Rejection> {
        match state.ask(draw, cost, now) {
            Answer::Admit => Ok(Pass::Now),
            _ => Self::decide(state, draw, cost, now, patience()),
        }
    }

    #[inline]
    fn ask(&self, draw: Draw, cost: u32, now: Tick) -> Answer {
        match (draw, &self.keyed) {
            (Draw::Key(key), Some(buckets)) => self.ask_key(buckets, key, cost, now),
            _ => self.ask_of(cost, now, |quota| self.common.ask(quota, now, cost)),
        }
    }

    #[inline(never)]
    fn ask_key(&self, buckets: &Buckets, key: KeyId, cost: u32, now: Tick) -> Answer {
        self.ask_of(cost, now, |quota| buckets.ask(key, quota, now, cost))
    }

    /// The usual way in a few steps; whatever is out of the ordinary is `Unsure`.
    #[inline(always)]
    fn ask_of(&self, cost: u32, now: Tick, ask: impl FnOnce(&Quota) -> Answer) -> Answer {
        if cost == 0 || self.core.is_overruled() {
            return Answer::Unsure;
        }
        let (quota, rules) = in_force(&self.live);
        let answer = match rules.is_plain() {
            true => ask(&quota),
            // A keyed one has none.
            false if rules.is_leased() => self.ask_leased(cost, now),
            false => return Answer::Unsure,
        };
        if answer == Answer::Admit {
            self.counters.add(ADMITTED, 1);
        }
        answer
    }

    #[inline(never)]
    pub(super) fn decide(
        state: &Shared<Self>,
        draw: Draw,
        cost: u32,
        now: Tick,
        mut patience: Duration,
    ) -> Result<Pass, Rejection> {
        let (quota, rules) = in_force(&state.live);
        let order = state.core.order();
        if order == Override::Close {
            return Err(state.reject(RejectionKind::Closed));
        }
        if cost == 0 {
            state.counters.add(ADMITTED, 1);
            return Ok(Pass::Now);
        }
        if order == Override::Bypass {
            // It will not have to wait, so it reserves nothing.
            patience = Duration::ZERO;
        }
        if rules.is_several() {
            return Self::decide_all(state, draw, cost, now, patience, order);
        }
        let decision = match (draw, &state.keyed) {
            (Draw::Key(key), Some(buckets)) => {
                state.decide_key(buckets, key, &quota, rules, now, cost, patience)?
            }
            _ => state.common.admit(&quota, now, cost, patience),
        };
        if let Decision::Admit(level) = decision {
            state.counters.add(ADMITTED, 1);
            if rules.headers() == Headers::Always {
                let left = || (quota.remaining(level, now), quota.reset(level, now));
                state.tell_quota(rules, false, left);
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
                reserved: Some(place),
                ..
            } => {
                let reserved = Reserved::new(state.clone(), draw, place, now, wait);
                Ok(Pass::Later(reserved))
            }
            Decision::Wait { wait, .. } => Err(state.refuse(nanos(wait))),
            _ => Err(state.reject(RejectionKind::CostAboveBurst)),
        }
    }

    #[inline]
    #[allow(clippy::too_many_arguments)] // one call, split off for its size
    fn decide_key(
        &self,
        buckets: &Buckets,
        key: KeyId,
        quota: &Quota,
        rules: Rules,
        now: Tick,
        cost: u32,
        patience: Duration,
    ) -> Result<Decision, Rejection> {
        let asked = buckets.admit(&self.live, key, quota, now, cost, patience);
        match (asked, rules.when_full()) {
            (Ok(decision), _) => Ok(decision),
            // Its place in the overflow bucket could not be found again.
            (Err(Overflow), WhenFull::Share) => {
                Ok(buckets.overflow.admit(quota, now, cost, Duration::ZERO))
            }
            // Counted as let through by the caller.
            (Err(Overflow), _) if self.core.order() == Override::Bypass => Ok(Decision::Never),
            (Err(Overflow), WhenFull::Refuse) => Err(self.reject(RejectionKind::KeysExhausted)),
        }
    }

    pub(super) fn cancel(&self, draw: Draw, reservation: Reservation) {
        match (draw, &self.keyed) {
            (Draw::Key(key), Some(buckets)) => buckets.cancel(key, reservation),
            _ => self.common.cancel(reservation),
        }
    }

    /// The longest wait of the policy.
    #[inline]
    pub(super) fn max_wait(&self) -> Duration {
        Duration::from_nanos(self.live.word::<MAX_WAIT>())
    }

    /// Too early, by so many nanoseconds.
    #[inline(always)]
    fn refuse(&self, nanos: u64) -> Rejection {
        let rules = Rules::of(&self.live);
        if rules.headers() != Headers::Never {
            self.tell_quota(rules, true, || (0, Duration::from_nanos(nanos)));
        }
        let rejection = Rejection::before(RejectionKind::Throttled, self.core.id());
        self.count_refusal(rejection.with_wait(nanos))
    }

    #[cold]
    pub(super) fn reject(&self, kind: RejectionKind) -> Rejection {
        self.count_refusal(Rejection::before(kind, self.core.id()))
    }

    #[inline]
    pub(super) fn count_refusal(&self, rejection: Rejection) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(rejection)
    }

    /// Reports what is left, and for how long, to the layer that writes headers, if
    /// there is one.
    #[inline]
    fn tell_quota(&self, rules: Rules, refused: bool, left: impl FnOnce() -> (u32, Duration)) {
        #[cfg(feature = "http")]
        if crate::http::report::is_open() {
            let (remaining, reset) = left();
            crate::http::report::report(crate::http::report::Quota {
                layer: self.core.id(),
                refused,
                name: Arc::clone(&self.quota_names[0]),
                limit: u64::from(rules.permits()),
                window: Duration::from_nanos(self.live.word::<PERIOD>()),
                // The burst may be more than the window's quota, which a client
                // would not understand.
                remaining: u64::from(remaining.min(rules.permits())),
                reset,
            });
        }
        #[cfg(not(feature = "http"))]
        let _ = (rules, refused, left);
    }
}
