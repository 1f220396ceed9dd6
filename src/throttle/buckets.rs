//! The buckets of a keyed throttle.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::several::{Group, More};
use super::words::{Plan, Words, in_force};
use crate::clock::Tick;
use crate::kernel::gcra::Gcra;
use crate::kernel::keyed::{Evict, Keyed};
use crate::key::{KeyId, KeySpace};

#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) space: KeySpace,
    pub(super) map: Keyed<Bucket>,
    /// Shared by all keys that find no place.
    pub(super) overflow: Gcra,
    pub(super) overflow_more: More,
    /// The quotas of single keys.
    pub(super) own: Mutex<HashMap<KeyId, Arc<Words>>>,
}

impl Buckets {
    pub(super) fn new(max_keys: usize) -> Self {
        Self {
            space: KeySpace::new(),
            map: Keyed::new(max_keys),
            overflow: Gcra::new(),
            overflow_more: More::default(),
            own: Mutex::default(),
        }
    }

    /// Whether any key has a quota of its own.
    pub(super) fn has_own(&self) -> bool {
        !self.own.lock().is_empty()
    }

    /// The bucket of a key that had none.
    #[cold]
    pub(super) fn fresh(&self, key: KeyId, live: &Arc<Words>) -> Bucket {
        let bucket = Bucket {
            gcra: Gcra::new(),
            live: Arc::clone(live),
            extra: OnceLock::new(),
        };
        if let Some(own) = self.own.lock().get(&key) {
            bucket.own(own);
        }
        bucket
    }
}

/// The bucket of one key. It knows the quota in force because only that tells
/// whether it is full.
#[derive(Debug)]
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
    fn extra(&self) -> &Extra {
        self.extra.get_or_init(Box::default)
    }

    /// Gives the key a quota of its own, if it never had one; the one it has.
    pub(super) fn own(&self, words: &Arc<Words>) -> Arc<Words> {
        let own = self.extra().own.get_or_init(|| Arc::clone(words));
        Arc::clone(own)
    }

    /// The limits of this key, and the one of all keys.
    pub(super) fn group<'a>(&'a self, all: &Plan, total: &'a More) -> Group<'a> {
        let extra = self.extra();
        let own = extra.own.get().map(|words| Plan::of(words));
        Group {
            gcra: &self.gcra,
            more: &extra.more,
            total,
            plan: own
                .filter(|own| own.measure(0).is_some())
                .map_or(*all, |own| own.within(all)),
        }
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
