//! `keyed_insert_vs_evict`: the protocol of [`Keyed`] itself, over a map that loom can see.

use std::{collections::HashMap, sync::Arc};

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::model;
use crate::{
    clock::Tick,
    kernel::keyed::{Entry, Evict, Keyed, Map, Overflow},
    key::KeyId,
};

/// A map as the real one behaves: a lookup may go on with an entry that is removed meanwhile.
struct Model<V>(Mutex<HashMap<KeyId, Arc<Entry<V>>>>);

impl<V> Default for Model<V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<V> Map<V> for Model<V> {
    fn peek<R>(&self, key: KeyId, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.get(key).map(|entry| f(entry.value()))
    }
    fn get(&self, key: KeyId) -> Option<Arc<Entry<V>>> {
        self.0.lock().unwrap().get(&key).cloned()
    }
    fn insert(&self, key: KeyId, entry: Arc<Entry<V>>) {
        assert!(
            self.0.lock().unwrap().insert(key, entry).is_none(),
            "two states of one key"
        );
    }
    fn remove(&self, key: KeyId) {
        assert!(
            self.0.lock().unwrap().remove(&key).is_some(),
            "removed twice"
        );
    }
}

/// The tick until which the key is refused.
struct Word(AtomicU64);

const DEAD: u64 = u64::MAX;

impl Evict for Word {
    fn try_retire(&self, now: Tick) -> bool {
        let retire = |until| (until <= now.as_nanos()).then_some(DEAD);
        match self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, retire)
        {
            Ok(_) => true,
            Err(until) => until == DEAD,
        }
    }
}

type Limits = Keyed<Word, Model<Word>>;

/// One grant per ten ticks.
fn take(limits: &Limits, id: u128, now: u64) -> Result<bool, Overflow> {
    let fresh = || Word(AtomicU64::new(0));
    limits.with(KeyId::from_u128(id), Tick::from_nanos(now), fresh, |word| {
        let grant = |until| (until <= now).then_some(now + 10);
        let taken = match word
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, grant)
        {
            Ok(_) => Some(true),
            Err(DEAD) => None,
            Err(_) => Some(false),
        };
        assert!(limits.len() <= limits.cap(), "more entries than the cap");
        taken
    })
}

/// Two users of a key that is idle, and an insertion that wants its place.
#[test]
fn loom_keyed_insert_vs_evict() {
    model(2, || {
        let limits = Arc::new(Limits::new(1));
        assert_eq!(take(&limits, 1, 0), Ok(true));
        let [user, evictor] = [1, 2].map(|id| {
            let limits = Arc::clone(&limits);
            thread::spawn(move || take(&limits, id, 10))
        });
        let mine = take(&limits, 1, 10);
        let users = [mine, user.join().unwrap()];
        let other = evictor.join().unwrap();
        let granted = users.iter().filter(|user| **user == Ok(true)).count();
        // A grant makes the key busy, so it cannot be evicted after it; and the other key can
        // only be granted in place of the idle one.
        assert!(granted <= 1, "{granted} grants where the quota is 1");
        assert_eq!(granted == 1, other == Err(Overflow), "{users:?} {other:?}");
        assert_eq!(limits.len(), 1);
        assert_eq!(limits.evicted(), u64::from(other.is_ok()));
    });
}

/// Two insertions of one new key agree on its state.
#[test]
fn loom_keyed_same_key() {
    model(3, || {
        let limits = Arc::new(Limits::new(2));
        let user = {
            let limits = Arc::clone(&limits);
            thread::spawn(move || take(&limits, 1, 0))
        };
        let mine = take(&limits, 1, 0);
        let yours = user.join().unwrap();
        assert!(
            mine.is_ok() && yours.is_ok() && mine != yours,
            "{mine:?} {yours:?}"
        );
        assert_eq!(limits.len(), 1);
    });
}

/// Two insertions under different locks race for the last place.
#[test]
fn loom_keyed_last_place() {
    model(3, || {
        let limits = Arc::new(Limits::with_shards(1, 2));
        let user = {
            let limits = Arc::clone(&limits);
            thread::spawn(move || take(&limits, 1 << 64, 0))
        };
        let mine = take(&limits, 0, 0);
        let yours = user.join().unwrap();
        assert!(mine.is_ok() != yours.is_ok(), "{mine:?} {yours:?}");
        assert_eq!((limits.len(), limits.overflowed()), (1, 1));
    });
}
