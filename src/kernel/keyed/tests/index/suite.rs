use std::{
    collections::HashMap,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Barrier, atomic::AtomicBool},
};

use proptest::prelude::*;

use super::super::*;
use super::Under;
use crate::key::{KeySpace, value};

fn key(id: u64) -> KeyId {
    // Small numbers as they are would all meet in one bucket.
    let mixed = (id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    KeyId::new(mixed ^ mixed >> 32)
}

type Limits = Keyed<Word, Under<Word>>;

fn with(keyed: &Limits, id: KeyId, now: u64, cost: u64) -> Result<bool, Overflow> {
    keyed.with(id, Tick::from_nanos(now), Word::default, |word| {
        take(&word, now, cost)
    })
}

fn entries(keyed: &Limits) -> usize {
    keyed
        .shards
        .iter()
        .map(|shard| shard.0.lock().entries.len())
        .sum()
}

proptest! {
    /// Against a map that never evicts. All entries are asked (the cap is at most the probes), so
    /// a key is refused a place exactly if the cap is full of others that are not idle.
    #[test]
    fn agrees_with_an_unbounded_map(
        cap in 1..=PROBES,
        ops in prop::collection::vec((0_u64..24, 0_u64..4, 0_u64..40), 1..400),
    ) {
        let keyed = Limits::new(cap);
        let mut model: HashMap<u64, u64> = HashMap::new();
        let mut now = 0;
        for (id, step, cost) in ops {
            now += step;
            let busy = model.values().filter(|&&until| until >= now).count();
            let until = model.get(&id).copied().unwrap_or(0);
            let kept = model.get(&id).is_some_and(|&until| until >= now);
            let expected = match until <= now {
                true if busy == cap && !kept => Err(Overflow),
                granted => Ok(granted),
            };
            if expected == Ok(true) {
                model.insert(id, now + cost);
            }
            prop_assert_eq!(with(&keyed, key(id), now, cost), expected);
            prop_assert!(keyed.len() <= cap);
            prop_assert_eq!(keyed.len(), entries(&keyed));
            prop_assert_eq!(keyed.len(), keyed.map.len());
        }
    }
}

/// Fault 37: one state per key and no grant over the quota, with evictions all the time.
#[test]
fn threads_agree_on_one_state_per_key() {
    const THREADS: usize = 16;
    const KEYS: usize = 96;
    const CAP: usize = 24;
    const ROUNDS: usize = 400;
    const COST: u64 = 25;

    let grants: Vec<AtomicU64> = (0..KEYS * ROUNDS).map(|_| AtomicU64::new(0)).collect();
    let keyed = Limits::new(CAP);
    let barrier = Barrier::new(THREADS);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (keyed, grants, barrier, over) = (&keyed, &grants, &barrier, &over);
            scope.spawn(move || {
                let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(thread as u64 + 1);
                for round in 0..ROUNDS {
                    // One tick for all threads of a round: grants are compared by rounds.
                    barrier.wait();
                    let now = round as u64 * 10;
                    for op in 0..48 {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        // All at the same key first, then each at its own.
                        let id = if op == 0 { round as u64 } else { random } % KEYS as u64;
                        let id = usize::try_from(id).unwrap();
                        // A panic must not leave the others at the barrier.
                        let granted = catch_unwind(AssertUnwindSafe(|| {
                            with(keyed, key(id as u64), now, COST)
                        }));
                        over.fetch_or(granted.is_err(), Ordering::Relaxed);
                        if matches!(granted, Ok(Ok(true))) {
                            grants[id * ROUNDS + round].fetch_add(1, Ordering::Relaxed);
                        }
                        let len = keyed.len().max(keyed.map.len());
                        over.fetch_or(len > CAP, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!over.into_inner(), "more entries than the cap, or a panic");
    assert!(
        keyed.evicted() > 1000 && keyed.overflowed() > 1000,
        "{keyed:?}"
    );
    for id in 0..KEYS {
        // A grant lasts 25 ticks, so at most one in any three rounds.
        let rounds = &grants[id * ROUNDS..(id + 1) * ROUNDS];
        for three in rounds.windows(3) {
            let sum: u64 = three.iter().map(|n| n.load(Ordering::Relaxed)).sum();
            assert!(sum <= 1, "{sum} grants of key {id} where the quota is 1");
        }
    }
}

/// Resident memory of this process in bytes.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// How many keys a flood has: a million, or what `KEEP_FLOOD` says (then run the test alone).
fn flood() -> u64 {
    std::env::var("KEEP_FLOOD")
        .ok()
        .and_then(|keys| keys.parse().ok())
        .unwrap_or(1_000_000)
}

/// Faults 50 and 51: a flood of keys neither grows the map, nor evicts a penalty, nor disturbs
/// the keys that are in use.
#[test]
fn fault_050_flood_is_bounded() {
    const CAP: usize = 50_000;
    const HOT: u64 = 1_000;
    const BYTES_PER_ENTRY: usize = 200;

    let space = KeySpace::new();
    let id = |n: u64| space.id(&value(|n: &u64| Some(*n)), &n).unwrap();
    let keyed = Limits::new(CAP);
    let with = |n, now, cost| with(&keyed, id(n), now, cost);
    let before = resident();
    // Penalised far beyond the flood, each with a state that differs from a fresh one.
    for hot in 0..HOT {
        assert_eq!(with(hot, 0, u64::MAX / 2), Ok(true));
    }
    // Each key of the flood is busy for as long as 40,000 others take: idle ones are rare.
    for n in 0..flood() {
        let _ = with(HOT + n, n, 40_000);
        if n % 1024 == 0 {
            assert!(keyed.len() <= CAP);
        }
    }
    assert_eq!(keyed.len(), CAP);
    assert!(keyed.map.len() <= CAP);
    assert!(keyed.evicted() + keyed.overflowed() + CAP as u64 >= flood() + HOT);
    assert!(keyed.evicted() > flood() / 2, "{keyed:?}");
    for hot in 0..HOT {
        assert_eq!(with(hot, flood(), 1), Ok(false), "a penalty was evicted");
    }
    // The process's memory means something only if no other test runs in it.
    if let (Ok(_), Some(before), Some(after)) = (std::env::var("KEEP_FLOOD"), before, resident()) {
        let grown = after.saturating_sub(before);
        println!("{} bytes per entry", grown / CAP);
        assert!(grown <= CAP * BYTES_PER_ENTRY * 11 / 10, "{grown} bytes");
    }
}

/// Fault 51: at the cap, with no idle entry, nobody gets in and nobody is put out.
#[test]
fn fault_051_penalties_stay() {
    let keyed = Limits::new(4096);
    for n in 0..4096 {
        assert_eq!(with(&keyed, key(n), 0, 1000), Ok(true));
    }
    for n in 4096..50_000 {
        assert_eq!(with(&keyed, key(n), 999, 1000), Err(Overflow));
    }
    assert_eq!(
        (keyed.len(), keyed.evicted(), keyed.overflowed()),
        (4096, 0, 45_904)
    );
    for n in 0..4096 {
        assert_eq!(with(&keyed, key(n), 999, 1), Ok(false));
    }
    // All are idle now.
    assert_eq!(with(&keyed, key(5000), 1001, 1), Ok(true));
    assert_eq!((keyed.len(), keyed.evicted()), (4096, 1));
}

/// The hand goes round: an idle entry is found after at most `cap / PROBES` refusals.
#[test]
fn the_hand_reaches_every_entry() {
    let keyed = Limits::new(200);
    for n in 0..200 {
        assert_eq!(
            with(&keyed, key(n), 0, if n == 131 { 9 } else { 1000 }),
            Ok(true)
        );
    }
    let refused = (200..400)
        .take_while(|&n| with(&keyed, key(n), 10, 1000).is_err())
        .count();
    assert_eq!(refused, 131 / PROBES);
    assert_eq!((keyed.len(), keyed.evicted()), (200, 1));
}

/// Fault 52: with a keyed hash, neither shards nor buckets can be chosen.
#[test]
fn fault_052_ids_spread_evenly() {
    fn largest<T: Eq + Hash>(of: impl Iterator<Item = T>) -> usize {
        let mut sizes: HashMap<T, usize> = HashMap::new();
        of.for_each(|bin| *sizes.entry(bin).or_default() += 1);
        sizes.into_values().max().unwrap()
    }
    let space = KeySpace::new();
    let keyed = Limits::new(1 << 16);
    let ids: Vec<KeyId> = (0..1 << 16)
        .map(|n: u64| space.id(&value(|n: &u64| Some(*n)), &n).unwrap())
        .collect();
    for &id in &ids {
        assert_eq!(with(&keyed, id, 0, 1), Ok(true));
    }
    let shard = keyed
        .shards
        .iter()
        .map(|shard| shard.0.lock().entries.len())
        .max()
        .unwrap();
    assert!(
        shard <= (1 << 16) / SHARDS * 2,
        "the largest shard holds {shard}"
    );
    // What the maps look at: high bits for the bucket or the cell, low bits for the rest.
    assert!(largest(ids.iter().map(|id| id.as_u64() >> 56)) <= 512);
    assert!(largest(ids.iter().map(|id| id.as_u64() & 0xff)) <= 512);
}

#[test]
fn panics_leave_everything_in_order() {
    let keyed = Limits::new(1);
    let tick = Tick::from_nanos(2);
    let panics = |make: fn() -> Word, f: fn(&Word) -> Option<bool>| {
        catch_unwind(AssertUnwindSafe(|| {
            keyed.with(key(7), tick, make, |word| f(word.look()))
        }))
        .is_err()
    };
    assert!(panics(|| panic!("make"), |_| None));
    assert_eq!((keyed.len(), entries(&keyed), keyed.map.len()), (0, 0, 0));
    assert!(panics(Word::default, |_| panic!("f")));
    assert_eq!((keyed.len(), entries(&keyed), keyed.map.len()), (1, 1, 1));
    // The entry is whole and idle: another key may have its place, also by a panic.
    assert_eq!(with(&keyed, key(8), 1, 0), Ok(true));
    assert!(panics(|| panic!("make"), |_| panic!("f")));
    let len = keyed.len();
    assert_eq!((entries(&keyed), keyed.map.len()), (len, len));
    assert_eq!(with(&keyed, key(7), 2, 1), Ok(true));
}

#[test]
fn a_state_retired_from_outside_is_replaced() {
    let keyed = Limits::new(2);
    assert_eq!(with(&keyed, key(1), 0, 5), Ok(true));
    let retired = keyed.with(key(1), Tick::from_nanos(6), Word::default, |word| {
        Some(word.look().try_retire(Tick::from_nanos(6)))
    });
    assert_eq!(retired, Ok(true));
    assert_eq!(with(&keyed, key(1), 6, 5), Ok(true));
    assert_eq!(with(&keyed, key(1), 7, 5), Ok(false));
    assert_eq!((keyed.len(), entries(&keyed), keyed.map.len()), (1, 1, 1));
}
