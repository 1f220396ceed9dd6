//! The buckets of a keyed throttle.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::several::{Group, More};
use super::words::{Plan, Words, in_force};
use crate::clock::Tick;
use crate::kernel::gcra::{Answer, Decision, Gcra, Quota, Reservation};
use crate::kernel::keyed::{Evict, Keyed, Overflow, Recycle, Table};
use crate::kernel::sync::{AtomicU32, Ordering};
use crate::key::{KeyId, KeySpace};

#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) space: KeySpace,
    /// Most throttles need no more than these, which are found in half the time.
    pub(super) plain: Keyed<Plain, Table<Plain>>,
    /// Used once anybody wants more than the plain bucket, and from then on: each takes
    /// over from the plain one of its key, which is not looked at any more.
    pub(super) map: Keyed<Bucket>,
    over: AtomicU32,
    /// Shared by all keys that find no place.
    pub(super) overflow: Gcra,
    pub(super) overflow_more: More,
    /// The quotas of single keys.
    pub(super) own: Mutex<HashMap<KeyId, Arc<Words>>>,
}

impl Buckets {
    pub(super) fn new(max_keys: usize) -> Self {
        let plain = Keyed::new(max_keys);
        Self {
            space: KeySpace::new(),
            map: Keyed::new(plain.cap()),
            plain,
            over: AtomicU32::new(0),
            overflow: Gcra::new(),
            overflow_more: More::default(),
            own: Mutex::default(),
        }
    }

    /// Whether any key has a quota of its own.
    pub(super) fn has_own(&self) -> bool {
        !self.own.lock().is_empty()
    }

    /// Whether the plain buckets are not used any more.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) != 0
    }

    /// From now on the plain buckets are not used.
    pub(super) fn go_over(&self) {
        if !self.is_over() {
            self.over.fetch_max(1, Ordering::AcqRel);
        }
    }

    /// The bucket of a key that had none, or a plain one. To be called once they are
    /// [over](Self::go_over).
    #[cold]
    pub(super) fn fresh(&self, key: KeyId, live: &Arc<Words>) -> Bucket {
        let bucket = Bucket::new(live);
        if let Some(own) = self.own.lock().get(&key) {
            bucket.own(own);
        }
        // Who has not heard yet either makes its plain one before, or hears of it where
        // it would make one.
        self.plain
            .visit(key, |plain| bucket.gcra.succeed(&plain.gcra));
        bucket
    }

    /// What [`fresh`](Self::fresh) would give, and nothing changes.
    pub(super) fn likeness(&self, key: KeyId, live: &Arc<Words>) -> Bucket {
        let bucket = Bucket::new(live);
        if let Some(own) = self.own.lock().get(&key) {
            bucket.own(own);
        }
        self.plain
            .visit(key, |plain| bucket.gcra.resemble(&plain.gcra));
        bucket
    }

    /// Asks the bucket of a key, if it has one.
    #[inline]
    pub(super) fn ask(&self, key: KeyId, quota: &Quota, now: Tick, cost: u32) -> Answer {
        let asked = match self.is_over() {
            true => self
                .map
                .get(key, |bucket| bucket.gcra.ask(quota, now, cost)),
            false => self.plain.get(key, |held| {
                let gcra = &held.state().gcra;
                gcra.ask_if(quota, now, cost, || held.is_current())
            }),
        };
        asked.unwrap_or(Answer::Unsure)
    }

    /// Asks the bucket of a key, made if need be.
    #[inline]
    pub(super) fn admit(
        &self,
        live: &Arc<Words>,
        key: KeyId,
        quota: &Quota,
        now: Tick,
        cost: u32,
        patience: Duration,
    ) -> Result<Decision, Overflow> {
        let alive = |decision| (decision != Decision::Dead).then_some(decision);
        if !self.is_over() {
            let asked = self.plain.with(
                key,
                now,
                || Plain::new(live),
                |held| {
                    // Asked here once more: it may have been waited for.
                    if self.is_over() {
                        return Some(None);
                    }
                    let gcra = &held.state().gcra;
                    alive(gcra.admit_if(quota, now, cost, patience, || held.is_current())).map(Some)
                },
            );
            if let Some(decision) = asked? {
                return Ok(decision);
            }
        }
        let fresh = || self.fresh(key, live);
        self.map.with(key, now, fresh, |bucket| {
            alive(bucket.gcra.admit(quota, now, cost, patience))
        })
    }

    pub(super) fn cancel(&self, key: KeyId, reservation: Reservation) {
        // A bucket that is gone was full: nothing is left to give back.
        let later = || self.map.get(key, |bucket| bucket.gcra.cancel(reservation));
        if later().is_some() {
            return;
        }
        let plain = self.plain.get(key, |held| {
            let gcra = &held.state().gcra;
            gcra.cancel_if(reservation, || held.is_current())
        });
        if plain == Some(false) {
            // Another one may have taken over meanwhile.
            later();
        }
    }

    /// Keys that have a bucket.
    pub(super) fn len(&self) -> usize {
        match self.is_over() {
            true => self.map.len(),
            false => self.plain.len(),
        }
    }

    /// How many buckets had to go, and how many keys found no place.
    pub(super) fn lost(&self) -> (u64, u64) {
        let evicted = self.plain.evicted() + self.map.evicted();
        (evicted, self.plain.overflowed() + self.map.overflowed())
    }
}

/// The bucket of one key where that is all. It knows the quota in force because only that
/// tells whether it is full.
#[derive(Debug)]
#[repr(C)] // what a call needs lies together
pub(super) struct Plain {
    pub(super) gcra: Gcra,
    live: Arc<Words>,
}

impl Plain {
    pub(super) fn new(live: &Arc<Words>) -> Self {
        Self {
            gcra: Gcra::new(),
            live: Arc::clone(live),
        }
    }
}

impl Evict for Plain {
    fn try_retire(&self, now: Tick) -> bool {
        let (quota, _) = in_force(&self.live);
        self.gcra.try_retire(&quota, now)
    }
}

impl Recycle for Plain {
    fn renew(&self) {
        self.gcra.renew();
    }
}

/// The bucket of one key. It knows the quota in force because only that tells
/// whether it is full.
#[derive(Debug)]
#[repr(C)] // what a call needs lies together
pub(super) struct Bucket {
    pub(super) gcra: Gcra,
    live: Arc<Words>,
    extra: OnceLock<Box<Extra>>,
}

/// What few keys need.
#[derive(Debug, Default)]
struct Extra {
    more: More,
    /// The key's own quota; none while its words are zero.
    own: OnceLock<Arc<Words>>,
}

impl Bucket {
    fn new(live: &Arc<Words>) -> Self {
        Self {
            gcra: Gcra::new(),
            live: Arc::clone(live),
            extra: OnceLock::new(),
        }
    }

    fn extra(&self) -> &Extra {
        self.extra.get_or_init(Box::default)
    }

    /// Gives the key a quota of its own, if it never had one; the one it has.
    pub(super) fn own(&self, words: &Arc<Words>) -> Arc<Words> {
        let own = self.extra().own.get_or_init(|| Arc::clone(words));
        Arc::clone(own)
    }

    /// Runs `f` on the limits of this key, and the one of all keys.
    pub(super) fn with_group<R>(
        &self,
        all: &Plan,
        total: &More,
        f: impl FnOnce(&Group<'_>) -> R,
    ) -> R {
        let extra = self.extra();
        let own = extra.own.get().and_then(|words| Plan::own(words, all));
        f(&Group {
            gcra: &self.gcra,
            more: &extra.more,
            total,
            plan: own.as_ref().unwrap_or(all),
        })
    }
}

impl Evict for Bucket {
    fn try_retire(&self, now: Tick) -> bool {
        let Some(extra) = self.extra.get() else {
            let (quota, _) = in_force(&self.live);
            return self.gcra.try_retire(&quota, now);
        };
        let own = extra.own.get().filter(|own| in_force(own).1.exists());
        let words = own.unwrap_or(&self.live);
        let (quota, _) = in_force(words);
        let plan = Plan::of(words);
        extra.more.try_retire(&self.gcra, &quota, &plan, now)
    }
}

impl Recycle for Bucket {
    fn renew(&self) {
        self.gcra.renew();
    }
}
