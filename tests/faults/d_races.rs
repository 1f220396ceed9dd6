//! D. Updates of a throttle beside requests, reservations and a clock that jumps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use tower_keep::clock::Tick;
use tower_keep::kernel::gcra::{Decision, Gcra, Quota, Reservation};
use tower_keep::test_util::{ManualClock, Seed};
use tower_keep::throttle::{Handle, Policy, ThrottleLayer};
use tower_keep::{Setup, key};

use crate::support::{ms, secs};

/// An hour after the beginning of time.
const NOW: Tick = Tick::from_nanos(3_600_000_000_000);

fn quota(permits: u32, per: Duration, burst: u32) -> Quota {
    Quota::new(permits, per, burst, secs(3600)).unwrap()
}

fn policy(permits: u32, per: Duration, burst: u32) -> Policy {
    let policy = Policy::builder().rate(permits, per).burst(burst);
    policy.max_wait(secs(10)).build().unwrap()
}

fn throttle(policy: Policy) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    (time, ThrottleLayer::with(policy, setup).handle())
}

fn is_admitted(gcra: &Gcra, quota: &Quota) -> bool {
    matches!(
        gcra.admit(quota, NOW, 1, Duration::ZERO),
        Decision::Admit(_)
    )
}

fn reserve(gcra: &Gcra, quota: &Quota, wait: Duration) -> Option<Reservation> {
    match gcra.admit(quota, NOW, 1, wait) {
        Decision::Wait { reserved, .. } => reserved,
        _ => None,
    }
}

/// One that is given back after two updates gives back what it has taken, or nothing.
#[test]
fn fault_048_a_cancelled_place_mints_nothing_after_updates() {
    let (a, b) = (quota(50, secs(1), 1), quota(100, secs(1), 3));
    let gcra = Gcra::new();
    assert!(is_admitted(&gcra, &a));
    let place = reserve(&gcra, &a, secs(1)).unwrap();
    // Twice: then a bucket has the form of its beginning, with other numbers in it.
    gcra.change(&a, &b, NOW, || {});
    gcra.change(&b, &quota(100, secs(1), 4), NOW, || {});
    gcra.change(&quota(100, secs(1), 4), &b, NOW, || {});
    let wait = || match gcra.admit(&b, NOW, 3, Duration::ZERO) {
        Decision::Wait { wait, .. } => wait,
        other => panic!("{other:?}"),
    };
    let before = wait();
    gcra.cancel(place);
    assert!(before - wait() <= ms(10), "a request is 10 ms");
}

/// The clock stands still: what a bucket had is all there is, whatever is updated,
/// reserved and given back.
#[test]
fn fault_048_while_time_stands_still_nothing_is_minted() {
    let rates = [
        (1, 1_000),
        (7, 1_000),
        (50, 1_000),
        (100, 1_000),
        (30, 1),
        (999, 1_000),
    ];
    let quotas: Vec<_> = rates
        .into_iter()
        .flat_map(|(permits, per)| [1, 2, 5, 10].map(|burst| quota(permits, ms(per), burst)))
        .collect();
    let mut random = Seed::from_env().rng();
    for _ in 0..20_000 {
        let mut now = quotas[random.random_range(0..quotas.len())];
        let gcra = Gcra::new();
        while is_admitted(&gcra, &now) {}
        let mut places = Vec::new();
        for _ in 0..12 {
            match random.random_range(0..3) {
                0 => {
                    let next = quotas[random.random_range(0..quotas.len())];
                    gcra.change(&now, &next, NOW, || {});
                    now = next;
                }
                1 => places.extend(reserve(&gcra, &now, secs(10))),
                _ if !places.is_empty() => {
                    let place = random.random_range(0..places.len());
                    gcra.cancel(places.swap_remove(place));
                }
                _ => {}
            }
            assert!(!is_admitted(&gcra, &now), "minted under {now:?}");
        }
    }
}

/// A request that was interrupted between reading the word and swapping it, while two
/// updates passed, writes nothing under the other quota.
#[test]
fn fault_048_a_late_swap_does_not_reach_another_quota() {
    let us = Duration::from_micros;
    // Eight units a nanosecond, and two.
    let (fine, coarse) = (policy(7, us(10), 7), policy(1, us(10), 1));
    let (time, handle) = throttle(coarse);
    time.advance(secs(600));
    let stop = AtomicBool::new(false);
    let mut worst = Duration::ZERO;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    time.advance(us(20));
                    handle.update(coarse);
                    handle.update(policy(1, us(10), 2));
                }
            });
        }
        for _ in 0..30_000 {
            time.advance(us(20));
            handle.update(fine);
            let _ = handle.admit(1);
            time.advance(us(20));
            if let Err(refused) = handle.admit(1) {
                worst = worst.max(refused.retry_after().unwrap());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(worst <= secs(1), "one in 10 us, and refused for {worst:?}");
}

/// Who read the clock before others did owes time, and not the requests of that time.
#[test]
fn fault_020_a_late_reading_beside_an_update_is_no_debt() {
    let (time, handle) = throttle(policy(1000, secs(1), 1));
    time.advance(secs(60));
    assert!(handle.admit(1).is_ok());
    time.rewind(ms(10));
    handle.update(policy(1, secs(1), 1));
    time.advance(ms(10));
    let wait = handle.admit(1).unwrap_err().retry_after().unwrap();
    assert!(wait <= secs(1), "one a second, and refused for {wait:?}");
}

/// The new rate refills what nobody has asked for since: keys as well.
#[test]
fn fault_028_a_lower_rate_counts_for_keys_that_rest() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let by = key::value(|n: &u32| Some(*n));
    let handle = ThrottleLayer::keyed_with(policy(10, secs(1), 10), by, setup).handle();
    let ask = |key: u32| {
        (0..50)
            .filter(|_| handle.admit_for(&by, &key, 1).is_ok())
            .count()
    };
    let common = || (0..50).filter(|_| handle.admit(1).is_ok()).count();
    time.advance(secs(60));
    assert_eq!((ask(1), common()), (10, 10));
    // One an hour; then one a second.
    handle.update(policy(10, secs(36_000), 10));
    time.advance(secs(60));
    assert_eq!((ask(1), common()), (0, 0));
    handle.update(policy(1, secs(1), 10));
    time.advance(secs(3));
    assert_eq!((ask(1), common()), (3, 3));
}
