//! Probes, and how they end.

use tower_keep::Ratio;
use tower_keep::circuit_breaker::{CircuitState, CloseAfter};
use tower_keep::classify::Outcome;

use crate::behaviour::{BAD, breaker, finish, fixed};
use crate::support::secs;

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
