//! A clock that goes back, by a day: whatever lies further ahead than it could begins
//! anew.

use tower_keep::circuit_breaker::{CircuitState, Kind, Permit, Policy};
use tower_keep::classify::Outcome;
use tower_keep::key;
use tower_keep::{Ratio, Setup, circuit_breaker::CircuitBreakerLayer, test_util::ManualClock};

use crate::behaviour::{BAD, breaker, finish, fixed};
use crate::support::secs;

#[test]
fn a_ramp_begins_anew() {
    let (time, handle) = breaker(fixed().consecutive(1).ramp(secs(10)));
    time.advance(secs(86_400));
    finish(&handle, BAD);
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    time.rewind(secs(86_400));
    let passed = || {
        let pass = |_: &i32| handle.admit().map(|p| p.finish(Outcome::Success)).is_ok();
        (0..100).filter(pass).count()
    };
    assert!(handle.snapshot().ramping);
    assert_eq!(passed(), 10);
    time.advance(secs(10));
    assert_eq!(passed(), 100);
}

#[test]
fn a_probe_that_hangs_gives_its_place_up() {
    for open_wait in [1, 100] {
        let policy = fixed().open_wait(secs(open_wait)).max_open_wait(secs(100));
        let policy = policy.consecutive(1).probes(1).probe_timeout(secs(10));
        let (time, handle) = breaker(policy);
        time.advance(secs(86_400));
        finish(&handle, BAD);
        time.advance(secs(open_wait));
        let _hangs = handle.admit().unwrap();
        time.rewind(secs(86_400));
        let wait = handle.admit().unwrap_err().retry_after().unwrap();
        assert!(wait <= secs(open_wait));
        time.advance(secs(10));
        finish(&handle, Outcome::Success);
        assert_eq!(handle.snapshot().state, CircuitState::Closed);
    }
}

#[test]
fn calls_that_hang_are_found() {
    let policy = fixed()
        .slow_ratio(Ratio::percent(50))
        .slow_minimum_calls(4)
        .slow_threshold(secs(1));
    let (time, handle) = breaker(policy);
    time.advance(secs(86_400));
    finish(&handle, Outcome::Success);
    // They stand where younger ones will want to.
    let _old: Vec<Permit> = (0..100).map(|_| handle.admit().unwrap()).collect();
    time.rewind(secs(86_400));
    let _hanging: Vec<Permit> = (0..100).map(|_| handle.admit().unwrap()).collect();
    time.advance(secs(2));
    drop(handle.admit());
    assert_eq!(handle.snapshot().trips, 1);
}

#[test]
fn a_time_window_forgets() {
    let policy = fixed()
        .time_window(secs(10))
        .failure_ratio(Ratio::percent(50))
        .minimum_calls(10);
    let (time, handle) = breaker(policy);
    time.advance(secs(86_400));
    (0..9).for_each(|_| finish(&handle, BAD));
    time.rewind(secs(86_400));
    time.advance(secs(3_600));
    finish(&handle, BAD);
    assert_eq!(handle.snapshot().state, CircuitState::Closed);
    (0..9).for_each(|_| finish(&handle, BAD));
    assert_eq!(handle.snapshot().state, CircuitState::Open);
}

#[test]
fn a_share_forgets() {
    for kind in [Kind::ClientThrottle, Kind::Ewma] {
        let policy = Policy::builder().kind(kind).time_window(secs(10));
        let (time, handle) = breaker(policy);
        time.advance(secs(86_400));
        for _ in 0..100 {
            let _ = handle.admit().map(|permit| permit.finish(BAD));
        }
        assert!(handle.snapshot().refused_share > 0.5);
        time.rewind(secs(86_400));
        drop(handle.admit());
        assert!(handle.snapshot().refused_share < 0.1, "{kind:?}");
    }
}

#[test]
fn the_table_of_keys_finds_room() {
    let by = key::value(|n: &u32| Some(*n));
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed().failure_ratio(Ratio::ONE).max_keys(1);
    let handle = CircuitBreakerLayer::keyed_with(policy.build().unwrap(), by, setup).handle();
    time.advance(secs(86_400));
    handle.admit_for(&by, &0).unwrap().finish(BAD);
    time.rewind(secs(86_400));
    drop(handle.admit_for(&by, &1));
    // As long as the policy remembers: a second of waiting.
    time.advance(secs(1));
    let before = handle.snapshot().keys_overflowed;
    drop(handle.admit_for(&by, &1));
    assert_eq!(handle.snapshot().keys_overflowed, before);
}
