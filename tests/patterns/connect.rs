//! Connecting that takes too long, and what it says about the service.

use std::sync::{Arc, Mutex};
use std::task::Poll;

use tower::{Layer, Service};
use tower_keep::classify::{Classify, ErrorsOnly, Failure, Outcome};
use tower_keep::clock::Clock;
use tower_keep::deadline::Deadline;
use tower_keep::event::{Event, Source};
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::timeout::{Connector, Policy, TimeoutLayer};
use tower_keep::{AsRejection, Error, Rejection, RejectionKind, Setup};

use crate::support::{inner, ms, request};

/// The refusal that a listener heard of.
fn hears(clock: Clock) -> (Setup, Arc<Mutex<Vec<Rejection>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let heard = Arc::clone(&heard);
        move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Rejected(rejection) = event {
                heard.lock().unwrap().push(*rejection);
            }
        }
    };
    let setup = Setup::new().with_clock(clock).with_listener(listener);
    (setup, heard)
}

#[track_caller]
fn assert_no_request_was_sent(rejection: Rejection) {
    assert_eq!(rejection.kind(), RejectionKind::ConnectTimeout);
    assert!(!rejection.reached_inner());
    // All the same, it is how a service that is gone looks to a breaker.
    let verdict = Classify::<(), _>::classify(&ErrorsOnly, Err(&rejection));
    assert_eq!(verdict.on_head(), Outcome::Failure(Failure::Timeout));
}

#[test]
fn who_gives_up_connecting_has_sent_no_request() {
    let time = ManualClock::new();
    let (setup, heard) = hears(time.clock());
    let layer = TimeoutLayer::with(Policy::attempt(ms(10)).unwrap(), setup);
    let (probe, script, watch) = inner(&time);
    let mut connector = layer.connecting().layer(probe.clone());
    let mut boxed = Connector::new(&layer, probe);
    for _ in 0..2 {
        script.then_call(Call::never());
    }
    let mut calls = (
        Hand::new(connector.call(request("a"))),
        Hand::new(boxed.call(request("a"))),
    );
    assert!(calls.0.poll().is_pending() && calls.1.poll().is_pending());
    time.advance(ms(10));
    let (Poll::Ready(Err(a)), Poll::Ready(Err(Error::Rejected(b)))) =
        (calls.0.poll(), calls.1.poll())
    else {
        panic!("connecting took longer than it may")
    };
    assert_no_request_was_sent(a.as_rejection().unwrap());
    assert_no_request_was_sent(b);
    for rejection in heard.lock().unwrap().iter() {
        assert_no_request_was_sent(*rejection);
    }
    assert_eq!(heard.lock().unwrap().len(), 2);
    assert_eq!(layer.handle().snapshot().timed_out, 2);
    watch.assert_quiet();
}

#[test]
fn a_deadline_ends_connecting_as_well() {
    let time = ManualClock::new();
    let (setup, _) = hears(time.clock());
    let layer = TimeoutLayer::with(Policy::attempt(ms(10)).unwrap(), setup);
    let (probe, script, _) = inner(&time);
    script.then_call(Call::never());
    let mut connector = layer.connecting().layer(probe);
    let deadline = Deadline::after(&time.clock(), ms(3));
    let mut call = Hand::new(deadline.wrap(async { connector.call(request("a")).await }));
    assert!(call.poll().is_pending());
    time.advance(ms(3));
    let Poll::Ready(Err(error)) = call.poll() else {
        panic!("connecting took longer than the caller has")
    };
    assert_no_request_was_sent(error.as_rejection().unwrap());
}

/// The layer that bounds connecting bounds other calls as ever.
#[test]
fn other_calls_of_the_layer_may_have_had_an_effect() {
    let time = ManualClock::new();
    let (setup, _) = hears(time.clock());
    let layer = TimeoutLayer::with(Policy::attempt(ms(10)).unwrap(), setup);
    let (probe, script, _) = inner(&time);
    script.then_call(Call::never());
    let mut call = Hand::new(layer.layer(probe).call(request("a")));
    assert!(call.poll().is_pending());
    time.advance(ms(10));
    let Poll::Ready(Err(error)) = call.poll() else {
        panic!("the call took longer than it may")
    };
    let rejection = error.as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Timeout);
    assert!(rejection.reached_inner());
}
