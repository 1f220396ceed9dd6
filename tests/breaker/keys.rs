//! One circuit per key.

use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, Handle, KeyedCircuit, Kind, Policy, PolicyBuilder,
};
use tower_keep::classify::Outcome;
use tower_keep::event::{Event, Source};
use tower_keep::key::{self, Key};
use tower_keep::test_util::ManualClock;
use tower_keep::{Ratio, Setup};

use crate::behaviour::{BAD, fixed};
use crate::support::secs;

/// A breaker by number, with this policy.
fn keyed(policy: PolicyBuilder) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = CircuitBreakerLayer::keyed_with(policy.build().unwrap(), by(), setup);
    (time, layer.handle())
}

fn by() -> impl Key<u32> + Copy {
    key::value(|n: &u32| Some(*n))
}

/// What the rule of m among n remembers is a penalty, too.
#[test]
fn a_flood_of_keys_does_not_clear_recent() {
    let by = by();
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed().recent(3, 10).max_keys(1).max_open_wait(secs(60));
    let handle = CircuitBreakerLayer::keyed_with(policy.build().unwrap(), by, setup).handle();
    time.advance(secs(1_000));
    for outcome in [BAD, BAD, Outcome::Success] {
        handle.admit_for(&by, &1).unwrap().finish(outcome);
    }
    // The flood.
    for n in 2..50 {
        handle.admit_for(&by, &n).unwrap().finish(Outcome::Success);
    }
    handle.admit_for(&by, &1).unwrap().finish(BAD);
    assert_eq!(handle.snapshot().keys_evicted, 0);
    assert!(handle.admit_for(&by, &1).is_err(), "3 of the last 4 failed");
}

/// And the share of a kind that refuses one.
#[test]
fn a_flood_of_keys_does_not_clear_a_share() {
    let by = by();
    for kind in [
        Kind::ClientThrottle,
        Kind::AdmissionControl { aggression: 1 },
        Kind::Ewma,
    ] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let policy = Policy::builder().kind(kind).max_keys(1);
        let handle = CircuitBreakerLayer::keyed_with(policy.build().unwrap(), by, setup).handle();
        time.advance(secs(1_000));
        for _ in 0..100 {
            if let Ok(permit) = handle.admit_for(&by, &1) {
                permit.finish(BAD);
            }
        }
        let before = handle.circuit(&by, &1).unwrap().snapshot().refused_share;
        assert!(before > 0.7);
        for n in 2..50 {
            drop(handle.admit_for(&by, &n));
        }
        let after = handle.circuit(&by, &1).map(|c| c.snapshot().refused_share);
        assert_eq!(after, Some(before), "{kind:?}");
    }
}

/// A key is kept for its time window, however short its wait.
#[test]
fn a_flood_does_not_keep_a_failing_key_closed() {
    let by = by();
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed()
        .failure_ratio(Ratio::percent(50))
        .minimum_calls(5)
        .time_window(secs(60))
        .max_keys(10);
    let handle = CircuitBreakerLayer::keyed_with(policy.build().unwrap(), by, setup).handle();
    let mut refused = 0;
    for round in 0..100 {
        match handle.admit_for(&by, &0) {
            Ok(permit) => permit.finish(BAD),
            Err(_) => refused += 1,
        }
        time.advance(secs(2));
        for n in 0..20 {
            drop(handle.admit_for(&by, &(1 + round * 20 + n)));
        }
    }
    let trips = handle.snapshot().trips;
    assert!(
        refused + trips > 0,
        "100 failures in a row, 30 in any minute, no trip"
    );
}

/// A circuit that made room while it was open is open no more.
#[test]
fn a_circuit_that_is_gone_is_not_open() {
    let by = by();
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed().consecutive(1).max_keys(1).build().unwrap();
    let handle = CircuitBreakerLayer::keyed_with(policy, by, setup).handle();
    for n in 0..20 {
        handle.admit_for(&by, &n).unwrap().finish(BAD);
        time.advance(secs(3));
    }
    let seen = handle.snapshot();
    assert_eq!(seen.keys, 1);
    assert!(
        seen.not_closed <= seen.keys,
        "{} of {}",
        seen.not_closed,
        seen.keys
    );
}

/// Runs both at about the same moment, in many rounds, with a growing delay for one or the
/// other; says how often `stale` was true afterwards.
fn race(
    rounds: u32,
    one: impl Fn(u32) + Sync,
    other: impl Fn(u32) + Sync,
    stale: impl Fn(u32) -> bool,
) -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    let (turn, done) = (AtomicU32::new(0), AtomicU32::new(0));
    let spin = |n: u32| (0..n).for_each(|_| std::hint::spin_loop());
    let mut found = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=rounds {
                while turn.load(Ordering::Acquire) != round {
                    std::hint::spin_loop();
                }
                spin((round % 64) * 4);
                one(round);
                done.store(round, Ordering::Release);
            }
        });
        for round in 1..=rounds {
            turn.store(round, Ordering::Release);
            spin((round / 64 % 64) * 4);
            other(round);
            while done.load(Ordering::Acquire) != round {
                std::hint::spin_loop();
            }
            found += u32::from(stale(round));
        }
    });
    found
}

/// A circuit that is made while the policy is replaced does not keep the old one.
#[test]
fn a_key_made_during_an_update_follows_it() {
    let by = by();
    let policy = |n: u32| fixed().consecutive(n).max_keys(1_000_000).build().unwrap();
    let handle = CircuitBreakerLayer::keyed(policy(1), by).handle();
    let admit = |n: u32| drop(handle.admit_for(&by, &n));
    let stale = race(
        1_000,
        admit,
        |n| handle.update(policy(n + 1)),
        |n| {
            admit(n);
            handle.circuit(&by, &n).unwrap().policy() != handle.policy()
        },
    );
    assert_eq!(stale, 0);
}

/// Nor does one that follows while its own policy is replaced.
#[test]
fn a_key_that_follows_during_its_update_follows_it() {
    let by = by();
    let policy = |n: u32| fixed().consecutive(n).build().unwrap();
    let handle = CircuitBreakerLayer::keyed(policy(1), by).handle();
    let admit = |_| drop(handle.admit_for(&by, &0));
    admit(0);
    handle.update_for(&by, &0, Some(policy(1))).unwrap();
    let stale = race(
        1_000,
        admit,
        |n| handle.update_for(&by, &0, Some(policy(n))).unwrap(),
        |n| {
            admit(0);
            let stale = handle.circuit(&by, &0).unwrap().policy() != policy(n);
            // It is behind at the begin of the next round.
            handle.update(policy(1));
            stale
        },
    );
    assert_eq!(stale, 0);
}

/// An operator finds what is open, whose it is, and closes all of it.
#[test]
fn open_circuits_are_found_and_reset() {
    let by = by();
    let (_, handle) = keyed(fixed().consecutive(1));
    for n in 0..50 {
        let outcome = if n % 5 == 0 { BAD } else { Outcome::Success };
        handle.admit_for(&by, &n).unwrap().finish(outcome);
    }
    let open = handle.open_circuits();
    let mut found: Vec<_> = open.iter().map(KeyedCircuit::key).collect();
    found.sort_unstable();
    let mut expected: Vec<_> = (0..50)
        .step_by(5)
        .map(|n| {
            handle
                .circuit(&by, &n)
                .unwrap()
                .snapshot()
                .opened
                .unwrap()
                .key
                .unwrap()
        })
        .collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(handle.snapshot().not_closed, 10);
    open[0].reset();
    assert_eq!(handle.open_circuits().len(), 9);
    handle.reset();
    assert_eq!(handle.open_circuits().len(), 0);
    assert_eq!(handle.snapshot().not_closed, 0);
    assert!((0..50).all(|n| handle.admit_for(&by, &n).is_ok()));
}

/// Ending the half-open state by hand is for all keys as well.
#[test]
fn probes_of_all_keys_are_drained() {
    let by = by();
    let (time, handle) = keyed(fixed().consecutive(1));
    for n in 0..3 {
        handle.admit_for(&by, &n).unwrap().finish(BAD);
    }
    time.advance(secs(1));
    for n in 0..3 {
        handle.admit_for(&by, &n).unwrap().finish(Outcome::Neutral);
    }
    let states = || (0..3).map(|n| handle.circuit(&by, &n).unwrap().snapshot().state);
    assert!(states().all(|state| state == CircuitState::HalfOpen));
    handle.drain_probes();
    assert!(states().all(|state| state == CircuitState::Open));
}

/// A policy for one key is told like one for all.
#[test]
fn an_update_of_a_key_is_told() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let setup = Setup::new().with_listener(move |_: &Source<'_>, event: &Event<'_>| {
        if let Event::Updated = event {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let policy = fixed().consecutive(1).max_keys(1).build().unwrap();
    let handle = CircuitBreakerLayer::keyed_with(policy, by(), setup).handle();
    handle.update_for(&by(), &1, Some(policy)).unwrap();
    handle.update_for(&by(), &2, Some(policy)).unwrap_err();
    assert_eq!(told.load(Ordering::Relaxed), 1);
    handle.update_for(&by(), &1, None).unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 2);
}

/// A key in a ramp is being held back: a flood of keys does not free it.
#[test]
fn a_flood_of_keys_ends_no_ramp() {
    let by = key::value(|n: &u32| Some(*n));
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed().consecutive(1).ramp(secs(3600)).max_keys(1);
    let handle = CircuitBreakerLayer::keyed_with(policy.build().unwrap(), by, setup).handle();
    handle.admit_for(&by, &0).unwrap().finish(BAD);
    time.advance(secs(1));
    handle.admit_for(&by, &0).unwrap().finish(Outcome::Success);
    time.advance(secs(2));
    for other in 1..50 {
        time.advance(secs(1));
        drop(handle.admit_for(&by, &other));
    }
    let pass = |_: &u32| {
        let permit = handle.admit_for(&by, &0);
        permit.map(|p| p.finish(Outcome::Success)).is_ok()
    };
    assert_eq!((0..100).filter(pass).count(), 10);
    time.advance(secs(3600));
    assert_eq!((0..100).filter(pass).count(), 100);
}
