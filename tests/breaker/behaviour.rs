//! What opens it, for how long, and what an operator can do about it.

use std::time::Duration;

use tower::Layer;
use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, CloseAfter, Dropped, Handle, Kind, Mode, Permit, Policy,
    PolicyBuilder, Reason,
};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::{Override, Ratio, RejectionKind, Setup, key};

use crate::support::{call, inner, ms, request, secs};

pub(crate) const BAD: Outcome = Outcome::Failure(Failure::Transient);

pub(crate) fn breaker(policy: PolicyBuilder) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = CircuitBreakerLayer::with(policy.build().unwrap(), setup);
    (time, layer.handle())
}

pub(crate) fn finish(handle: &Handle, outcome: Outcome) {
    handle.admit().unwrap().finish(outcome);
}

pub(crate) fn fixed() -> PolicyBuilder {
    let policy = Policy::builder().jitter(Ratio::ZERO).open_wait(secs(1));
    policy
        .max_open_wait(secs(1))
        .close_after(CloseAfter::Successes(1))
}

pub(crate) fn state(handle: &Handle) -> CircuitState {
    handle.snapshot().state
}

fn wait(handle: &Handle) -> Duration {
    let refused = handle.admit().unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Open);
    refused.retry_after().unwrap()
}

/// A dependency that hangs is cut off while its callers still wait.
#[test]
fn calls_in_flight_count_before_they_end() {
    let slow = fixed().slow_ratio(Ratio::percent(50)).slow_minimum_calls(8);
    let (time, handle) = breaker(slow.slow_threshold(ms(160)).dropped(Dropped::Neutral));
    for _ in 0..8 {
        finish(&handle, Outcome::Success);
    }
    let hanging: Vec<Permit> = (0..8).map(|_| handle.admit().unwrap()).collect();
    time.advance(ms(159));
    let young = handle.admit().unwrap();
    assert_eq!(state(&handle), CircuitState::Closed);
    time.advance(ms(11) + ms(10));
    assert_eq!(wait(&handle), secs(1));
    let opened = handle.snapshot().opened.unwrap();
    assert_eq!(opened.reason, Reason::SlowRatio);
    assert_eq!((opened.calls, opened.failures, opened.slow), (16, 0, 8));
    // All of them end now, in every way, and change nothing.
    let late = handle.snapshot().late;
    for (permit, n) in hanging.into_iter().zip(0..) {
        permit.finish(if n % 2 == 0 { BAD } else { Outcome::Success });
    }
    drop(young);
    assert_eq!(handle.snapshot().late, late + 8);
    assert_eq!(wait(&handle), secs(1));
}

/// Counted as slow while it hangs; its end adds the failure, not another call.
#[test]
fn each_of_them_counts_once() {
    let slow = fixed().slow_ratio(Ratio::ONE).failure_ratio(Ratio::ONE);
    let (time, handle) = breaker(
        slow.slow_threshold(ms(160))
            .count_window(10)
            .minimum_calls(10),
    );
    let hanging: Vec<Permit> = (0..3).map(|_| handle.admit().unwrap()).collect();
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    let window = handle.snapshot().window();
    assert_eq!((window.calls, window.failures, window.slow), (4, 0, 3));
    let mut ends = hanging.into_iter();
    ends.next().unwrap().finish(BAD);
    ends.next().unwrap().finish(Outcome::Success);
    drop(ends);
    let window = handle.snapshot().window();
    assert_eq!((window.calls, window.failures, window.slow), (4, 2, 3));
    assert_eq!(
        handle.snapshot().slow_calls,
        [0, 0, 3, 0, 0, 0, 0, 0],
        "4 to 8 times"
    );
}

#[test]
fn a_dropped_call_counts_by_its_age() {
    for (rule, failures) in [
        (Dropped::ByAge, 1),
        (Dropped::Neutral, 0),
        (Dropped::Failure, 2),
    ] {
        let policy = fixed().consecutive(9).slow_threshold(ms(500)).dropped(rule);
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let layer = CircuitBreakerLayer::with(policy.build().unwrap(), setup);
        let (probe, script, _) = inner(&time);
        let mut service = layer.layer(probe);
        for age in [499, 500] {
            script.then_call(Call::never());
            let mut hand = Hand::new(call(&mut service, request("a")));
            // Its time counts from here.
            assert!(hand.poll().is_pending());
            time.advance(ms(age));
        }
        let seen = layer.handle().snapshot();
        assert_eq!(
            (seen.consecutive, seen.cancelled),
            (failures, 2),
            "{rule:?}"
        );
        // Never polled: it has not even begun.
        script.then_call(Call::never());
        let unpolled = call(&mut service, request("a"));
        time.advance(secs(9));
        drop(unpolled);
        assert_eq!(layer.handle().snapshot().in_flight, 0);
    }
}

#[test]
fn it_waits_longer_each_time_up_to_a_cap() {
    let policy = fixed().consecutive(1).max_open_wait(secs(5));
    let (time, handle) = breaker(policy);
    finish(&handle, BAD);
    for expected in [1, 2, 4, 5, 5] {
        assert_eq!(wait(&handle), secs(expected));
        time.advance(ms(400));
        assert_eq!(
            wait(&handle),
            secs(expected) - ms(400),
            "exactly what is left"
        );
        time.advance(secs(expected) - ms(400));
        finish(&handle, BAD);
    }
    time.advance(secs(5));
    finish(&handle, Outcome::Success);
    finish(&handle, BAD);
    assert_eq!(wait(&handle), secs(1), "from the beginning again");
}

#[test]
fn jitter_only_shortens() {
    let policy = fixed().consecutive(1).jitter(Ratio::percent(20));
    let waits: Vec<_> = (0..200)
        .map(|_| {
            let (_time, handle) = breaker(policy);
            finish(&handle, BAD);
            wait(&handle)
        })
        .collect();
    assert!(waits.iter().all(|wait| (ms(800)..=secs(1)).contains(wait)));
    let (low, high) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*high - *low > ms(100), "{low:?} to {high:?}");
}

#[test]
fn the_server_says_when_within_limits() {
    for (asked, waits) in [(500, ms(1_000)), (7_000, secs(7)), (900_000, secs(30))] {
        let policy = fixed().consecutive(1).max_retry_after(secs(30));
        let (time, handle) = breaker(policy);
        let retry_after = Some(ms(asked));
        finish(&handle, Outcome::Failure(Failure::Overload { retry_after }));
        assert_eq!(wait(&handle), waits);
        assert_eq!(handle.snapshot().opened.unwrap().wait, Some(waits));
        time.advance(waits);
        assert!(handle.admit().is_ok());
    }
}

#[test]
fn probes_are_judged_by_ratio_as_soon_as_it_is_certain() {
    let policy = fixed().failure_ratio(Ratio::percent(50)).minimum_calls(1);
    let policy = policy.probes(10).close_after(CloseAfter::Ratio(4));
    for (ends, state_after, reason) in [
        ("ggg", CircuitState::HalfOpen, Reason::WaitOver),
        ("gggb", CircuitState::Closed, Reason::ProbesSucceeded),
        ("gbb", CircuitState::Open, Reason::ProbesFailed),
        ("bb", CircuitState::Open, Reason::ProbesFailed),
    ] {
        let (time, handle) = breaker(policy);
        finish(&handle, BAD);
        time.advance(secs(1));
        for end in ends.chars() {
            finish(&handle, if end == 'g' { Outcome::Success } else { BAD });
        }
        assert_eq!(state(&handle), state_after, "{ends}");
        if state_after == CircuitState::Open {
            assert_eq!(handle.snapshot().opened.unwrap().reason, reason);
        }
    }
}

#[test]
fn an_operator_overrules_it() {
    let (time, handle) = breaker(fixed().consecutive(1));
    handle.set_mode(Mode::ForcedOpen);
    assert_eq!(handle.admit().unwrap_err().kind(), RejectionKind::Closed);
    handle.set_mode(Mode::Dark);
    finish(&handle, BAD);
    finish(&handle, BAD);
    assert_eq!(
        (state(&handle), handle.snapshot().bypassed),
        (CircuitState::Open, 1)
    );
    handle.set_override(Override::None);
    assert_eq!(wait(&handle), secs(1));
    handle.set_mode(Mode::Disabled);
    finish(&handle, Outcome::Success);
    assert_eq!(
        (state(&handle), handle.snapshot().bypassed),
        (CircuitState::Open, 1)
    );
    handle.set_mode(Mode::ForcedClosed);
    for _ in 0..9 {
        finish(&handle, BAD);
    }
    assert_eq!(
        (state(&handle), handle.snapshot().consecutive),
        (CircuitState::Closed, 9)
    );
    handle.set_mode(Mode::Normal);
    finish(&handle, BAD);
    assert_eq!(state(&handle), CircuitState::Open);
    handle.reset();
    assert_eq!(
        (state(&handle), handle.snapshot().trips_in_a_row),
        (CircuitState::Closed, 0)
    );
    // Probes drained by hand: by what they have shown.
    for (end, expected) in [
        (Some(Outcome::Success), CircuitState::Closed),
        (None, CircuitState::Open),
    ] {
        handle.update(
            fixed()
                .consecutive(1)
                .close_after(CloseAfter::Successes(5))
                .build()
                .unwrap(),
        );
        finish(&handle, BAD);
        time.advance(secs(1));
        let probe = handle.admit().unwrap();
        match end {
            Some(end) => probe.finish(end),
            None => drop(probe),
        }
        handle.drain_probes();
        assert_eq!(state(&handle), expected);
        handle.reset();
    }
}

#[test]
fn an_update_keeps_what_still_applies() {
    let policy = fixed()
        .failure_ratio(Ratio::percent(60))
        .count_window(10)
        .minimum_calls(10);
    let (time, handle) = breaker(policy.max_open_wait(secs(60)).open_wait(secs(60)));
    for n in 0..10 {
        finish(&handle, if n % 2 == 0 { BAD } else { Outcome::Success });
    }
    let lower = policy
        .failure_ratio(Ratio::percent(50))
        .open_wait(secs(60))
        .max_open_wait(secs(60));
    handle.update(lower.build().unwrap());
    assert_eq!(handle.snapshot().window().failures, 5);
    assert_eq!(
        state(&handle),
        CircuitState::Closed,
        "an update decides nothing"
    );
    finish(&handle, BAD);
    assert_eq!(wait(&handle), secs(60));
    handle.update(
        lower
            .open_wait(secs(2))
            .max_open_wait(secs(2))
            .build()
            .unwrap(),
    );
    assert_eq!(wait(&handle), secs(2), "a shorter wait holds at once");
    time.advance(secs(2));
    assert!(handle.admit().is_ok());
}

#[test]
fn keys_have_circuits_and_policies_of_their_own() {
    let by = key::value(|n: &u32| (*n < 100).then_some(*n));
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed().consecutive(2).max_keys(50).build().unwrap();
    let handle = CircuitBreakerLayer::keyed_with(policy, by, setup).handle();
    let end = |n: u32, outcome| handle.admit_for(&by, &n).unwrap().finish(outcome);
    let of = |n: u32| handle.circuit(&by, &n).unwrap();
    handle
        .update_for(&by, &7, Some(Policy::consecutive(1).unwrap()))
        .unwrap();
    for n in [1, 7] {
        end(n, BAD);
    }
    assert_eq!(of(1).snapshot().state, CircuitState::Closed);
    assert_eq!(of(7).snapshot().state, CircuitState::Open);
    assert!(handle.admit_for(&by, &7).is_err());
    end(2, Outcome::Success);
    let key = of(7).snapshot().opened.unwrap().key.unwrap();
    assert!(!format!("{key:?}").is_empty());
    assert_eq!(handle.snapshot().not_closed, 1);
    // The others follow the layer's policy when they are next used.
    handle.update(fixed().consecutive(1).build().unwrap());
    end(1, Outcome::Success);
    assert_eq!(of(1).policy(), handle.policy());
    assert_ne!(of(7).policy(), handle.policy());
    of(7).reset();
    handle.update_for(&by, &7, None).unwrap();
    assert_eq!(of(7).policy(), handle.policy());
    assert!(handle.circuit(&by, &9).is_none());
    assert_eq!(
        handle.update_for(&by, &100, None).unwrap_err().field(),
        "key"
    );
    // Without a key: one circuit for all of them.
    end(100, BAD);
    assert!(handle.admit_for(&by, &101).is_err());
    assert_eq!(
        (handle.snapshot().state, handle.snapshot().in_flight),
        (CircuitState::Open, 0)
    );
}

#[test]
fn kinds_that_refuse_a_share_never_refuse_all() {
    for kind in [
        Kind::ClientThrottle,
        Kind::AdmissionControl { aggression: 1 },
        Kind::Ewma,
    ] {
        let (time, handle) = breaker(Policy::builder().kind(kind).time_window(secs(10)));
        for _ in 0..1_000 {
            finish(&handle, Outcome::Success);
        }
        assert_eq!(
            handle.snapshot().rejected,
            0,
            "{kind:?}: a healthy service is left alone"
        );
        // It fails for two windows.
        let offer = |outcome| {
            let passed = (0..4_000).filter_map(|_| {
                time.advance(ms(5));
                handle.admit().ok()
            });
            passed.map(|permit| permit.finish(outcome)).count()
        };
        offer(BAD);
        let passed = offer(BAD);
        assert!(
            (800..1_200).contains(&passed),
            "{kind:?}: {passed} of 4000, not a quarter"
        );
        assert!((handle.snapshot().refused_share - 0.75).abs() < 1e-9);
        for _ in 0..4 {
            offer(Outcome::Success);
        }
        assert!(
            handle.snapshot().refused_share < 0.05,
            "{kind:?}: {handle:?}"
        );
    }
}

#[test]
fn a_refusal_tells_nothing_about_why() {
    let by_failure = breaker(fixed().consecutive(1)).1;
    finish(&by_failure, BAD);
    let (time, by_slowness) = breaker(fixed().slow_ratio(Ratio::ONE).slow_minimum_calls(1));
    let permit = by_slowness.admit().unwrap();
    time.advance(secs(2));
    permit.finish(Outcome::Success);
    let texts = [by_failure, by_slowness].map(|handle| handle.admit().unwrap_err().to_string());
    assert_eq!(texts, ["circuit breaker: open, retry after 1s"; 2]);
}
