//! Calls that are slow: counted before they end, and once.

use tower::Layer;
use tower_keep::circuit_breaker::{CircuitBreakerLayer, CircuitState, Permit, Policy};
use tower_keep::classify::Outcome;
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::{Ratio, Setup};

use crate::behaviour::{BAD, breaker, finish, fixed, state};
use crate::support::{call, inner, ms, request, secs};

/// What fails in the end was slow all the same.
#[test]
fn a_failure_does_not_unmake_slowness() {
    let policy = fixed()
        .slow_ratio(Ratio::ONE)
        .failure_ratio(Ratio::ONE)
        .slow_threshold(ms(160))
        .count_window(4)
        .minimum_calls(4);
    let (time, handle) = breaker(policy);
    let hanging: Vec<Permit> = (0..3).map(|_| handle.admit().unwrap()).collect();
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    for permit in hanging {
        permit.finish(BAD);
    }
    let window = handle.snapshot().window();
    assert_eq!((window.calls, window.failures, window.slow), (4, 3, 3));
}

/// A failure of a call that its window has forgotten is forgotten with it.
#[test]
fn no_more_failures_than_calls() {
    let policy = fixed()
        .slow_ratio(Ratio::ONE)
        .failure_ratio(Ratio::percent(60))
        .slow_threshold(secs(1))
        .minimum_calls(20)
        .slow_minimum_calls(1_000)
        .time_window(secs(10));
    let (time, handle) = breaker(policy);
    let hanging: Vec<Permit> = (0..30).map(|_| handle.admit().unwrap()).collect();
    time.advance(secs(2));
    finish(&handle, Outcome::Success);
    time.advance(secs(28));
    for permit in hanging {
        permit.finish(BAD);
    }
    for _ in 0..21 {
        if handle.admit().map(|p| p.finish(Outcome::Success)).is_err() {
            break;
        }
    }
    let opened = handle.snapshot().opened;
    let ratio = handle.snapshot().failure_ratio();
    assert!(ratio <= 1.0, "{ratio}; {opened:?}");
}

/// Nor does it open anything.
#[test]
fn no_trip_below_the_ratio() {
    let policy = fixed()
        .slow_ratio(Ratio::ONE)
        .failure_ratio(Ratio::percent(60))
        .slow_threshold(secs(1))
        .minimum_calls(20)
        .slow_minimum_calls(1_000)
        .time_window(secs(10));
    let (time, handle) = breaker(policy);
    let hanging: Vec<Permit> = (0..30).map(|_| handle.admit().unwrap()).collect();
    time.advance(secs(2));
    finish(&handle, Outcome::Success);
    time.advance(secs(28));
    for _ in 0..30 {
        finish(&handle, Outcome::Success);
    }
    for permit in hanging {
        permit.finish(BAD);
    }
    let snapshot = handle.snapshot();
    assert_eq!(
        snapshot.state,
        CircuitState::Closed,
        "{:?}",
        snapshot.opened
    );
}

/// Who is no longer looked for counts with its end, as a call.
#[test]
fn an_update_of_the_threshold_counts_calls_once() {
    let policy = fixed()
        .slow_ratio(Ratio::ONE)
        .failure_ratio(Ratio::percent(50))
        .slow_threshold(secs(1))
        .minimum_calls(20)
        .time_window(secs(10));
    let (_, handle) = breaker(policy);
    let flying: Vec<Permit> = (0..20).map(|_| handle.admit().unwrap()).collect();
    handle.update(policy.slow_threshold(secs(2)).build().unwrap());
    for _ in 0..30 {
        finish(&handle, Outcome::Success);
    }
    // 20 of 50 calls fail: 40 %.
    for permit in flying {
        permit.finish(BAD);
    }
    let seen = handle.snapshot();
    assert_eq!(seen.state, CircuitState::Closed, "{:?}", seen.opened);
}

/// Whatever its outcome, and whether or not somebody came by.
#[test]
fn a_slow_neutral_call_counts_alike() {
    let seen = [false, true].map(|company| {
        let policy = fixed().slow_ratio(Ratio::ONE).slow_minimum_calls(50);
        let (time, handle) = breaker(policy.slow_threshold(ms(160)));
        let slow = handle.admit().unwrap();
        time.advance(secs(1));
        if company {
            finish(&handle, Outcome::Neutral);
        }
        slow.finish(Outcome::Neutral);
        handle.snapshot().window().slow
    });
    assert_eq!(seen[0], seen[1]);
}

/// Decided: a call that its caller drops before the slow threshold says nothing. An outer
/// timeout wants a threshold below it.
#[test]
fn a_timeout_outside_wants_a_threshold_below_it() {
    for (threshold, expected) in [
        (secs(1), CircuitState::Closed),
        (ms(900), CircuitState::Open),
    ] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let policy = Policy::builder().slow_threshold(threshold);
        let layer = CircuitBreakerLayer::with(policy.build().unwrap(), setup);
        let (probe, script, _) = inner(&time);
        let mut service = layer.layer(probe);
        for _ in 0..20 {
            script.then_call(Call::never());
            let mut hand = Hand::new(call(&mut service, request("a")));
            assert!(hand.poll().is_pending());
            time.advance(ms(900));
        }
        assert_eq!(state(&layer.handle()), expected);
    }
}
