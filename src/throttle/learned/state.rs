//! The state that a layer's services share: who was told what, and what was
//! counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::handle::{Permit, Snapshot};
use super::learner::{Learner, May};
use super::policy::Policy;
use crate::classify::{Failure, Outcome};
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::gcra::Reservation;
use crate::kernel::guard::Settle;
use crate::kernel::keyed::Keyed;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::key::{Key, KeyId, KeySpace};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const SUCCESS: usize = 0;
const FAILURE: usize = 1;
const NEUTRAL: usize = 2;
const CANCELLED: usize = 3;
const TOO_MUCH: usize = 4;
const REJECTED: usize = 5;
pub(super) const WAITED: usize = 6;
const BYPASSED: usize = 7;
const ADMITTED: usize = 8;
pub(super) const ABANDONED: usize = 9;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    /// What is known of the one server; in a keyed one, of those without a key, and
    /// of those that find no place.
    common: Learner,
    keyed: Option<Box<Keys>>,
    pub(super) counters: Counters<10>,
    /// The longest wait in nanoseconds.
    max_wait: Live<1>,
    /// Tells those who wait of an order.
    recall: Arc<Notify>,
    /// The policy as it was given.
    policy: Mutex<Policy>,
}

#[derive(Debug)]
struct Keys {
    space: KeySpace,
    map: Keyed<Learner>,
}

pooled!(State);

/// Whose limit an admission tells something about, and when it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    who: Option<KeyId>,
    sent: Tick,
}

/// A request may go out: now, or after a wait.
#[derive(Debug)]
pub(super) enum Pass {
    Now(Permit),
    Later(Duration, Reservation),
}

impl State {
    pub(super) fn create(policy: Policy, keyed: bool, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("throttle_learned", setup);
        let now = core.clock().now();
        let state = Arc::new(Self {
            core,
            common: Learner::new(now),
            keyed: keyed.then(|| {
                Box::new(Keys {
                    space: KeySpace::new(),
                    map: Keyed::new(policy.max_keys),
                })
            }),
            counters: Counters::default(),
            max_wait: Live::new([nanos(policy.max_wait)]),
            recall: Arc::default(),
            policy: Mutex::new(policy),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut slot = self.policy.lock();
            let max_keys = slot.max_keys;
            *slot = Policy { max_keys, ..policy };
            self.max_wait.store([nanos(policy.max_wait)]);
        }
        self.core.tell(Event::Updated);
    }

    pub(super) fn policy(&self) -> Policy {
        *self.policy.lock()
    }

    pub(super) fn max_wait(&self) -> Duration {
        Duration::from_nanos(self.max_wait.word::<0>())
    }

    /// Wakes who waits, to hear of an order.
    pub(super) fn recall(&self) {
        self.recall.notify_waiters();
    }

    /// Resolves at the next order, also if that comes before its first poll.
    pub(super) fn recalled(&self) -> OwnedNotified {
        Arc::clone(&self.recall).notified_owned()
    }

    /// Which server a request is for. Those without a key are one.
    #[inline]
    pub(super) fn who<K: Key<Req>, Req>(&self, key: &K, request: &Req) -> Option<KeyId> {
        let keys = self.keyed.as_deref()?;
        let id = self.core.contain("key", || keys.space.id(key, request));
        id.and_then(Result::ok)
    }

    /// Runs `f` on what is known of a server; it returns `None` where that was retired.
    #[inline]
    fn with<R>(
        &self,
        who: Option<KeyId>,
        now: Tick,
        f: impl Fn(&Learner) -> Option<R>,
    ) -> Option<R> {
        let (Some(keys), Some(id)) = (self.keyed.as_deref(), who) else {
            return f(&self.common);
        };
        match keys.map.with(id, now, || Learner::new(now), &f) {
            Ok(done) => Some(done),
            Err(_) => f(&self.common),
        }
    }

    /// Asks at `now`: a permit, or how long to wait for one.
    #[inline]
    fn attempt(
        state: &Shared<Self>,
        who: Option<KeyId>,
        now: Tick,
    ) -> Result<Result<Permit, Duration>, Rejection> {
        if state.core.order() == Override::Close {
            return Err(state.reject(RejectionKind::Closed));
        }
        Ok(match state.may(who, now, Duration::ZERO) {
            May::Wait(..) if state.core.is_overruled() => Ok(Self::bypass(state, who, now)),
            May::Wait(wait, _) => Err(wait),
            May::Go | May::Gone => Ok(Self::go(state, who, now)),
        })
    }

    /// Asks at `now`, without patience.
    #[inline]
    pub(super) fn admit(
        state: &Shared<Self>,
        who: Option<KeyId>,
        now: Tick,
    ) -> Result<Permit, Rejection> {
        Self::attempt(state, who, now)?.map_err(|wait| state.refuse(wait))
    }

    /// Asks at `now`, offering to wait until `patience` has passed.
    #[inline]
    pub(super) fn admit_in_time(
        state: &Shared<Self>,
        who: Option<KeyId>,
        now: Tick,
        patience: impl FnOnce() -> Duration,
    ) -> Result<Pass, Rejection> {
        if let Ok(permit) = Self::attempt(state, who, now)? {
            return Ok(Pass::Now(permit));
        }
        match state.may(who, now, patience()) {
            May::Wait(wait, Some(place)) => Ok(Pass::Later(wait, place)),
            May::Wait(wait, None) => Err(state.refuse(wait)),
            May::Go | May::Gone => Ok(Pass::Now(Self::go(state, who, now))),
        }
    }

    #[inline]
    fn may(&self, who: Option<KeyId>, now: Tick, patience: Duration) -> May {
        let longest = self.max_wait();
        let ask = |learner: &Learner| match learner.ask(now, patience, longest) {
            May::Gone => None,
            may => Some(may),
        };
        self.with(who, now, ask).unwrap_or(May::Go)
    }

    /// One request goes out at `now` that should not.
    #[cold]
    pub(super) fn bypass(state: &Shared<Self>, who: Option<KeyId>, now: Tick) -> Permit {
        state.counters.add(BYPASSED, 1);
        Self::go(state, who, now)
    }

    /// One request goes out at `now`.
    #[inline]
    pub(super) fn go(state: &Shared<Self>, who: Option<KeyId>, now: Tick) -> Permit {
        let sent = |learner: &Learner| {
            learner.sent();
            Some(())
        };
        let _ = state.with(who, now, sent);
        state.counters.add(ADMITTED, 1);
        Permit::new(state, Token { who, sent: now })
    }

    /// A place that was reserved is not needed.
    pub(super) fn cancel(&self, who: Option<KeyId>, place: Reservation) {
        match (self.keyed.as_deref(), who) {
            // One that is gone has kept no place.
            (Some(keys), Some(id)) => {
                let _ = keys.map.get(id, |learner| learner.cancel(place));
            }
            _ => self.common.cancel(place),
        }
    }

    fn refuse(&self, wait: Duration) -> Rejection {
        let rejection = Rejection::before(RejectionKind::Throttled, self.core.id());
        self.count_refusal(rejection.with_wait(nanos(wait)))
    }

    #[cold]
    pub(super) fn reject(&self, kind: RejectionKind) -> Rejection {
        self.count_refusal(Rejection::before(kind, self.core.id()))
    }

    fn count_refusal(&self, rejection: Rejection) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(rejection)
    }

    /// The server has said that it was too much.
    #[cold]
    fn too_much(&self, token: &Token) {
        self.counters.add(TOO_MUCH, 1);
        let (now, longest) = (self.core.clock().now(), self.max_wait());
        let learn = |learner: &Learner| learner.too_much(now, token.sent, longest);
        if let Some(Some(rate)) = self.with(token.who, now, learn) {
            self.core.tell(Event::Paced(interval(rate)));
        }
    }

    fn went_well(&self, token: &Token) {
        match (self.keyed.as_deref(), token.who) {
            (Some(keys), Some(id)) => {
                let _ = keys.map.get(id, Learner::went_well);
            }
            _ => self.common.went_well(),
        }
    }

    /// What is known of a server.
    pub(super) fn pace(&self, who: Option<KeyId>) -> super::Pace {
        let rates = match (self.keyed.as_deref(), who) {
            (Some(keys), Some(id)) => keys.map.get(id, Learner::rates),
            _ => Some(self.common.rates()),
        };
        rates.map(super::Pace::of).unwrap_or_default()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let count = |which| self.counters.sum(which);
        let keys = self.keyed.as_deref();
        // Ended before admitted: a call that ends in between is not missed.
        let ended: u64 = [SUCCESS, FAILURE, NEUTRAL, CANCELLED]
            .map(count)
            .iter()
            .sum();
        let admitted = count(ADMITTED);
        Snapshot {
            admitted,
            in_flight: admitted.saturating_sub(ended),
            succeeded: count(SUCCESS),
            failed: count(FAILURE),
            neutral: count(NEUTRAL),
            cancelled: count(CANCELLED),
            too_much: count(TOO_MUCH),
            rejected: count(REJECTED),
            waited: count(WAITED),
            bypassed: count(BYPASSED),
            abandoned: count(ABANDONED),
            pace: self.pace(None),
            keys: keys.map_or(0, |keys| keys.map.len() as u64),
            max_keys: keys.map_or(0, |keys| keys.map.cap() as u64),
            keys_evicted: keys.map_or(0, |keys| keys.map.evicted()),
            keys_overflowed: keys.map_or(0, |keys| keys.map.overflowed()),
        }
    }
}

/// From one request to the next at a rate.
pub(super) fn interval(rate: f64) -> Duration {
    Duration::try_from_secs_f64(rate.recip()).unwrap_or(Duration::MAX)
}

impl Settle for State {
    type Token = Token;

    #[inline]
    fn settle(&self, token: &Token, outcome: Outcome) {
        let which = match outcome {
            Outcome::Success => SUCCESS,
            Outcome::Failure(_) => FAILURE,
            Outcome::Neutral => NEUTRAL,
            Outcome::Cancelled => CANCELLED,
        };
        self.counters.add(which, 1);
        // Where a thread ends, the map of keys may be unusable already: then nothing
        // is learnt.
        let _ = catch_unwind(AssertUnwindSafe(|| match outcome {
            Outcome::Success => self.went_well(token),
            Outcome::Failure(Failure::Overload { .. }) => self.too_much(token),
            _ => {}
        }));
        self.core.tell_finished(outcome);
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("admitted", snapshot.admitted.into()),
            ("in_flight", snapshot.in_flight.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("too_much", snapshot.too_much.into()),
            ("rejected", snapshot.rejected.into()),
            ("waited", snapshot.waited.into()),
            ("bypassed", snapshot.bypassed.into()),
            ("abandoned", snapshot.abandoned.into()),
            ("interval", snapshot.pace.interval.into()),
            ("sent_per_second", snapshot.pace.sent_per_second.into()),
            ("keys", snapshot.keys.into()),
            ("max_keys", snapshot.max_keys.into()),
            ("keys_evicted", snapshot.keys_evicted.into()),
            ("keys_overflowed", snapshot.keys_overflowed.into()),
        ])
    }
}
