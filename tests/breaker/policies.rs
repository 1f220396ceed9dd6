//! Policies that change, and their corners.

use tower_keep::Ratio;
use tower_keep::circuit_breaker::{CircuitBreakerLayer, Kind, Policy, PolicyBuilder, Setting};
use tower_keep::key;

use crate::behaviour::{BAD, breaker, finish, fixed};
use crate::support::{ms, secs};

/// What the windows still cover stays.
#[test]
fn an_update_keeps_the_window_of_a_share() {
    let policy = Policy::builder().kind(Kind::AdmissionControl { aggression: 1 });
    let (time, handle) = breaker(policy);
    for _ in 0..200 {
        time.advance(ms(1));
        if let Ok(permit) = handle.admit() {
            permit.finish(BAD);
        }
    }
    let before = handle.snapshot().refused_share;
    assert!((before - 0.75).abs() < 1e-9);
    handle.update(policy.max_refused(Ratio::percent(70)).build().unwrap());
    assert!(
        (handle.snapshot().refused_share - 0.7).abs() < 1e-9,
        "{}",
        handle.snapshot().refused_share
    );
}

/// Nor for keys.
#[test]
fn an_update_is_no_amnesty_for_keys() {
    let by = key::value(|n: &u32| Some(*n));
    let policy = Policy::builder().kind(Kind::Ewma).build().unwrap();
    let handle = CircuitBreakerLayer::keyed(policy, by).handle();
    for _ in 0..200 {
        if let Ok(permit) = handle.admit_for(&by, &1) {
            permit.finish(BAD);
        }
    }
    handle.update(policy);
    drop(handle.admit_for(&by, &1));
    let share = handle.circuit(&by, &1).unwrap().snapshot().refused_share;
    assert!(share > 0.5, "{share}");
}

/// Also where one of them is smaller than the usual minimum of calls.
#[test]
fn either_window_opens_it() {
    let (time, handle) = breaker(
        fixed()
            .failure_ratio(Ratio::percent(50))
            .count_window(10)
            .time_window(secs(1)),
    );
    for _ in 0..100 {
        if let Ok(permit) = handle.admit() {
            permit.finish(BAD);
        }
        time.advance(ms(500));
    }
    assert!(
        handle.snapshot().opened.is_some(),
        "100 failures in a row, and never open"
    );
}

/// A kind without a count window is not bounded by it.
#[test]
fn a_share_may_have_a_high_minimum() {
    let policy = Policy::builder()
        .kind(Kind::ClientThrottle)
        .minimum_calls(200);
    assert_eq!(policy.build().err().map(|error| error.to_string()), None);
}

/// The reason is a part of every snapshot.
#[test]
fn a_snapshot_that_is_written_has_the_reason() {
    let (_, handle) = breaker(fixed().consecutive(1));
    finish(&handle, BAD);
    let text = serde_json::to_string(&handle.snapshot()).unwrap();
    assert!(
        text.contains("consecutive\"") && text.contains("opened"),
        "{text}"
    );
}

/// A window that was made narrower forgets in time.
#[test]
fn a_narrower_time_window_moves_on() {
    let policy = fixed().failure_ratio(Ratio::ONE).minimum_calls(1_000);
    let (time, handle) = breaker(policy.time_window(secs(3600)));
    time.advance(secs(1));
    handle.update(policy.time_window(secs(10)).build().unwrap());
    finish(&handle, BAD);
    // Five windows later.
    time.advance(secs(50));
    assert_eq!(handle.snapshot().window().calls, 0);
}

/// What was set can be taken back; without any condition the default is the condition.
#[test]
fn settings_are_taken_back() {
    let plain = Policy::builder().build().unwrap();
    let all = Policy::builder()
        .failure_ratio(Ratio::percent(10))
        .slow_ratio(Ratio::percent(10))
        .consecutive(3)
        .recent(3, 4)
        .count_window(30)
        .time_window(secs(1))
        .ramp(secs(1));
    let settings = [
        Setting::FailureRatio,
        Setting::SlowRatio,
        Setting::Consecutive,
        Setting::Recent,
        Setting::CountWindow,
        Setting::TimeWindow,
        Setting::Ramp,
    ];
    for left_out in settings {
        let others = settings.into_iter().filter(|setting| *setting != left_out);
        let policy = others.fold(all, PolicyBuilder::without);
        assert_ne!(policy.build().unwrap(), plain, "{left_out:?}");
        assert_eq!(policy.without(left_out).build().unwrap(), plain);
    }
}

/// What an operator reads a snapshot by.
#[test]
fn a_policy_tells_its_units() {
    let policy = Policy::builder()
        .kind(Kind::Ewma)
        .slow_threshold(ms(7))
        .open_wait(secs(2))
        .probes(4);
    let policy = policy.build().unwrap();
    assert_eq!(
        (policy.kind(), policy.slow_threshold()),
        (Kind::Ewma, ms(7))
    );
    assert_eq!(policy.open_waits(), [secs(2), secs(60)]);
    assert_eq!(policy.probes(), 4);
}
