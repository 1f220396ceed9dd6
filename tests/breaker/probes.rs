//! Probes, and how they end.

use tower_keep::Ratio;
use tower_keep::circuit_breaker::{CircuitState, CloseAfter, Permit};
use tower_keep::classify::Outcome;

use crate::behaviour::{BAD, breaker, finish, fixed, state};
use crate::support::{ms, secs};

/// No probe's number looks like a state.
#[test]
fn the_second_probe_counts_after_an_update() {
    let policy = fixed()
        .consecutive(1)
        .probes(2)
        .close_after(CloseAfter::Successes(2));
    let (time, handle) = breaker(policy);
    finish(&handle, BAD);
    // The operator is more patient from now on.
    handle.update(policy.consecutive(5).build().unwrap());
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    finish(&handle, Outcome::Success);
    let seen = handle.snapshot();
    assert_eq!((seen.state, seen.probes), (CircuitState::Closed, 0));
}

/// Nor without an update.
#[test]
fn every_probe_counts() {
    let policy = fixed()
        .failure_ratio(Ratio::percent(50))
        .minimum_calls(1)
        .time_window(secs(1))
        .probes(1);
    let (time, handle) = breaker(policy);
    for round in 1..=70 {
        finish(&handle, BAD);
        time.advance(secs(2));
        finish(&handle, Outcome::Success);
        let seen = handle.snapshot();
        assert_eq!(
            (seen.state, seen.probes),
            (CircuitState::Closed, 0),
            "round {round}"
        );
    }
}

/// A late good end of another thread, at the very moment of a trip, costs no probe its
/// verdict.
#[test]
fn fault_041_threads_lose_no_probe() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut lost = 0;
    for _ in 0..300 {
        let policy = fixed()
            .consecutive(1)
            .probes(2)
            .close_after(CloseAfter::Successes(2));
        let (time, handle) = breaker(policy);
        let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    match handle.admit() {
                        Ok(permit) => permit.finish(Outcome::Success),
                        Err(_) => break,
                    }
                    n += 1;
                    if n == 5 {
                        ready.store(true, Ordering::Relaxed);
                    }
                }
            });
            while !ready.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            finish(&handle, BAD);
            stop.store(true, Ordering::Relaxed);
        });
        time.advance(secs(1));
        finish(&handle, Outcome::Success);
        finish(&handle, Outcome::Success);
        let seen = handle.snapshot();
        lost += u32::from((seen.state, seen.probes) == (CircuitState::HalfOpen, 1));
    }
    assert_eq!(lost, 0, "of 300");
}

/// A probe that has lost its place changes nothing, though nobody else has taken it.
#[test]
fn fault_041_a_late_probe_changes_nothing() {
    for end in [Outcome::Success, BAD] {
        let (time, handle) = breaker(fixed().consecutive(1).probe_timeout(secs(10)));
        finish(&handle, BAD);
        time.advance(secs(1));
        let probe = handle.admit().unwrap();
        time.advance(secs(3_600));
        probe.finish(end);
        let seen = handle.snapshot();
        assert_eq!(
            (seen.state, seen.late),
            (CircuitState::HalfOpen, 1),
            "{end:?}"
        );
    }
}

/// What has come back half may hang again.
#[test]
fn calls_in_flight_count_in_a_ramp() {
    let policy = fixed()
        .slow_ratio(Ratio::percent(50))
        .slow_minimum_calls(4)
        .slow_threshold(ms(160))
        .ramp(secs(100));
    let (time, handle) = breaker(policy);
    for _ in 0..4 {
        let slow = handle.admit().unwrap();
        time.advance(ms(200));
        slow.finish(Outcome::Success);
    }
    assert_eq!(state(&handle), CircuitState::Open);
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    assert!(handle.snapshot().ramping);
    let hanging: Vec<Permit> = (0..100).filter_map(|_| handle.admit().ok()).collect();
    assert_eq!(hanging.len(), 10);
    for _ in 0..10 {
        time.advance(secs(1));
        drop(handle.admit());
    }
    assert_eq!(handle.snapshot().trips, 2);
}

/// An update of the threshold counts at once.
#[test]
fn calls_in_flight_count_by_the_new_threshold() {
    let policy = fixed().slow_ratio(Ratio::percent(50)).slow_minimum_calls(4);
    let (time, handle) = breaker(policy.slow_threshold(secs(1600)));
    finish(&handle, Outcome::Success);
    handle.update(policy.slow_threshold(ms(160)).build().unwrap());
    let _hanging: Vec<Permit> = (0..8).map(|_| handle.admit().unwrap()).collect();
    for _ in 0..10 {
        time.advance(secs(1));
        drop(handle.admit());
    }
    assert_eq!(handle.snapshot().trips, 1);
}
