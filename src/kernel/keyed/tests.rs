//! Both maps go through the same tests.

use std::sync::atomic::AtomicI64;

use super::*;
use crate::clock::Tick;

/// What a user sees of a state, in either map.
trait Look<V> {
    fn look(&self) -> &V;
    fn is_current(&self) -> bool;
}

impl<V> Look<V> for &V {
    fn look(&self) -> &V {
        self
    }
    fn is_current(&self) -> bool {
        true
    }
}

impl<V> Look<V> for Held<'_, V> {
    fn look(&self) -> &V {
        self.state()
    }
    fn is_current(&self) -> bool {
        (*self).is_current()
    }
}

/// A word as a rate limiter keeps it: the tick until which the key is refused. It retires once
/// that has passed.
#[derive(Default)]
struct Word(AtomicU64);

const DEAD: u64 = u64::MAX;

/// A tick as a word: zero is a fresh one.
fn at(now: u64) -> u64 {
    now.saturating_add(1)
}

impl Evict for Word {
    fn try_retire(&self, now: Tick) -> bool {
        let retire = |until| (until < at(now.as_nanos())).then_some(DEAD);
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
        self.0.store(0, Ordering::Release);
    }
}

/// One grant per `cost` ticks; `None` if the word is dead, or another key's.
fn take(look: &impl Look<Word>, now: u64, cost: u64) -> Option<bool> {
    take_from(look.look(), now, cost, || look.is_current())
}

fn take_from(word: &Word, now: u64, cost: u64, is_current: impl Fn() -> bool) -> Option<bool> {
    loop {
        let until = word.0.load(Ordering::Acquire);
        if until == DEAD || !is_current() {
            return None;
        }
        let next = match until {
            0 => at(now),
            until if until <= at(now) => at(now).saturating_add(cost).min(DEAD - 1),
            _ => return Some(false),
        };
        let taken = word
            .0
            .compare_exchange(until, next, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() && until != 0 {
            return Some(true);
        }
    }
}

/// The states of an [`Index`] that were removed go soon after.
#[test]
fn removed_states_are_freed() {
    struct Tracked<'a>(Word, &'a AtomicI64);
    impl Evict for Tracked<'_> {
        fn try_retire(&self, now: Tick) -> bool {
            self.0.try_retire(now)
        }
    }
    impl Drop for Tracked<'_> {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    const CAP: usize = 5_000;
    let held: &'static AtomicI64 = Box::leak(Box::default());
    let keyed: Keyed<Tracked<'static>> = Keyed::new(CAP);
    let mut most = 0;
    for n in 0..200_000_u64 {
        let make = || {
            held.fetch_add(1, Ordering::Relaxed);
            Tracked(Word::default(), held)
        };
        let key = KeyId::new(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let _ = keyed.with(key, Tick::from_nanos(n), make, |state| {
            take(&&state.0, n, 10)
        });
        most = most.max(held.load(Ordering::Relaxed));
    }
    assert!(keyed.evicted() > 100_000);
    // Lookups of other tests, paused midway, may hold them up.
    assert!(most <= CAP as i64 + 50_000, "{most} states in memory");
}

/// An index over a few keys as it grows and shrinks, with a lookup that only knows some.
#[test]
fn a_table_finds_what_is_there_and_nothing_else() {
    let mut random = 7_u64;
    let mut draw = |n: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % n
    };
    let table: Table<Word> = Table::new(1, 4096);
    // Few hashes, so that cells collide, and the first and the last cell are met.
    let keys: Vec<KeyId> = (0..3_000_u64)
        .map(|n| KeyId::new((n % 61).wrapping_mul(0x0411_0000_0000_0000) ^ n << 16 ^ n))
        .collect();
    let mut there = std::collections::HashMap::new();
    for step in 0..60_000 {
        // Up to nearly all, and down to none again.
        let grows = step / 10_000 % 2 == 0;
        let key = keys[usize::try_from(draw(keys.len() as u64)).unwrap()];
        let place = Place { shard: 0, key };
        assert_eq!(table.get(place), there.get(&key).copied());
        #[allow(clippy::redundant_closure_for_method_calls)] // it is not general enough
        if let Some(slot) = table.peek(place, |held| held.is_current()) {
            assert!(slot && there.contains_key(&key));
        }
        match there.get(&key) {
            None if grows => {
                let slot = table.insert(place, Word::default).unwrap();
                assert!(there.values().all(|other| *other != slot));
                there.insert(key, slot);
            }
            Some(slot) if !grows => {
                table.remove(0, slot);
                there.remove(&key);
            }
            _ => {}
        }
        assert_eq!(table.len(), there.len());
    }
}

mod index {
    pub(super) type Under<V> = super::Index<V>;

    mod suite;
}

mod table {
    pub(super) type Under<V> = super::Table<V>;

    mod suite {
        include!("tests/index/suite.rs");
    }
}
