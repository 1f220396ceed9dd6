//! D. The half-open state of a breaker, and the ramp behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use tower::{Layer, Service};
use tower_keep::circuit_breaker::{CircuitBreakerLayer, CircuitState, CloseAfter};
use tower_keep::classify::Outcome;
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::{RejectionKind, Setup};

use crate::d_breaker::{BAD, assert_state, finish, half_open, policy};
use crate::support::{BROKEN, call, inner, request, secs};

#[test]
fn fault_039_a_dropped_probe_gives_its_place_back() {
    let (_time, handle) = half_open(policy().probes(1));
    let probe = handle.admit().unwrap();
    let refused = handle.admit().unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Open);
    drop(probe);
    let probe = handle.admit().expect("the place is back in the same tick");
    probe.finish(Outcome::Success);
    assert_eq!(
        handle.snapshot().probed.calls,
        0,
        "three probes were not needed"
    );
}

#[test]
fn fault_039_so_does_a_future_that_is_dropped_at_any_poll() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = policy().probes(1).build().unwrap();
    let layer = CircuitBreakerLayer::with(policy, setup);
    let (probe, script, watch) = inner(&time);
    let mut service = layer.layer(probe);
    script.then_call(Call::error(BROKEN));
    assert!(
        Hand::new(call(&mut service, request("a")))
            .poll()
            .is_ready()
    );
    time.advance(secs(1));
    for polls in 0..3 {
        script.then_call(Call::never());
        let mut hand = Hand::new(call(&mut service, request("a")));
        (0..polls).for_each(|_| assert!(hand.poll().is_pending()));
        drop(hand);
        assert_eq!(layer.handle().snapshot().probes, 0);
    }
    assert_state(&layer.handle(), CircuitState::HalfOpen);
    watch.assert_quiet();
}

#[test]
fn fault_040_a_neutral_probe_gives_its_place_back_without_a_verdict() {
    for close_after in [CloseAfter::Successes(1), CloseAfter::Ratio(1)] {
        let (_time, handle) = half_open(policy().probes(1).close_after(close_after));
        for _ in 0..100 {
            finish(&handle, Outcome::Neutral);
            assert_state(&handle, CircuitState::HalfOpen);
        }
        finish(&handle, Outcome::Success);
        assert_state(&handle, CircuitState::Closed);
    }
}

#[test]
fn fault_041_a_probe_that_never_ends_loses_its_place() {
    let policy = policy().probes(1).probe_timeout(secs(2));
    let (time, handle) = half_open(policy.close_after(CloseAfter::Successes(1)));
    let hangs = handle.admit().unwrap();
    assert_eq!(handle.snapshot().next_probe, Some(secs(2)), "at the latest");
    time.advance(secs(2) - Duration::from_nanos(1));
    assert!(handle.admit().is_err());
    time.advance(Duration::from_nanos(1));
    let next = handle.admit().unwrap();
    hangs.finish(BAD);
    assert_state(&handle, CircuitState::HalfOpen);
    assert_eq!(handle.snapshot().late, 1);
    next.finish(Outcome::Success);
    assert_state(&handle, CircuitState::Closed);
}

#[test]
fn fault_043_ten_thousand_callers_in_one_tick_are_few_probes() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = policy().probes(7).build().unwrap();
    let layer = CircuitBreakerLayer::with(policy, setup);
    let (probe, script, watch) = inner(&time);
    let mut service = layer.layer(probe);
    script.then_call(Call::error(BROKEN));
    assert!(
        Hand::new(call(&mut service, request("a")))
            .poll()
            .is_ready()
    );
    time.advance(secs(1));
    let mut callers = Vec::new();
    for _ in 0..10_000 {
        script.then_call(Call::never());
        let ready = Hand::new(std::future::poll_fn(|cx| {
            Service::<Request<()>>::poll_ready(&mut service, cx)
        }))
        .poll();
        assert!(ready.is_ready());
        let mut hand = Hand::new(service.call(request("a")));
        let _ = hand.poll();
        callers.push(hand);
    }
    assert_eq!(watch.counts().calls, 1 + 7);
    assert_eq!(layer.handle().snapshot().rejected, 9_993);
    drop(callers);
    assert_eq!(layer.handle().snapshot().probes, 0);
}

#[test]
fn fault_043_from_many_threads_too() {
    for _ in 0..30 {
        let (_time, handle) = half_open(policy().probes(3));
        let admitted = AtomicU64::new(0);
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    let mine: Vec<_> = (0..200).filter_map(|_| handle.admit().ok()).collect();
                    admitted.fetch_add(mine.len() as u64, Ordering::Relaxed);
                    barrier.wait();
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn fault_044_after_closing_a_growing_share_passes() {
    let policy = policy().probes(1).ramp(secs(10));
    let (time, handle) = half_open(policy);
    finish(&handle, Outcome::Success);
    assert_state(&handle, CircuitState::Closed);
    for step in 1..=10 {
        assert!(handle.snapshot().ramping);
        let passed = (0..1_000)
            .filter_map(|_| handle.admit().ok())
            .map(|permit| permit.finish(Outcome::Success))
            .count();
        assert_eq!(passed, 100 * step, "step {step}");
        time.advance(secs(1));
    }
    assert!((0..100).all(|_| handle.admit().is_ok()));
    assert!(!handle.snapshot().ramping);
}
