//! The kinds that refuse a share: what is evidence, and what is not.

use tower::{Layer, Service};
use tower_keep::Setup;
use tower_keep::circuit_breaker::{CircuitBreakerLayer, Kind, Mode, Permit, Policy};
use tower_keep::classify::Outcome;
use tower_keep::test_util::{ManualClock, Ready};

use crate::behaviour::{BAD, breaker, finish};
use crate::support::{inner, ms, request, secs};

/// A request that says nothing in the end was none.
#[test]
fn neutral_ends_do_not_throttle() {
    for outcome in [Outcome::Neutral, Outcome::Cancelled] {
        let (_, handle) = breaker(Policy::builder().kind(Kind::ClientThrottle));
        for _ in 0..100 {
            if let Ok(permit) = handle.admit() {
                permit.finish(outcome);
            }
        }
        let seen = handle.snapshot();
        assert_eq!((seen.refused_share, seen.rejected), (0.0, 0), "{outcome:?}");
    }
}

/// What the operator refused is no evidence about the service.
#[test]
fn an_isolation_does_not_throttle_afterwards() {
    let (time, handle) = breaker(Policy::builder().kind(Kind::ClientThrottle));
    for _ in 0..100 {
        finish(&handle, Outcome::Success);
    }
    handle.set_mode(Mode::ForcedOpen);
    for _ in 0..1_000 {
        time.advance(ms(10));
        drop(handle.admit());
    }
    handle.set_mode(Mode::Normal);
    assert!(
        handle.snapshot().refused_share < 0.01,
        "{}",
        handle.snapshot().refused_share
    );
}

/// Nor is what the service was not ready for.
#[test]
fn unready_is_no_evidence() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = Policy::builder()
        .kind(Kind::ClientThrottle)
        .build()
        .unwrap();
    let layer = CircuitBreakerLayer::with(policy, setup);
    let (probe, script, _) = inner(&time);
    let mut service = layer.layer(probe);
    for _ in 0..100 {
        script.then_ready(Ready::Pend(1));
        drop(service.call(request("a")));
    }
    let seen = layer.handle().snapshot();
    assert!(seen.refused_share < 0.01, "{seen:?}");
}

/// "Closes the circuit and forgets what it has counted."
#[test]
fn a_reset_forgets_the_share() {
    let (_, handle) = breaker(Policy::builder().kind(Kind::AdmissionControl { aggression: 1 }));
    for _ in 0..200 {
        if let Ok(permit) = handle.admit() {
            permit.finish(BAD);
        }
    }
    handle.reset();
    assert!(
        handle.snapshot().refused_share < 0.01,
        "{}",
        handle.snapshot().refused_share
    );
}

/// A snapshot shows what the share is calculated from.
#[test]
fn a_share_shows_its_figures() {
    let (_, handle) = breaker(Policy::builder().kind(Kind::AdmissionControl { aggression: 1 }));
    for _ in 0..100 {
        if let Ok(permit) = handle.admit() {
            permit.finish(BAD);
        }
    }
    let seen = handle.snapshot();
    let ended = seen.succeeded + seen.failed;
    assert_eq!(
        (seen.window().calls, seen.window().failures),
        (ended, ended)
    );
    assert_eq!(seen.count_window, None);
    assert!(seen.failure_ratio() > 0.99, "{seen:?}");
}

/// Decided, as in the book: requests count before they are sent, so that a service that hangs is
/// spared. A burst of more than the minimum of calls at once looks the same until it is answered;
/// and nothing of it stays.
#[test]
fn a_burst_counts_before_it_is_answered() {
    let policy = Policy::builder().kind(Kind::ClientThrottle);
    for (minimum, all) in [(20, false), (200, true)] {
        let (_, handle) = breaker(policy.minimum_calls(minimum));
        let passed: Vec<Permit> = (0..200).filter_map(|_| handle.admit().ok()).collect();
        assert!(passed.len() as u64 >= u64::from(minimum));
        assert_eq!(passed.len() == 200, all);
        let answered = passed.len();
        passed
            .into_iter()
            .for_each(|permit| permit.finish(Outcome::Success));
        assert_eq!(handle.snapshot().succeeded, answered as u64);
        if all {
            assert!(handle.snapshot().refused_share < 1e-9);
        }
    }
}

/// Neutral ends of requests that the window has forgotten hide no failures.
#[test]
fn late_neutral_ends_hide_nothing() {
    let policy = Policy::builder()
        .kind(Kind::ClientThrottle)
        .minimum_calls(10)
        .time_window(secs(10));
    let (time, handle) = breaker(policy);
    let mut long = Vec::new();
    for _ in 0..90 {
        long.extend(handle.admit().ok());
        time.advance(secs(2));
    }
    let calls = || handle.snapshot().window().calls;
    // Those of the window are taken from where they are, and are gone with it.
    let lately = long.split_off(long.len() - 2);
    let before = calls();
    for permit in lately {
        permit.finish(Outcome::Neutral);
    }
    assert_eq!(calls(), before - 2);
    time.advance(secs(20));
    for _ in 0..60 {
        let _ = handle.admit().map(|permit| permit.finish(BAD));
    }
    let before = handle.snapshot().refused_share;
    for permit in long {
        permit.finish(Outcome::Neutral);
    }
    let after = handle.snapshot().refused_share;
    assert!(before > 0.7, "{before}");
    assert!(
        (before - after).abs() < 1e-9,
        "{before} before, {after} after"
    );
}
