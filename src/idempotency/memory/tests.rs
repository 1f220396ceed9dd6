//! The memory store: bounds, and what it charges for.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::idempotency::record::{Fingerprint, Owner};
use crate::idempotency::store::Again;

fn ask(number: u64, again: Again) -> Reserve {
    let key = RecordKey::of(&[&number.to_le_bytes()]);
    let mut ask = Reserve::new(key, Fingerprint::of(b""), Owner::random());
    ask.again = again;
    ask
}

fn token(said: &Reservation) -> Token {
    match said {
        Reservation::Granted { token, .. } => *token,
        said => panic!("not granted: {said:?}"),
    }
}

#[test]
fn extremes_are_refused_by_their_names() {
    for (entries, bytes, field) in [(0, 1_000, "max_entries"), (1, 255, "max_bytes")] {
        let store = MemoryStore::new(entries, bytes, Clock::default());
        assert_eq!(store.unwrap_err().field(), field);
    }
    assert!(MemoryStore::new(u64::MAX, u64::MAX, Clock::default()).is_ok());
}

#[test]
fn a_full_store_refuses_newcomers_and_keeps_all_it_has() {
    let time = ManualClock::new();
    let store = MemoryStore::new(100, 1 << 30, time.clock()).unwrap();
    let inner = &store.inner;
    for number in 0..100 {
        token(&inner.reserve(&ask(number, Again::Never)));
    }
    for number in 100..200 {
        let said = inner.reserve(&ask(number, Again::Never));
        assert_eq!(said, Reservation::Full);
    }
    for number in 0..100 {
        let said = inner.reserve(&ask(number, Again::Never));
        assert!(matches!(said, Reservation::Busy { .. }), "{said:?}");
    }
    // When their time is over, they make room.
    time.advance(Duration::from_secs(90 + 86_400));
    let granted = (200..1_000).filter(|number| {
        let said = inner.reserve(&ask(*number, Again::Never));
        matches!(said, Reservation::Granted { .. })
    });
    assert_eq!(granted.count(), 100);
}

#[test]
fn a_record_that_has_no_room_leaves_its_grant() {
    let time = ManualClock::new();
    let store = MemoryStore::new(10, 1_000, time.clock()).unwrap();
    let first = ask(1, Again::Never);
    let token = token(&store.inner.reserve(&first));
    let complete = |length| {
        let record = Bytes::from(vec![1; length]);
        store
            .inner
            .complete(first.key, token, record, Duration::from_secs(60))
    };
    assert_eq!(complete(2_000), Completion::NoRoom);
    assert_eq!(store.usage().bytes, CHARGE);
    assert_eq!(complete(ROOM), Completion::Done);
    assert_eq!(store.usage().bytes, CHARGE);
}

#[derive(Debug, Clone)]
enum Op {
    Reserve(u64),
    Complete(u64, usize),
    Release(u64),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..40u64).prop_map(Op::Reserve),
        2 => (0..40u64, 0..300usize).prop_map(|(key, length)| Op::Complete(key, length)),
        1 => (0..40u64).prop_map(Op::Release),
        1 => (0..60_000u64).prop_map(Op::Advance),
    ]
}

proptest! {
    /// Whatever is done: it never holds more than it may, and what it says it holds is
    /// the sum of what is there.
    #[test]
    fn its_books_are_right(ops in prop::collection::vec(op(), 1..300)) {
        let time = ManualClock::new();
        let store = MemoryStore::new(20, 6_000, time.clock()).unwrap();
        let inner = &store.inner;
        let mut tokens = HashMap::new();
        for op in ops {
            match op {
                Op::Reserve(key) => {
                    if let Reservation::Granted { token, .. } =
                        inner.reserve(&ask(key, Again::Allowed))
                    {
                        tokens.insert(key, token);
                    }
                }
                Op::Complete(key, length) => {
                    if let Some(token) = tokens.get(&key) {
                        let record = Bytes::from(vec![1; length]);
                        let key = ask(key, Again::Never).key;
                        inner.complete(key, *token, record, Duration::from_secs(3_000));
                    }
                }
                Op::Release(key) => {
                    if let Some(token) = tokens.get(&key) {
                        inner.release(ask(key, Again::Never).key, *token);
                    }
                }
                Op::Advance(seconds) => time.advance(Duration::from_secs(seconds)),
            }
            let usage = store.usage();
            prop_assert!(usage.entries <= 20 && usage.bytes <= 6_000, "{:?}", usage);
            let (mut entries, mut bytes) = (0, 0);
            for shard in &inner.shards {
                let shard = shard.0.lock();
                prop_assert_eq!(shard.places.len(), shard.slots.len());
                for (at, slot) in shard.slots.iter().enumerate() {
                    prop_assert_eq!(shard.places.get(&slot.place), Some(&at));
                    entries += 1;
                    bytes += CHARGE + charge(slot.entry.as_ref());
                }
            }
            prop_assert_eq!((usage.entries, usage.bytes), (entries, bytes));
        }
    }
}

#[test]
fn fault_069_of_many_threads_one_is_granted() {
    let store = MemoryStore::default();
    for round in 0..100 {
        let granted = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let said = store.inner.reserve(&ask(round, Again::Allowed));
                    if matches!(said, Reservation::Granted { .. }) {
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 1);
    }
}

#[cfg(feature = "test-util")]
#[test]
fn it_conforms() {
    use crate::idempotency::conformance;
    use crate::test_util::finish_on;

    let time = ManualClock::new();
    let store = MemoryStore::new(1_000, 1_000_000, time.clock()).unwrap();
    let suite = conformance::verify(&store, async |pause| time.advance(pause));
    assert!(finish_on(&time, suite).is_some());
}
