//! What happens between two attempts.

use std::future::Ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::budget::{self, Budget};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::deadline::Deadline;
use tower_keep::event::Conclusion;
use tower_keep::retry::{Grpc, Http, Idempotent, RetryLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Script, finish_on};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Error, Ratio, Setup};

use super::{hear, steady, without_end};
use crate::support::{BROKEN, Fail, call, data, ms, request, response, secs};

/// Fails at once; whether it is ready is said from outside.
#[derive(Clone, Default)]
struct Gated {
    shut: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Service<Request<()>> for Gated {
    type Response = Response<()>;
    type Error = Fail;
    type Future = Ready<Result<Response<()>, Fail>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        match self.shut.load(SeqCst) {
            false => Poll::Ready(Ok(())),
            true => Poll::Pending,
        }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        std::future::ready(Err(BROKEN))
    }
}

fn late(outer: bool) {
    let time = ManualClock::new();
    let (setup, heard) = hear(Setup::new().with_clock(time.clock()));
    let budget = without_end(setup.clone());
    let layer = RetryLayer::with_budget(steady(), Idempotent::new(), budget, setup.clone());
    let timeout = outer.then(|| {
        let policy = timeout::Policy::deadline(secs(1)).unwrap();
        TimeoutLayer::with(policy, setup)
    });
    let inner = Gated::default();
    let stack = ServiceBuilder::new().option_layer(timeout).layer(layer);
    let mut service = stack.service(inner.clone());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let deadline = Deadline::after(&time.clock(), secs(1));
    let mut hand = deadline.scope(|| Hand::new(service.call(request("a"))));
    inner.shut.store(true, SeqCst);
    assert!(deadline.scope(|| hand.poll()).is_pending());
    time.advance(ms(100));
    assert!(deadline.scope(|| hand.poll()).is_pending());
    // Nobody polls it for a while: deadline and readiness have come together.
    time.advance(secs(2));
    inner.shut.store(false, SeqCst);
    let end = deadline.scope(|| hand.poll());
    assert!(
        matches!(end, Poll::Ready(Err(Error::Inner(_)))),
        "{outer} {end:?}"
    );
    assert_eq!(inner.calls.load(SeqCst), 1);
    assert_eq!(*heard.lock(), [(1, Conclusion::Deadline)]);
}

#[test]
fn no_attempt_begins_past_the_deadline_when_readiness_comes_late() {
    late(false);
    late(true);
}

#[test]
fn a_response_that_holds_the_place_is_given_up_for_no_longer_than_the_pause() {
    let time = ManualClock::new();
    let (setup, heard) = hear(Setup::new().with_clock(time.clock()));
    let policy = bulkhead::Policy::builder().max_concurrent(1);
    let place = BulkheadLayer::with(policy.build().unwrap(), setup.clone());
    let places = place.handle();
    let bad = Call::<_, Fail>::respond(response(&time, 502, [data("bad")]));
    let script = Script::new(&time, bad);
    let budget = without_end(setup.clone());
    let mut service = ServiceBuilder::new()
        .layer(RetryLayer::with_budget(
            steady(),
            Http::new(),
            budget,
            setup,
        ))
        .layer(place.backpressure().until_body_end())
        .service(script);
    let start = time.clock().now();
    let end = finish_on(&time, call(&mut service, request("a")));
    assert_eq!(end.unwrap().unwrap().status(), 502);
    let took = time.clock().now().saturating_since(start);
    assert_eq!(took, ms(200), "a pause, and as long again");
    assert_eq!(*heard.lock(), [(1, Conclusion::NotReady)]);
    assert_eq!(places.snapshot().in_flight, 0);
}

#[test]
fn who_keeps_an_error_waits_as_long_as_it_takes() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let budget = without_end(setup.clone());
    let layer = RetryLayer::with_budget(steady(), Idempotent::new(), budget, setup);
    let inner = Gated::default();
    let mut hand = Hand::new(layer.layer(inner.clone()).call(request("a")));
    inner.shut.store(true, SeqCst);
    for _ in 0..100 {
        assert!(hand.poll().is_pending());
        time.advance(ms(100));
    }
    inner.shut.store(false, SeqCst);
    assert!(hand.poll().is_pending());
    assert_eq!(inner.calls.load(SeqCst), 2);
}

#[test]
fn what_was_granted_for_a_retry_that_never_begins_goes_back() {
    let ratio = budget::Policy::builder().ratio(1, 1).floor(0).burst(2);
    let in_flight = budget::Policy::in_flight(Ratio::percent(100), 0);
    for policy in [
        ratio.build().unwrap(),
        budget::Policy::aws(),
        in_flight.clone().unwrap(),
    ] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let budget = Budget::with(policy, setup.clone());
        let layer = RetryLayer::with_budget(steady(), Idempotent::new(), budget.clone(), setup);
        let balance = || budget.snapshot().balance;
        let inner = Gated::default();
        let begin = || {
            let mut hand = Hand::new(layer.layer(inner.clone()).call(request("a")));
            assert!(hand.poll().is_pending());
            hand
        };
        // Two requests, whose ratio is saved.
        drop((begin(), begin()));
        let whole = balance();
        for _ in 0..10 {
            let mut hand = begin();
            let granted = balance();
            inner.shut.store(true, SeqCst);
            time.advance(ms(100));
            assert!(hand.poll().is_pending());
            assert_eq!(balance(), granted, "not before it is known");
            drop(hand);
            inner.shut.store(false, SeqCst);
            assert_eq!(balance(), whole, "{policy:?}");
        }
        assert_eq!(budget.snapshot().granted, 12);
        // Those that begin are paid for.
        let mut hand = begin();
        time.advance(ms(100));
        assert!(hand.poll().is_pending());
        let calls = inner.calls.load(SeqCst);
        assert_eq!(calls, 12 + 2);
        drop(hand);
        // A place is free when its attempt is over; a price is not.
        let by_places = in_flight == Ok(policy);
        assert_eq!(balance() == whole, by_places, "{policy:?}");
    }
}

#[test]
fn a_pushback_of_zero_is_at_once() {
    for (pushback, pause) in [("0", ms(0)), ("1", ms(101))] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let clock = time.clock();
        let begun = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let into = Arc::clone(&begun);
        let inner = tower::service_fn(move |_: Request<()>| {
            into.lock().push(clock.now());
            let response = Response::builder().header("grpc-status", "14");
            let response = response.header("grpc-retry-pushback-ms", pushback);
            std::future::ready(Ok::<_, Fail>(response.body(()).unwrap()))
        });
        let budget = without_end(setup.clone());
        let layer = RetryLayer::with_budget(steady(), Grpc::new(), budget, setup);
        let mut service = layer.layer(inner);
        let end = finish_on(&time, call(&mut service, request("a")));
        assert!(end.unwrap().is_ok());
        let begun = begun.lock();
        assert_eq!(begun.len(), 4);
        for two in begun.windows(2) {
            assert_eq!(two[1].saturating_since(two[0]), pause);
        }
    }
}
