//! D. Policies that change while requests come: nothing is minted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tower_keep::test_util::ManualClock;
use tower_keep::throttle::{Mode, Policy, ThrottleLayer};
use tower_keep::{Setup, key};

use crate::support::secs;

fn policy(permits: u32, per: Duration, burst: u32) -> Policy {
    let policy = Policy::builder().rate(permits, per).burst(burst);
    policy.build().unwrap()
}

/// Another rate with a smaller burst, and back: neither a key's bucket that is used up
/// nor the common one gets anything of it.
#[test]
fn fault_048_there_and_back_mints_nothing() {
    let (usual, tight) = (policy(100, secs(3_600), 100), policy(7, secs(3_600), 10));
    let key = key::value(|n: &u64| Some(*n));
    let time = ManualClock::new();
    let setup = || Setup::new().with_clock(time.clock());
    let keyed = ThrottleLayer::keyed_with(usual, key, setup()).handle();
    let common = ThrottleLayer::with(usual, setup()).handle();
    let ask = || {
        let keyed = (0..200).filter(|_| keyed.admit_for(&key, &1, 1).is_ok());
        let common = (0..200).filter(|_| common.admit(1).is_ok());
        (keyed.count(), common.count())
    };
    assert_eq!(ask(), (100, 100));
    for policy in [tight, usual, tight, usual] {
        keyed.update(policy);
        common.update(policy);
        assert_eq!(ask(), (0, 0), "no time has passed");
    }
}

/// Updates race with requests, while time stands still.
#[test]
fn fault_048_updates_in_a_loop_mint_nothing() {
    for (name, other) in [
        ("the burst", policy(1_000, secs(1), 10)),
        ("the rate", policy(999, secs(1), 20)),
        ("both", policy(7, secs(1), 10)),
        ("the units", policy(1_000_000, secs(1_001), 20)),
    ] {
        let usual = policy(1_000, secs(1), 20);
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let handle = ThrottleLayer::with(usual, setup).handle();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        let _ = handle.admit(1);
                    }
                });
            }
            for turn in 0..100_000 {
                handle.update(if turn % 2 == 0 { other } else { usual });
            }
            done.store(true, Ordering::Release);
        });
        let admitted = handle.snapshot().admitted;
        assert!(admitted <= 20, "{name}: {admitted} of 20");
    }
}

/// Threads that hold slices of what is updated meanwhile.
#[test]
fn fault_048_updates_of_what_threads_hold_mint_nothing() {
    let exact = policy(1_000, secs(3_600_000), 2_000);
    let leased = |permits, burst| {
        let policy = policy(permits, secs(3_600_000), burst).to_builder();
        policy.mode(Mode::Leased).build().unwrap()
    };
    for other in [exact, leased(1_000, 1_000), leased(7, 2_000)] {
        let usual = leased(1_000, 2_000);
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let handle = ThrottleLayer::with(usual, setup).handle();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        let _ = handle.admit(1);
                    }
                });
            }
            for turn in 0..20_000 {
                handle.update(if turn % 2 == 0 { other } else { usual });
            }
            done.store(true, Ordering::Release);
        });
        let admitted = handle.snapshot().admitted;
        assert!(admitted <= 2_000, "{admitted} of 2000");
    }
}
