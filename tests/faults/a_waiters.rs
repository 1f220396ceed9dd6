//! A. Those who wait in a bulkhead: what ends their wait, and what comes after.

use std::task::Poll;

use tower::Service;
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, Override, Rejection, RejectionKind};

use crate::support::cases::{Rig, permits, rate, timeouts};
use crate::support::watched::Watched;
use crate::support::{poll_ready, readiness, request, secs};

#[test]
fn fault_018_a_waiter_above_a_lowered_limit_holds_up_nobody() {
    let time = ManualClock::new();
    let setup = tower_keep::Setup::new().with_clock(time.clock());
    let handle = BulkheadLayer::with(permits(10), setup).handle();
    let held: Vec<_> = (0..5).map(|_| handle.admit().unwrap()).collect();
    let mut heavy = Hand::new(handle.acquire_weighted(8));
    let mut light = Hand::new(handle.acquire());
    assert!(heavy.poll().is_pending() && light.poll().is_pending());
    handle.update(permits(6));
    assert_eq!((heavy.wakes(), light.wakes()), (1, 1));
    let Poll::Ready(Err(refused)) = heavy.poll() else {
        panic!("it waits for what it can never have");
    };
    assert_eq!(refused.kind(), RejectionKind::Full);
    assert!(matches!(light.poll(), Poll::Ready(Ok(_))));
    assert_eq!((handle.rejected(), handle.waiting()), (1, 0));
    drop((held, light));
    handle.assert_quiet();
}

#[test]
fn fault_009_a_wait_that_has_ended_asks_and_counts_no_more() {
    let time = ManualClock::new();
    let setup = tower_keep::Setup::new().with_clock(time.clock());
    let handle = BulkheadLayer::with(permits(1), setup).handle();
    let held = handle.admit().unwrap();
    let mut waiters: Vec<_> = (0..2).map(|_| Hand::new(handle.acquire())).collect();
    assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
    drop(held);
    let permit = waiters[0].poll();
    assert!(permit.is_ready());
    time.advance(secs(2));
    assert!(waiters[1].poll().is_ready());
    assert_eq!((handle.rejected(), time.armed()), (1, 0));
    for _ in 0..2 {
        assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
        time.advance(secs(10));
    }
    assert_eq!((handle.rejected(), time.armed()), (1, 0));
    drop(permit);
    handle.assert_quiet();
}

#[test]
fn fault_010_a_call_that_panics_after_a_wait() {
    let rig = Rig::new(|s| {
        let layer = BulkheadLayer::with(permits(1), s).queued();
        let handle = layer.handle();
        (layer, handle)
    });
    let held = rig.handle.admit().unwrap();
    rig.script.then_call(Call::never().panic_in_call());
    let mut waiter = Hand::new(rig.service.clone().call(request("a")));
    assert!(waiter.poll().is_pending());
    drop(held);
    let panics = std::panic::AssertUnwindSafe(|| waiter.poll().is_pending());
    assert!(std::panic::catch_unwind(panics).is_err());
    for _ in 0..3 {
        assert!(waiter.poll().is_pending());
        rig.time.advance(secs(10));
    }
    assert_eq!((rig.handle.rejected(), rig.time.armed()), (0, 0));
    rig.assert_quiet();
}

#[test]
fn fault_008_a_service_that_was_replaced_is_asked_anew() {
    macro_rules! asks {
        ($layer:expr) => {{
            let mut rig = Rig::new(|s| {
                let layer = $layer(s);
                let handle = layer.handle();
                (layer, handle)
            });
            assert!(poll_ready(&mut rig.service).is_ready());
            let fresh = rig.service.get_ref().clone();
            *rig.service.get_mut() = fresh;
            assert!(Hand::new(rig.service.call(request("a"))).poll().is_ready());
            // The probe tells whether it was called unready.
            rig.assert_quiet();
        }};
    }
    asks!(|s| TimeoutLayer::with(timeouts(), s));
    asks!(|s| BulkheadLayer::with(permits(1), s));
    asks!(|s| ThrottleLayer::with(rate(1), s));
}

#[test]
fn fault_018_an_order_reaches_those_who_wait() {
    let time = ManualClock::new();
    for (order, refused) in [
        (Override::Bypass, None),
        (Override::Close, Some(RejectionKind::Closed)),
    ] {
        let setup = || tower_keep::Setup::new().with_clock(time.clock());
        let handle = BulkheadLayer::with(permits(2), setup()).handle();
        let held = handle.admit().unwrap();
        let mut waiters: Vec<_> = (0..20)
            .map(|_| Hand::new(handle.acquire_weighted(2)))
            .collect();
        assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
        handle.set_override(Override::None);
        assert!(
            waiters.iter().all(|w| w.wakes() == 0),
            "nothing was ordered"
        );
        // Taken back before anybody has looked: all keep their places.
        handle.set_override(order);
        handle.set_override(Override::None);
        assert!(waiters.iter().all(|w| w.wakes() == 1));
        assert!(waiters.iter_mut().all(|w| w.poll().is_pending()));
        assert_eq!(handle.waiting(), 20);
        handle.set_override(order);
        assert!(waiters.iter().all(|w| w.wakes() == 2), "{order:?}");
        let ends: Vec<_> = waiters.iter_mut().map(Hand::poll).collect();
        for end in &ends {
            let Poll::Ready(end) = end else {
                panic!("it waits on under {order:?}");
            };
            assert_eq!(end.as_ref().err().map(Rejection::kind), refused);
        }
        let snapshot = handle.snapshot();
        let (bypassed, rejected) = if refused.is_none() { (20, 0) } else { (0, 20) };
        assert_eq!((snapshot.bypassed, snapshot.rejected), (bypassed, rejected));
        assert_eq!(snapshot.waiting, 0);
        drop((ends, held));
        handle.assert_quiet();

        // In `poll_ready` it is never an error.
        let rig = Rig::new(|s| {
            let layer = BulkheadLayer::with(permits(1), s).backpressure();
            let handle = layer.handle();
            (layer, handle)
        });
        let held = rig.handle.admit().unwrap();
        let mut clone = rig.service.clone();
        let mut ready = Hand::new(readiness(&mut clone));
        assert!(ready.poll().is_pending());
        rig.handle.set_override(order);
        assert_eq!(ready.wakes(), 1);
        assert_eq!(ready.poll(), Poll::Ready(Ok(())));
        drop(ready);
        let Poll::Ready(answer) = Hand::new(clone.call(request("a"))).poll() else {
            panic!("it waits in the call under {order:?}");
        };
        let kind = answer.err().map(|e| e.as_rejection().unwrap().kind());
        assert_eq!(kind, refused);
        assert_eq!(rig.watch.counts().calls, u64::from(refused.is_none()));
        drop(held);
        rig.assert_quiet();
    }
}
