//! A. Cancellation, wakers and order, where calls wait.

use std::task::Poll;

use tower::{Layer, Service};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::test_util::{Call, Hand, ManualClock, Ready, drop_at, finish_on};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, RejectionKind};

use crate::support::cases::{Rig, permits, rate, timeouts};
use crate::support::watched::Watched;
use crate::support::{call, poll_ready, readiness, request, secs};

fn kind<T>(poll: Poll<Result<T, crate::support::Fail>>) -> Option<RejectionKind> {
    match poll {
        Poll::Ready(Err(error)) => error.as_rejection().map(|r| r.kind()),
        _ => None,
    }
}

#[test]
fn fault_001_dropped_while_it_waits() {
    let rig = Rig::new(|s| {
        let layer = BulkheadLayer::with(permits(1), s).queued();
        let handle = layer.handle();
        (layer, handle)
    });
    let held = rig.handle.admit().unwrap();
    let polls = drop_at(
        || rig.service.clone().call(request("a")),
        |_| {
            assert_eq!(rig.handle.waiting(), 0);
            assert_eq!(rig.handle.in_flight(), 1);
            assert_eq!((rig.time.armed(), rig.watch.counts().services), (0, 1));
        },
    );
    assert_eq!(polls, None);
    // Dropped between the grant and the poll that would see it.
    let mut waiter = Hand::new(rig.service.clone().call(request("a")));
    assert!(waiter.poll().is_pending());
    drop(held);
    assert_eq!(waiter.wakes(), 1);
    drop(waiter);
    rig.assert_quiet();
    assert!(rig.handle.admit().is_ok());

    let rig = Rig::new(|s| {
        let layer = ThrottleLayer::with(rate(1), s).waiting();
        let handle = layer.handle();
        (layer, handle)
    });
    rig.handle.admit(1).unwrap();
    let polls = drop_at(
        || rig.service.clone().call(request("a")),
        |_| assert_eq!((rig.time.armed(), rig.watch.counts().services), (0, 1)),
    );
    assert_eq!(polls, None);
    // Every place was given back: the next is the first in a second.
    let mut service = rig.service.clone();
    let before = rig.time.now();
    assert!(finish_on(&rig.time, call(&mut service, request("a"))).is_some());
    assert_eq!(rig.time.now().saturating_since(before), secs(1));
}

#[test]
fn fault_002_a_dropped_readiness_wakes_exactly_one() {
    let rig = Rig::new(|s| {
        let layer = BulkheadLayer::with(permits(1), s).backpressure();
        let handle = layer.handle();
        (layer, handle)
    });
    let mut first = rig.service.clone();
    assert!(poll_ready(&mut first).is_ready());
    let mut waiters: Vec<_> = (0..3)
        .map(|_| {
            let mut clone = rig.service.clone();
            Hand::new(async move { readiness(&mut clone).await.map(|()| clone) })
        })
        .collect();
    assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
    drop(first);
    let wakes: Vec<_> = waiters.iter().map(Hand::wakes).collect();
    assert_eq!(wakes, [1, 0, 0]);
    assert!(waiters[0].poll().is_ready());
    drop(waiters);
    rig.assert_quiet();
}

#[test]
fn fault_003_an_idle_ready_clone_parks_nothing() {
    macro_rules! admits {
        ($layer:expr) => {
            admits!(s, $layer(BulkheadLayer::with(permits(1), s)))
        };
        ($s:ident, $layer:expr) => {{
            let rig = Rig::new(|$s| {
                let layer = $layer;
                let handle = layer.handle();
                (layer, handle)
            });
            let mut idle = rig.service.clone();
            assert!(poll_ready(&mut idle).is_ready());
            let mut other = rig.service.clone();
            let mut busy = Hand::new(call(&mut other, request("a")));
            matches!(busy.poll(), Poll::Ready(Ok(_)))
        }};
    }
    assert!(admits!(|l: BulkheadLayer| l));
    assert!(admits!(|l: BulkheadLayer| l.queued()));
    // One request is left, and it is for who calls.
    assert!(admits!(s, ThrottleLayer::with(rate(1), s)));
    assert!(admits!(s, ThrottleLayer::with(rate(1), s).waiting()));
    assert!(admits!(s, TimeoutLayer::with(timeouts(), s)));
    // Documented: here the permit is the readiness.
    assert!(!admits!(|l: BulkheadLayer| l.backpressure()));
}

#[test]
fn fault_007_an_inner_service_that_never_answers() {
    let mut rig = Rig::new(|s| {
        let layer = TimeoutLayer::with(timeouts(), s);
        let handle = layer.handle();
        (layer, handle)
    });
    // Readiness, to the tick.
    rig.script.then_ready(Ready::Never);
    let start = rig.time.now();
    {
        let mut ready = Hand::new(readiness(&mut rig.service));
        assert!(ready.poll().is_pending());
        rig.time
            .advance(secs(3) - std::time::Duration::from_nanos(1));
        assert!((ready.wakes(), ready.poll().is_pending()) == (0, true));
        rig.time.set(start.saturating_add(secs(3)));
        assert_eq!(ready.wakes(), 1);
        assert_eq!(ready.poll(), Poll::Ready(Ok(())));
    }
    let refused = Hand::new(rig.service.call(request("a"))).poll();
    assert_eq!(kind(refused), Some(RejectionKind::NotReadyInTime));
    // The response, to the tick.
    let mut rig = Rig::new(|s| {
        let layer = TimeoutLayer::with(timeouts(), s);
        let handle = layer.handle();
        (layer, handle)
    });
    rig.script.then_call(Call::never());
    let mut late = Hand::new(rig.service.call(request("a")));
    assert!(late.poll().is_pending());
    rig.time
        .advance(secs(5) - std::time::Duration::from_nanos(1));
    assert!((late.wakes(), late.poll().is_pending()) == (0, true));
    rig.time.advance(std::time::Duration::from_nanos(1));
    assert_eq!(late.wakes(), 1);
    assert_eq!(kind(late.poll()), Some(RejectionKind::Timeout));
    assert_eq!(
        rig.watch.counts().in_flight,
        0,
        "dropped before it resolves"
    );
    rig.assert_quiet();
}

#[test]
fn fault_015_only_the_last_waker_is_owed() {
    fn moved<F: Future>(future: F, event: impl FnOnce()) {
        let mut hand = Hand::new(future);
        assert!(hand.poll().is_pending());
        let (poll, old) = hand.poll_elsewhere();
        assert!(poll.is_pending());
        event();
        assert_eq!((hand.wakes(), old.wakes()), (1, 0));
        assert_eq!(old.kept(), 0, "the old waker is kept");
        assert!(hand.poll().is_ready());
    }
    let time = ManualClock::new();
    let setup = || tower_keep::Setup::new().with_clock(time.clock());
    let bulkhead = BulkheadLayer::with(permits(1), setup()).handle();
    let held = bulkhead.admit().unwrap();
    moved(bulkhead.acquire(), || drop(held));
    // It ends by its longest wait.
    let held = bulkhead.admit().unwrap();
    moved(bulkhead.acquire(), || time.advance(secs(2)));
    drop(held);
    let (probe, script, _) = crate::support::inner(&time);
    let throttle = ThrottleLayer::with(rate(1), setup()).waiting();
    throttle.handle().admit(1).unwrap();
    moved(throttle.layer(probe.clone()).call(request("a")), || {
        time.advance(secs(1));
    });
    script.then_call(Call::never());
    let timeout = TimeoutLayer::with(timeouts(), setup());
    moved(timeout.layer(probe).call(request("a")), || {
        time.advance(secs(5));
    });
}

#[test]
fn fault_017_a_release_wakes_one_and_waiting_wakes_nobody() {
    let time = ManualClock::new();
    let setup = tower_keep::Setup::new().with_clock(time.clock());
    let handle = BulkheadLayer::with(permits(3), setup).handle();
    let mut held: Vec<_> = (0..3).map(|_| handle.admit().unwrap()).collect();
    let mut waiters: Vec<_> = (0..100).map(|_| Hand::new(handle.acquire())).collect();
    for _ in 0..3 {
        assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
    }
    let wakes = |waiters: &[Hand<_>]| waiters.iter().map(Hand::wakes).sum::<usize>();
    assert_eq!(wakes(&waiters), 0);
    for released in 1..=3 {
        held.pop();
        assert_eq!(wakes(&waiters), released);
    }
    drop(waiters);
    handle.assert_quiet();
}

#[test]
fn fault_017_who_waits_for_a_time_is_woken_once() {
    let time = ManualClock::new();
    let setup = || tower_keep::Setup::new().with_clock(time.clock());
    let (probe, script, _) = crate::support::inner(&time);
    let policy = rate(10).to_builder().burst(1).max_wait(secs(20));
    let throttle = ThrottleLayer::with(policy.build().unwrap(), setup()).waiting();
    throttle.handle().admit(1).unwrap();
    let wait = |_| Hand::new(throttle.layer(probe.clone()).call(request("a")));
    let mut waiters: Vec<_> = (0..100).map(wait).collect();
    let limited = TimeoutLayer::with(timeouts(), setup());
    script.then_call(Call::never());
    let mut late = Hand::new(limited.layer(probe.clone()).call(request("a")));
    for _ in 0..3 {
        assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
        assert!(late.poll().is_pending());
    }
    assert_eq!(late.wakes(), 0, "a timeout woke itself");
    assert_eq!(waiters.iter().map(Hand::wakes).sum::<usize>(), 0);
    // One after the other, in the order of their arrival.
    for served in 0..100 {
        time.advance(secs(1) / 10);
        let woken: Vec<_> = waiters.iter().map(Hand::wakes).collect();
        assert!(woken[..=served].iter().all(|wakes| *wakes == 1));
        assert!(woken[served + 1..].iter().all(|wakes| *wakes == 0));
        assert!(waiters[served].poll().is_ready());
    }
    assert_eq!(late.wakes(), 1);
}

#[test]
fn fault_018_first_come_first_served() {
    let time = ManualClock::new();
    let setup = || tower_keep::Setup::new().with_clock(time.clock());
    let policy = permits(1).to_builder().queue_length(2_000).build().unwrap();
    let handle = BulkheadLayer::with(policy, setup()).handle();
    let mut held = Some(handle.admit().unwrap());
    let mut waiters: Vec<_> = (0..1000).map(|_| Hand::new(handle.acquire())).collect();
    assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
    for turn in 0..waiters.len() {
        drop(held.take());
        assert!(handle.admit().is_err(), "a newcomer overtook");
        for (i, waiter) in waiters.iter_mut().enumerate().skip(turn).take(3) {
            match waiter.poll() {
                Poll::Ready(permit) => {
                    assert_eq!(i, turn);
                    held = Some(permit.unwrap());
                }
                Poll::Pending => assert_ne!(i, turn),
            }
        }
    }
    drop((held, waiters));
    handle.assert_quiet();
    // A heavy one is not passed by light ones.
    let handle = BulkheadLayer::with(permits(10), setup()).handle();
    let mut light: Vec<_> = (0..10).map(|_| handle.admit().unwrap()).collect();
    let mut heavy = Hand::new(handle.acquire_weighted(10));
    assert!(heavy.poll().is_pending());
    let mut behind: Vec<_> = (0..50).map(|_| Hand::new(handle.acquire())).collect();
    for _ in 0..10 {
        assert!(heavy.poll().is_pending());
        light.pop();
        assert!(behind.iter_mut().all(|w| w.poll().is_pending()));
    }
    assert!(heavy.poll().is_ready());
    drop((heavy, behind));
    handle.assert_quiet();
}
