//! Retries: when there is another attempt, and why there is none.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response};
use parking_lot::Mutex;
use tower::{Layer, Service};
use tower_keep::attempt::Attempt;
use tower_keep::backoff::{Backoff, Jitter};
use tower_keep::budget::{self, Budget};
use tower_keep::deadline::Deadline;
use tower_keep::event::{Conclusion, Event, Source};
use tower_keep::retry::{Http, Idempotent, Policy, RetryLayer, Snapshot};
use tower_keep::test_util::{
    Broken, Call, Hand, ManualClock, Ready, Script, ScriptBody, finish_on,
};
use tower_keep::{AsRejection, Error, Override, RejectionKind, Setup};

use crate::support::cases::Rig;
use crate::support::{BROKEN, Fail, call, ms, request, response, secs};

mod attacks;
mod attempts;
mod bodies;
mod unsent;
mod waits;
mod words;

pub(super) type Scripted = Response<ScriptBody>;

/// Four attempts, 100 ms apart.
pub(super) fn steady() -> Policy {
    let backoff = Backoff::builder().base(ms(100)).jitter(Jitter::None);
    let backoff = backoff.growth(tower_keep::backoff::Growth::Fixed);
    let policy = Policy::builder().max_attempts(4);
    policy.backoff(backoff.build().unwrap()).build().unwrap()
}

pub(super) fn without_end(setup: Setup) -> Budget {
    let budget = Budget::with(budget::Policy::default(), setup);
    budget.set_override(Override::Bypass);
    budget
}

/// What the listeners were told of ends.
type Conclusions = Arc<Mutex<Vec<(u32, Conclusion)>>>;

fn hear(setup: Setup) -> (Setup, Conclusions) {
    let heard = Conclusions::default();
    let into = Arc::clone(&heard);
    let setup = setup.with_listener(move |_: &Source<'_>, event: &Event<'_>| {
        if let Event::Concluded(end) = event {
            into.lock().push((end.attempts, end.conclusion));
        }
    });
    (setup, heard)
}

macro_rules! rig {
    ($rules:expr) => {{
        let (setup, heard) = hear(Setup::new());
        let rig = Rig::with(setup, |setup| {
            let budget = without_end(setup.clone());
            let layer = RetryLayer::with_budget(steady(), $rules, budget, setup);
            let handle = layer.handle();
            (layer, handle)
        });
        (rig, heard)
    }};
}

use rig;

#[test]
fn a_request_succeeds_after_two_failures() {
    let (mut rig, heard) = rig!(Http::new());
    rig.script.then_call(Call::error(BROKEN));
    rig.script.then_call(Call::error(BROKEN).pending(1));
    let mut hand = Hand::new(call(&mut rig.service, request("a")));
    for attempts in 1..=2 {
        assert!(hand.poll().is_pending());
        if attempts == 2 {
            assert!(hand.poll().is_pending());
        }
        assert_eq!(rig.watch.counts().calls, attempts);
        assert_eq!(rig.watch.counts().in_flight, 0, "the last one is over");
        rig.time.advance(ms(99));
        assert!(hand.poll().is_pending());
        assert_eq!(rig.watch.counts().calls, attempts, "not before its time");
        rig.time.advance(ms(1));
    }
    let Poll::Ready(Ok(answer)) = hand.poll() else {
        panic!("the third attempt succeeds");
    };
    assert_eq!(answer.status(), 200);
    drop(hand);
    let seen = rig.handle.snapshot();
    assert_eq!((seen.retried, seen.recovered, seen.succeeded), (2, 1, 1));
    assert_eq!(*heard.lock(), [(3, Conclusion::Succeeded)]);
    rig.assert_quiet();
}

#[test]
fn the_last_outcome_is_returned_when_attempts_are_exhausted() {
    let (mut rig, heard) = rig!(Http::new());
    for text in ["one", "two", "three", "four", "five"] {
        rig.script
            .then_call(Call::error(Error::Inner(Broken(text))));
    }
    let result = finish_on(&rig.time, call(&mut rig.service, request("a"))).unwrap();
    assert_eq!(result.map(drop), Err(Error::Inner(Broken("four"))));
    assert_eq!(rig.watch.counts().calls, 4);
    assert_eq!(*heard.lock(), [(4, Conclusion::Exhausted)]);
    let seen = rig.handle.snapshot();
    assert_eq!((seen.exhausted, seen.retried, seen.failed), (1, 3, 1));
}

/// How often a request of this method is sent if it ends so each time.
fn sent(method: Method, key: bool, line: &Call<Scripted, Fail>) -> u64 {
    let (mut rig, _) = rig!(Http::new());
    for _ in 0..4 {
        rig.script.then_call(line.clone());
    }
    let mut request = request("a");
    *request.method_mut() = method;
    if key {
        let key = http::HeaderValue::from_static("\"k\"");
        request.headers_mut().insert("idempotency-key", key);
    }
    let result = finish_on(&rig.time, call(&mut rig.service, request));
    assert!(result.is_some());
    rig.assert_quiet();
    rig.watch.counts().calls
}

#[test]
fn methods_and_keys_decide_after_errors() {
    let error = Call::error(BROKEN);
    assert_eq!(sent(Method::GET, false, &error), 4);
    assert_eq!(sent(Method::PUT, false, &error), 4);
    assert_eq!(sent(Method::POST, false, &error), 1);
    assert_eq!(sent(Method::PATCH, false, &error), 1);
    assert_eq!(sent(Method::POST, true, &error), 4);
}

#[test]
fn what_was_not_processed_is_sent_again_whatever_its_method() {
    let time = ManualClock::new();
    let busy = Call::respond(response(&time, 429, []));
    assert_eq!(sent(Method::POST, false, &busy), 4);
    let unavailable = Call::respond(response(&time, 503, []));
    assert_eq!(sent(Method::POST, false, &unavailable), 1);
    let unprocessed = Http::new().unprocessed(|error: &Fail| *error == BROKEN);
    let (mut rig, _) = rig!(unprocessed);
    rig.script.then_call(Call::error(BROKEN));
    let mut post = request("a");
    *post.method_mut() = Method::POST;
    let result = finish_on(&rig.time, call(&mut rig.service, post)).unwrap();
    assert!(result.is_ok());
    assert_eq!(rig.watch.counts().calls, 2);
}

#[test]
fn the_server_s_retry_after_is_waited_for() {
    let (mut rig, _) = rig!(Http::new());
    let mut busy = response(&rig.time, 503, []);
    let wait = http::HeaderValue::from_static("7");
    busy.headers_mut().insert("retry-after", wait);
    rig.script.then_call(Call::respond(busy));
    let start = rig.time.now();
    let result = finish_on(&rig.time, call(&mut rig.service, request("a")));
    assert_eq!(result.unwrap().unwrap().status(), 200);
    assert_eq!(rig.time.now().saturating_since(start), secs(7) + ms(100));
}

#[test]
fn a_response_that_asks_not_to_is_not_tried_again() {
    let (mut rig, heard) = rig!(Http::new());
    let mut busy = response(&rig.time, 503, []);
    let no = http::HeaderValue::from_static("false");
    busy.headers_mut().insert("x-should-retry", no);
    rig.script.then_call(Call::respond(busy));
    let mut outer = Attempt::first();
    let mut hand = Hand::new(call(&mut rig.service, request("a")));
    let Poll::Ready(Ok(answer)) = outer.scope(|| hand.poll()) else {
        panic!("it is answered at once");
    };
    assert_eq!(answer.status(), 503);
    assert_eq!(*heard.lock(), [(1, Conclusion::Unwanted)]);
    assert!(outer.is_marked(), "and no tier outside tries it either");
}

#[test]
fn one_tier_retries() {
    let time = ManualClock::new();
    let setup = || Setup::new().with_clock(time.clock());
    let layer = || RetryLayer::with(steady(), Idempotent::new(), setup());
    let (inner, outer) = (layer(), layer());
    let script = Script::<u32, Fail>::new(&time, Call::error(BROKEN));
    let probe = tower_keep::test_util::Probe::new(script);
    let watch = probe.watch();
    let mut service = outer.layer(inner.layer(probe));
    let result = finish_on(&time, call(&mut service, 7_u32)).unwrap();
    assert_eq!(result, Err(BROKEN));
    assert_eq!(watch.counts().calls, 4);
    assert_eq!(inner.handle().snapshot().exhausted, 1);
    let outside: Snapshot = outer.handle().snapshot();
    assert_eq!((outside.unwanted, outside.retried), (1, 0));
}

#[test]
fn no_attempt_and_no_wait_begins_that_cannot_end_in_time() {
    for (left, attempts, took) in [(0, 1, 0), (100, 1, 0), (101, 2, 100), (250, 3, 200)] {
        let (mut rig, heard) = rig!(Http::new());
        for _ in 0..4 {
            rig.script.then_call(Call::error(BROKEN));
        }
        let start = rig.time.now();
        let deadline = Deadline::after(&rig.time.clock(), ms(left));
        let work = deadline.wrap(call(&mut rig.service, request("a")));
        let result = finish_on(&rig.time, work).unwrap();
        assert_eq!(result.map(drop), Err(BROKEN));
        assert_eq!(rig.watch.counts().calls, attempts);
        assert_eq!(rig.time.now().saturating_since(start), ms(took));
        let expected = (u32::try_from(attempts).unwrap(), Conclusion::Deadline);
        assert_eq!(*heard.lock(), [expected]);
    }
}

#[test]
fn a_service_that_does_not_get_ready_ends_with_the_deadline_and_the_first_outcome() {
    let (mut rig, heard) = rig!(Http::new());
    rig.script.then_call(Call::error(BROKEN));
    rig.script.then_ready(Ready::Now);
    rig.script.then_ready(Ready::Never);
    let deadline = Deadline::after(&rig.time.clock(), ms(300));
    let work = deadline.wrap(call(&mut rig.service, request("a")));
    let result = finish_on(&rig.time, work).unwrap();
    assert_eq!(result.map(drop), Err(BROKEN));
    assert_eq!(*heard.lock(), [(1, Conclusion::Deadline)]);
    rig.assert_quiet();
}

#[test]
fn an_empty_budget_fails_at_once() {
    let time = ManualClock::new();
    let (setup, heard) = hear(Setup::new().with_clock(time.clock()));
    let layer = RetryLayer::with(steady(), Idempotent::new(), setup);
    layer.handle().budget().set_override(Override::Close);
    let mut service = layer.layer(Script::<u32, Fail>::new(&time, Call::error(BROKEN)));
    let mut hand = Hand::new(call(&mut service, 7_u32));
    assert_eq!(hand.poll(), Poll::Ready(Err(BROKEN)));
    assert_eq!(*heard.lock(), [(1, Conclusion::Budget)]);
    assert_eq!(layer.handle().snapshot().over_budget, 1);
}

#[test]
fn an_operator_closes_it() {
    let (mut rig, _) = rig!(Http::new());
    rig.handle.set_override(Override::Close);
    let Poll::Ready(Err(error)) = Hand::new(rig.service.call(request("a"))).poll() else {
        panic!("it is closed");
    };
    assert_eq!(error.as_rejection().unwrap().kind(), RejectionKind::Closed);
    assert_eq!(rig.watch.counts().calls, 0);
}

#[test]
fn an_update_holds_for_the_next_end() {
    let (mut rig, _) = rig!(Http::new());
    for _ in 0..4 {
        rig.script.then_call(Call::error(BROKEN));
    }
    let handle = rig.handle.clone();
    let mut hand = Hand::new(call(&mut rig.service, request("a")));
    assert!(hand.poll().is_pending());
    handle.update(
        handle
            .policy()
            .to_builder()
            .max_attempts(2)
            .build()
            .unwrap(),
    );
    rig.time.advance(Duration::from_millis(100));
    assert!(hand.poll().is_ready());
    assert_eq!(handle.snapshot().exhausted, 1);
}

#[test]
fn policies_name_the_field() {
    for attempts in [0, 101, u32::MAX] {
        let error = Policy::builder()
            .max_attempts(attempts)
            .build()
            .unwrap_err();
        assert_eq!(error.field(), "max_attempts");
    }
}
