//! B. Time that jumps, stands still, or runs out of its word.

use std::time::Duration;

use tower::{Layer, Service};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::clock::Tick;
use tower_keep::test_util::{Call, Hand, ManualClock, finish_on};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, RejectionKind, Setup};

use crate::support::cases::{permits, rate, timeouts};
use crate::support::watched::Watched;
use crate::support::{call, inner, request, secs};

const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Grants until the throttle refuses.
fn drain(handle: &tower_keep::throttle::Handle) -> u32 {
    (0..10_000)
        .take_while(|_| handle.admit(1).is_ok())
        .fold(0, |n, _| n + 1)
}

/// One healthy call through all three, and one that waits and is dropped.
fn exercise(time: &ManualClock, layers: &Layers) {
    let (probe, script, watch) = inner(time);
    let mut service = layers.timeout.layer(layers.bulkhead.layer(probe.clone()));
    script.then_call(Call::respond(crate::support::response(time, 200, [])).pending(2));
    let response = finish_on(time, call(&mut service, request("a"))).unwrap();
    assert!(response.is_ok(), "at {:?}: {response:?}", time.now());
    script.then_call(Call::never());
    let mut late = Hand::new(service.call(request("a")));
    assert!(late.poll().is_pending());
    drop(late);
    let mut waiting = Hand::new(
        layers
            .throttle
            .clone()
            .waiting()
            .layer(probe)
            .call(request("a")),
    );
    let _ = waiting.poll();
    drop(waiting);
    watch.assert_quiet();
    layers.bulkhead.handle().assert_quiet();
    layers.timeout.handle().assert_quiet();
    let _ = layers.throttle.handle().remaining();
    let _ = format!("{:?}", layers.timeout.handle().snapshot());
}

struct Layers {
    timeout: TimeoutLayer,
    bulkhead: BulkheadLayer<tower_keep::bulkhead::Queue>,
    throttle: ThrottleLayer,
}

impl Layers {
    fn new(time: &ManualClock) -> Self {
        let setup = || Setup::new().with_clock(time.clock());
        Self {
            timeout: TimeoutLayer::with(timeouts(), setup()),
            bulkhead: BulkheadLayer::with(permits(1), setup()).queued(),
            throttle: ThrottleLayer::with(rate(100), setup()),
        }
    }
}

#[test]
fn fault_019_forward_jumps_refill_one_burst_at_most() {
    let time = ManualClock::new();
    let layers = Layers::new(&time);
    let handle = layers.throttle.handle();
    assert_eq!(drain(&handle), 100);
    for jump in [secs(1), secs(3600), CENTURY, CENTURY] {
        time.advance(jump);
        assert_eq!(drain(&handle), 100, "after {jump:?}");
        exercise(&time, &layers);
    }
    // The last of all times that leaves room for the timeouts.
    time.set(Tick::from_nanos(u64::MAX / 2 - 3));
    exercise(&time, &layers);
    assert!(drain(&handle) <= 100);
}

#[test]
fn fault_020_a_clock_that_goes_back_mints_nothing() {
    let time = ManualClock::new();
    let layers = Layers::new(&time);
    let handle = layers.throttle.handle();
    assert_eq!(drain(&handle), 100);
    let mut granted = 0;
    for _ in 0..20 {
        time.rewind(secs(60));
        granted += drain(&handle);
        time.advance(secs(60));
        granted += drain(&handle);
    }
    assert_eq!(granted, 0);
    exercise(&time, &layers);
    // A timer that was armed fires at its time, not before.
    let (probe, script, _) = inner(&time);
    script.then_call(Call::never());
    let mut late = Hand::new(layers.timeout.layer(probe).call(request("a")));
    assert!(late.poll().is_pending());
    time.rewind(secs(100));
    time.advance(secs(104));
    assert_eq!(late.wakes(), 0);
    time.advance(secs(1));
    assert!(late.poll().is_ready());
    time.set(Tick::ZERO);
    exercise(&time, &layers);
}

#[test]
fn fault_021_a_clock_that_stands_still() {
    let time = ManualClock::new();
    let layers = Layers::new(&time);
    assert_eq!(drain(&layers.throttle.handle()), 100);
    for _ in 0..100 {
        exercise(&time, &layers);
    }
    assert_eq!(drain(&layers.throttle.handle()), 0);
    // Suspended for a night: the same as a jump.
    time.advance(secs(8 * 3600));
    assert_eq!(drain(&layers.throttle.handle()), 100);
}

#[test]
fn fault_022_at_the_end_of_time_everything_saturates() {
    for before in [0, 1, 3, 1_000_000_000] {
        let time = ManualClock::starting_at(Tick::from_nanos(u64::MAX - before));
        let layers = Layers::new(&time);
        assert!(drain(&layers.throttle.handle()) <= 100);
        let (probe, script, _) = inner(&time);
        for _ in 0..2 {
            script.then_call(Call::never());
            let mut timed = Hand::new(layers.timeout.layer(probe.clone()).call(request("a")));
            let _ = timed.poll();
            let waiting = layers.throttle.clone().waiting();
            let mut waiting = Hand::new(waiting.layer(probe.clone()).call(request("a")));
            let _ = waiting.poll();
            let held = layers.bulkhead.handle().admit();
            let mut queued = Hand::new(layers.bulkhead.layer(probe.clone()).call(request("a")));
            let _ = queued.poll();
            drop(held);
        }
        layers.bulkhead.handle().assert_quiet();
        layers.timeout.handle().assert_quiet();
    }
}

#[test]
fn fault_023_a_reused_place_does_not_hear_its_former_owner() {
    let time = ManualClock::new();
    let layers = Layers::new(&time);
    let handle = layers.bulkhead.handle();
    let held = handle.admit().unwrap();
    let mut steady = Hand::new(handle.acquire());
    assert!(steady.poll().is_pending());
    for _ in 0..10_000 {
        let mut passing = Hand::new(handle.acquire());
        assert!(passing.poll().is_pending());
        drop(passing);
    }
    assert_eq!(handle.waiting(), 1);
    drop(held);
    assert_eq!(steady.wakes(), 1);
    assert!(steady.poll().is_ready());
}

#[test]
fn fault_030_a_response_on_the_tick_of_the_timeout_wins() {
    let time = ManualClock::new();
    let layers = Layers::new(&time);
    let ok = || crate::support::response(&time, 200, []);
    for (after, wins) in [(secs(5), true), (secs(5) + Duration::from_nanos(1), false)] {
        for _ in 0..100 {
            let (probe, script, _) = inner(&time);
            script.then_call(Call::respond(ok()).after(after));
            let result = finish_on(&time, layers.timeout.layer(probe).call(request("a")));
            let kind = result
                .unwrap()
                .map_err(|e| e.as_rejection().unwrap().kind());
            assert_eq!(kind.is_ok(), wins);
            assert_eq!(kind.err(), (!wins).then_some(RejectionKind::Timeout));
        }
    }
    // A permit on the tick of the longest wait counts as well.
    let handle = layers.bulkhead.handle();
    let held = handle.admit().unwrap();
    let mut waiter = Hand::new(handle.acquire());
    assert!(waiter.poll().is_pending());
    time.advance(secs(2));
    drop(held);
    assert!(matches!(waiter.poll(), std::task::Poll::Ready(Ok(_))));
}
