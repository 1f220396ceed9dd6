//! Hedges: when there is another attempt, which answer counts, and what is left
//! of the others.

mod limits;
mod losers;
mod percentile;
mod shared;
mod timeouts;
mod waits;

use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::{Method, Request};
use tower::{Layer, Service};
use tower_keep::attempt::{self, Attempt};
use tower_keep::classify::{Failure, Http, Outcome};
use tower_keep::event::{Event, Hedged, Source};
use tower_keep::hedge::{self, Delay, HedgeLayer, Policy, Snapshot};
use tower_keep::test_util::{
    Call, Hand, ManualClock, Probe, Ready, Script, ScriptBody, drop_at, finish_on,
};
use tower_keep::{RejectionKind, Setup};

use crate::support::{BROKEN, Fail, Inner, call, inner, ms, request, response};

type Res = http::Response<ScriptBody>;

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

/// After 100 ms, out of a budget that is never spent here.
fn policy(hedges: u32) -> Policy {
    let policy = Policy::builder().delay(Delay::Fixed(ms(100)));
    policy.hedges(hedges).build().unwrap()
}

fn layer(
    time: &ManualClock,
    hedges: u32,
) -> HedgeLayer<hedge::Every, tower_keep::replay::Cloned, Http> {
    HedgeLayer::with(policy(hedges), hedge::every(), setup(time)).classify(Http)
}

/// A line of a script: this status after so many milliseconds.
fn answer(time: &ManualClock, status: u16, after: u64) -> Call<Res, Fail> {
    Call::respond(response(time, status, [])).after(ms(after))
}

fn hedges(snapshot: &Snapshot) -> (u64, u64, u64) {
    (snapshot.hedges, snapshot.won, snapshot.no_budget)
}

/// What a caller gets, as its status, and after how many milliseconds.
fn outcome<S>(time: &ManualClock, service: &mut S) -> (Option<u16>, u128)
where
    S: Service<Request<()>, Response = Res, Error = Fail>,
{
    let start = time.now();
    let result = finish_on(time, call(service, request("a"))).unwrap();
    let took = time.now().saturating_since(start).as_millis();
    (result.ok().map(|response| response.status().as_u16()), took)
}

#[test]
fn a_slow_call_is_made_once_more_and_the_first_success_counts() {
    for (first, second, expected, counts) in [
        // Faster than the delay: no second attempt.
        ((200, 99), (206, 1), (200, 99), (0, 0, 0)),
        // The second one wins, or is too late.
        ((200, 500), (206, 50), (206, 150), (1, 1, 0)),
        ((200, 130), (206, 50), (200, 130), (1, 0, 0)),
        // A failure waits for the other, on either side.
        ((503, 120), (206, 50), (206, 150), (1, 1, 0)),
        ((200, 300), (503, 50), (200, 300), (1, 0, 0)),
        // None succeeds: what the first attempt came to.
        ((503, 120), (502, 50), (503, 150), (1, 0, 0)),
        ((503, 300), (502, 50), (503, 300), (1, 0, 0)),
        // It fails before the other has begun: that is for retry.
        ((503, 50), (206, 1), (503, 50), (0, 0, 0)),
        // A caller's mistake is an answer, and what will fail again is one.
        ((404, 120), (206, 50), (404, 120), (1, 0, 0)),
        ((200, 300), (404, 50), (404, 150), (1, 0, 0)),
        ((200, 300), (501, 50), (501, 150), (1, 0, 0)),
    ] {
        let time = ManualClock::new();
        let (probe, script, watch) = inner(&time);
        let layer = layer(&time, 1);
        script.then_call(answer(&time, first.0, first.1));
        script.then_call(answer(&time, second.0, second.1));
        let mut service = layer.layer(probe);
        let what = format!("{first:?} and {second:?}");
        let (status, took) = expected;
        assert_eq!(outcome(&time, &mut service), (Some(status), took), "{what}");
        let snapshot = layer.handle().snapshot();
        assert_eq!(hedges(&snapshot), counts, "{what}");
        assert_eq!(snapshot.in_flight, 0);
        // What has lost is gone, and so are its timers.
        watch.assert_quiet();
        assert_eq!(time.armed(), 0, "{what}");
    }
}

#[test]
fn attempts_follow_one_another_up_to_their_number() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = layer(&time, 3);
    for status in [200, 201, 202, 203] {
        script.then_call(answer(&time, status, 1_000));
    }
    let mut hand = Hand::new(layer.layer(probe).call(request("a")));
    for calls in [1, 2, 3, 4, 4, 4] {
        assert!(hand.poll().is_pending());
        assert_eq!(watch.counts().in_flight, calls);
        time.advance(ms(100));
    }
    time.advance(ms(400));
    assert!(matches!(hand.poll(), Poll::Ready(Ok(r)) if r.status() == 200));
    watch.assert_quiet();
}

#[test]
fn fault_068_losers_are_gone_before_the_caller_hears() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = layer(&time, 1);
    script.then_call(Call::never());
    script.then_call(answer(&time, 200, 10));
    let mut hand = Hand::new(layer.layer(probe).call(request("a")));
    assert!(hand.poll().is_pending());
    time.advance(ms(100));
    assert!(hand.poll().is_pending());
    time.advance(ms(10));
    assert!(hand.poll().is_ready());
    assert_eq!((watch.counts().completed, watch.counts().dropped), (1, 1));
}

#[test]
fn fault_001_it_may_be_dropped_at_every_poll() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = layer(&time, 2);
    let mut service = layer.layer(probe);
    let handle = layer.handle();
    let polls = drop_at(
        || {
            for pending in [5, 4, 3] {
                script.then_call(Call::respond(response(&time, 200, [])).pending(pending));
            }
            let future = service.call(request("a"));
            let time = time.clone();
            async move {
                let mut future = std::pin::pin!(future);
                std::future::poll_fn(|cx| {
                    let poll = future.as_mut().poll(cx);
                    time.advance(ms(100));
                    poll
                })
                .await
            }
        },
        |_| {
            watch.assert_quiet();
            assert_eq!(handle.snapshot().in_flight, 0);
            assert_eq!(time.armed(), 0);
        },
    );
    assert!(polls.is_some_and(|polls| polls > 3), "{polls:?}");
    assert!(handle.snapshot().hedges > 0);
}

#[test]
fn panics_of_the_service_pass_and_leave_nothing() {
    for (first, second) in [
        (
            Call::panic().after(ms(50)),
            answer(&ManualClock::new(), 200, 1),
        ),
        (Call::never(), Call::panic()),
        (Call::never(), Call::never().panic_in_call()),
    ] {
        let time = ManualClock::new();
        let (probe, script, watch) = inner(&time);
        let layer = layer(&time, 1);
        script.then_call(first);
        script.then_call(second);
        let mut service = layer.layer(probe);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            finish_on(&time, call(&mut service, request("a")))
        }));
        assert!(caught.is_err());
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.in_flight, snapshot.failed), (0, 1));
        assert_eq!(watch.counts().in_flight, 0);
        assert_eq!(outcome(&time, &mut service).0, Some(200));
    }
}

#[test]
fn callbacks_that_panic_cost_no_more_than_the_hedge() {
    let time = ManualClock::new();
    let (probe, _, _) = inner(&time);
    let layer = HedgeLayer::with(
        policy(1),
        hedge::when(|_: &Request<()>| panic!("may")),
        setup(&time),
    );
    assert_eq!(outcome(&time, &mut layer.layer(probe)).0, Some(200));

    let (probe, script, _) = inner(&time);
    script.then_call(answer(&time, 200, 300));
    let layer = HedgeLayer::with(policy(1), hedge::every(), setup(&time))
        .replay(tower_keep::replay::by(|_: &Request<()>| panic!("copy")));
    assert_eq!(outcome(&time, &mut layer.layer(probe)), (Some(200), 300));
    assert_eq!(layer.handle().snapshot().hedges, 0);
}

#[test]
fn another_attempt_waits_for_its_service_to_be_ready() {
    let time = ManualClock::new();
    let script: Script<Res, Fail> = Script::new(&time, answer(&time, 200, 500));
    let probe = Probe::new(script.clone());
    let watch = probe.watch();
    let layer = layer(&time, 1);
    let mut service = layer.layer(probe);
    let mut hand = Hand::new(service.call(request("a")));
    assert!(hand.poll().is_pending());
    script.then_ready(Ready::Pend(2));
    script.then_call(answer(&time, 203, 10));
    time.advance(ms(100));
    for calls in [1, 1, 2] {
        assert!(hand.poll().is_pending());
        assert_eq!(watch.counts().in_flight, calls);
    }
    time.advance(ms(10));
    assert!(matches!(hand.poll(), Poll::Ready(Ok(r)) if r.status() == 203));
    watch.assert_quiet();

    // Its readiness fails: the first attempt is not harmed.
    let mut hand = Hand::new(service.call(request("a")));
    assert!(hand.poll().is_pending());
    script.then_ready(Ready::Error(BROKEN));
    time.advance(ms(100));
    assert!(hand.poll().is_pending());
    time.advance(ms(400));
    assert!(matches!(hand.poll(), Poll::Ready(Ok(r)) if r.status() == 200));
}

#[test]
fn each_attempt_knows_its_number_and_what_was_tried() {
    let time = ManualClock::new();
    let clock = time.clock();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = {
        let seen = Arc::clone(&seen);
        tower::service_fn(move |_: u32| {
            let mut seen = seen.lock().unwrap();
            let number = Attempt::current().unwrap();
            seen.push((number.number(), number.tried().len()));
            attempt::note(attempt::EndpointId::new(number.number()));
            let sleep = clock.sleep_until(clock.now().saturating_add(ms(1_000)));
            async move {
                let _ = sleep.await;
                Ok::<_, Fail>(())
            }
        })
    };
    let layer = HedgeLayer::with(policy(2), hedge::every(), setup(&time));
    let mut service = layer.layer(service);
    assert!(finish_on(&time, service.call(1)).unwrap().is_ok());
    assert_eq!(*seen.lock().unwrap(), [(1, 0), (2, 1), (3, 2)]);
    // Inside the third attempt of a tier outside.
    seen.lock().unwrap().clear();
    let mut outer = Attempt::nth(3);
    let future = outer.scope(|| service.call(1));
    assert!(finish_on(&time, outer.wrap(future)).unwrap().is_ok());
    assert_eq!(*seen.lock().unwrap(), [(3, 0), (4, 1), (5, 2)]);
}

#[test]
fn fault_064_only_what_may_be_made_twice_is() {
    let layer = |time: &ManualClock| HedgeLayer::with(policy(1), hedge::idempotent(), setup(time));
    for (method, keyed, hedged) in [
        (Method::GET, false, true),
        (Method::PUT, false, true),
        (Method::POST, false, false),
        (Method::PATCH, false, false),
        (Method::POST, true, true),
    ] {
        let time = ManualClock::new();
        let (probe, script, _): (Inner, _, _) = inner(&time);
        script.then_call(answer(&time, 200, 300));
        let layer = layer(&time);
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        if keyed {
            request
                .headers_mut()
                .insert("idempotency-key", "7".parse().unwrap());
        }
        let mut service = layer.layer(probe);
        finish_on(&time, call(&mut service, request))
            .unwrap()
            .unwrap();
        assert_eq!(
            layer.handle().snapshot().hedges,
            u64::from(hedged),
            "{method} {keyed}"
        );
    }
}

#[test]
fn listeners_hear_of_attempts() {
    let time = ManualClock::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let setup = {
        let heard = Arc::clone(&heard);
        setup(&time).with_listener(move |_: &Source<'_>, event: &Event<'_>| {
            let mut heard = heard.lock().unwrap();
            match event {
                Event::Hedged(Hedged::Failed { attempt: 2, cause }) => {
                    heard.push(Err(cause.outcome()));
                }
                Event::Hedged(hedged) => heard.push(Ok(*hedged)),
                Event::Finished(outcome) => heard.push(Err(*outcome)),
                _ => {}
            }
        })
    };
    let layer = HedgeLayer::with(policy(2), hedge::every(), setup);
    let (probe, script, _) = inner(&time);
    script.then_call(Call::never());
    script.then_call(Call::error(BROKEN).after(ms(10)));
    script.then_call(answer(&time, 200, 10));
    assert_eq!(outcome(&time, &mut layer.layer(probe)).0, Some(200));
    let started = |attempt, after| {
        Ok(Hedged::Started {
            attempt,
            after: ms(after),
        })
    };
    assert_eq!(
        *heard.lock().unwrap(),
        [
            started(2, 100),
            Err(Outcome::Failure(Failure::Transient)),
            started(3, 200),
            Ok(Hedged::Won { attempt: 3 }),
            Err(Outcome::Success)
        ]
    );
}

#[test]
fn an_operator_overrules_it() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = layer(&time, 1);
    let mut service = layer.layer(probe);
    layer.handle().set_override(tower_keep::Override::Bypass);
    script.then_call(answer(&time, 200, 300));
    assert_eq!(outcome(&time, &mut service), (Some(200), 300));
    assert_eq!(layer.handle().snapshot().hedges, 0);
    layer.handle().set_override(tower_keep::Override::Close);
    let refused = finish_on(&time, service.call(request("a"))).unwrap();
    let kind = refused
        .err()
        .and_then(|e| tower_keep::AsRejection::as_rejection(&e));
    assert_eq!(kind.map(|r| r.kind()), Some(RejectionKind::Closed));
    layer.handle().set_override(tower_keep::Override::None);
    script.then_call(answer(&time, 200, 300));
    assert_eq!(outcome(&time, &mut service), (Some(200), 100));
}
