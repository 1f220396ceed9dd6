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
    kernel::keyed::{Evict, Keyed, Map, Overflow, Place, Recycle, Table},
    key::KeyId,
};

/// A map as [`Index`](crate::kernel::keyed::Index) behaves: a lookup may go on with an entry that
/// is removed meanwhile.
struct Model<V>(Mutex<HashMap<KeyId, Arc<(KeyId, V)>>>);

impl<V> Map<V> for Model<V> {
    type Entry = Arc<(KeyId, V)>;
    type View<'a>
        = &'a V
    where
        V: 'a;

    fn new(_: usize, _: usize) -> Self {
        Self(Mutex::new(HashMap::new()))
    }
    fn peek<R>(&self, at: Place, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.get(at).map(|entry| f(&entry.1))
    }
    fn get(&self, at: Place) -> Option<Self::Entry> {
        self.0.lock().unwrap().get(&at.key).cloned()
    }
    fn insert(&self, at: Place, make: impl Fn() -> V) -> Option<Self::Entry> {
        let entry = Arc::new((at.key, make()));
        let other = self.0.lock().unwrap().insert(at.key, Arc::clone(&entry));
        assert!(other.is_none(), "two states of one key");
        Some(entry)
    }
    fn state<'a>(&'a self, entry: &'a Self::Entry) -> Option<&'a V> {
        Some(&entry.1)
    }
    fn view<'a>(&'a self, entry: &'a Self::Entry, _: KeyId) -> Option<&'a V> {
        Some(&entry.1)
    }
    fn is(&self, one: &Self::Entry, other: &Self::Entry) -> bool {
        Arc::ptr_eq(one, other)
    }
    fn remove(&self, _: usize, entry: &Self::Entry) {
        let removed = self.0.lock().unwrap().remove(&entry.0);
        assert!(removed.is_some(), "removed twice");
    }
}

/// The tick until which the key is refused.
struct Word(AtomicU64);

const DEAD: u64 = u64::MAX;
const FRESH: u64 = 0;

impl Evict for Word {
    fn try_retire(&self, now: Tick) -> bool {
        let retire = |until| (until < now.as_nanos()).then_some(DEAD);
        match self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, retire)
        {
            Ok(_) => true,
            Err(until) => until == DEAD,
        }
    }
}

impl Recycle for Word {
    fn renew(&self) {
        self.0.store(FRESH, Ordering::Release);
    }
}

/// One grant per ten ticks.
fn draw(word: &Word, now: u64, is_current: impl Fn() -> bool) -> Option<bool> {
    loop {
        let until = word.0.load(Ordering::Acquire);
        if until == DEAD || !is_current() {
            return None;
        }
        let next = match until {
            // A step that grants nothing: see `Recycle`.
            FRESH => now,
            until if until <= now => now + 10,
            _ => return Some(false),
        };
        let taken = word
            .0
            .compare_exchange(until, next, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() && until != FRESH {
            return Some(true);
        }
    }
}

type Limits = Keyed<Word, Model<Word>>;
type InPlace = Keyed<Word, Table<Word>>;

fn fresh() -> Word {
    Word(AtomicU64::new(FRESH))
}

fn take(limits: &Limits, id: u64, now: u64) -> Result<bool, Overflow> {
    let (key, tick) = (KeyId::new(id), Tick::from_nanos(now));
    limits.with(key, tick, fresh, |word| {
        let taken = draw(word, now, || true);
        assert!(limits.len() <= limits.cap(), "more entries than the cap");
        taken
    })
}

fn take_in_place(limits: &InPlace, id: u64, now: u64) -> Result<bool, Overflow> {
    let (key, tick) = (KeyId::new(id), Tick::from_nanos(now));
    limits.with(key, tick, fresh, |word| {
        draw(word.state(), now, || word.is_current())
    })
}

/// As below, with slots that are given to another key.
#[test]
fn loom_keyed_slot_for_another_key() {
    model(2, || {
        let limits = Arc::new(InPlace::new(1));
        assert_eq!(take_in_place(&limits, 1, 1), Ok(true));
        let [user, evictor] = [1, 2].map(|id| {
            let limits = Arc::clone(&limits);
            thread::spawn(move || take_in_place(&limits, id, 12))
        });
        let mine = take_in_place(&limits, 1, 12);
        let users = [mine, user.join().unwrap()];
        let other = evictor.join().unwrap();
        let granted = users.iter().filter(|user| **user == Ok(true)).count();
        assert!(granted <= 1, "{granted} grants where the quota is 1");
        assert_eq!(granted == 1, other == Err(Overflow), "{users:?} {other:?}");
        // Whoever was put out of the only place has taken nothing from the other.
        if other.is_ok() {
            assert_eq!(take_in_place(&limits, 2, 21), Ok(false));
            assert_eq!(take_in_place(&limits, 2, 22), Ok(true));
        }
        assert_eq!(limits.len(), 1);
    });
}

/// Two users of a key that is idle, and an insertion that wants its place.
#[test]
fn loom_keyed_insert_vs_evict() {
    model(2, || {
        let limits = Arc::new(Limits::new(1));
        assert_eq!(take(&limits, 1, 1), Ok(true));
        let [user, evictor] = [1, 2].map(|id| {
            let limits = Arc::clone(&limits);
            thread::spawn(move || take(&limits, id, 12))
        });
        let mine = take(&limits, 1, 12);
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
            thread::spawn(move || take(&limits, 1, 1))
        };
        let mine = take(&limits, 1, 1);
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
            thread::spawn(move || take(&limits, 3, 1))
        };
        let mine = take(&limits, 2, 1);
        let yours = user.join().unwrap();
        assert!(mine.is_ok() != yours.is_ok(), "{mine:?} {yours:?}");
        assert_eq!((limits.len(), limits.overflowed()), (1, 1));
    });
}
