//! Requests in flight.

use std::future::{Pending, pending};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use tower::{Layer, Service, service_fn};
use tower_keep::event::{Event, Source};
use tower_keep::test_util::Hand;
use tower_keep::watchdog::{OnStuck, Policy, PolicyBuilder, Watchdog, WatchdogLayer, stage};
use tower_keep::{Error, Override, RejectionKind, key};

use crate::bench::{Bench, ms, secs};

type Fail = Error<()>;

/// Answers even numbers, and never odd ones; says how far it has come.
async fn answer(n: u32) -> Result<u32, Fail> {
    stage("begun");
    if n % 2 == 1 {
        stage("waits for the database that is gone");
        never().await;
    }
    Ok(n)
}

fn never() -> Pending<()> {
    pending()
}

fn limits() -> PolicyBuilder {
    Policy::builder().stuck_after(secs(1))
}

fn watched(bench: &Bench, policy: PolicyBuilder) -> (Watchdog, WatchdogLayer) {
    let watchdog = bench.builder().start().unwrap();
    let layer = WatchdogLayer::with(policy.build().unwrap(), bench.setup("api"));
    watchdog.watch(&layer.handle());
    // Until it looks as often as the layer wants.
    crate::bench::wait(|| {
        bench
            .time
            .next_due()
            .is_some_and(|due| due.saturating_since(bench.time.now()) <= ms(125))
    });
    (watchdog, layer)
}

/// The first 24 bytes.
const STUCK: &str = "stuck in \"waits for the database t\"";

#[test]
fn fault_086_a_stuck_request_is_told_once_and_goes_on() {
    let bench = Bench::new();
    let (_watchdog, layer) = watched(&bench, limits());
    let mut service = layer.layer(service_fn(answer));
    let mut stuck = Hand::new(service.call(1));
    assert!(stuck.poll().is_pending());
    for n in 0..20 {
        bench.pass(ms(90));
        assert_eq!(
            Hand::new(service.call(2 * n)).poll(),
            Poll::Ready(Ok(2 * n))
        );
    }
    bench.pass(secs(60));
    assert_eq!(bench.heard.all(), [STUCK]);
    let told = bench.heard.when(STUCK).unwrap();
    assert!(told >= secs(1) && told <= ms(1_260), "{told:?}");
    assert!(stuck.poll().is_pending(), "it was killed");
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.stuck, snapshot.in_flight), (1, 1));
    // Another one in the same place is another one.
    drop(stuck);
    let mut next = Hand::new(service.call(3));
    assert!(next.poll().is_pending());
    bench.pass(secs(3));
    assert_eq!(bench.heard.all(), [STUCK, STUCK]);
}

#[test]
fn fault_086_a_stuck_request_is_killed_where_that_is_asked_for() {
    let bench = Bench::new();
    let (_watchdog, layer) = watched(&bench, limits().on_stuck(OnStuck::Reject));
    let mut service = layer.layer(service_fn(answer));
    let mut stuck = Hand::new(service.call(1));
    assert!(stuck.poll().is_pending());
    bench.pass(ms(900));
    assert_eq!(stuck.wakes(), 0);
    bench.pass(ms(400));
    assert_eq!(stuck.wakes(), 1);
    let Poll::Ready(Err(Error::Rejected(rejection))) = stuck.poll() else {
        panic!("it goes on");
    };
    assert_eq!(rejection.kind(), RejectionKind::Stuck);
    assert!(rejection.reached_inner());
    assert_eq!(rejection.layer(), layer.handle().id());
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.given_up, snapshot.in_flight), (1, 0));
    // Nothing of it is left for the next one in its place.
    let mut next = Hand::new(service.call(3));
    assert!(next.poll().is_pending() && next.poll().is_pending());
    assert_eq!(next.wakes(), 0);
}

#[test]
fn an_answer_that_comes_is_better_than_giving_up() {
    let bench = Bench::new();
    let (_watchdog, layer) = watched(&bench, limits().on_stuck(OnStuck::Reject));
    let (answer, wait) = tokio::sync::oneshot::channel();
    let wait = Mutex::new(Some(wait));
    let mut service = layer.layer(service_fn(move |()| {
        let wait = wait.lock().unwrap().take().unwrap();
        async move { wait.await.map_err(|_| Fail::Inner(())) }
    }));
    let mut call = Hand::new(service.call(()));
    assert!(call.poll().is_pending());
    bench.pass(secs(2));
    answer.send(7).unwrap();
    assert_eq!(call.poll(), Poll::Ready(Ok(7)));
}

#[test]
fn a_stuck_request_is_told_with_its_key() {
    let bench = Bench::new();
    let keys = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&keys);
    let setup = bench
        .setup("api")
        .with_listener(move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Stuck(stuck) = event {
                told.lock().unwrap().push(stuck.key.unwrap());
            }
        });
    let watchdog = bench.builder().start().unwrap();
    let by = key::value(|n: &u32| Some(*n));
    let layer = WatchdogLayer::with(limits().build().unwrap(), setup).keyed(by);
    watchdog.watch(&layer.handle());
    crate::bench::wait(|| bench.time.next_due() < Some(bench.time.now().saturating_add(secs(1))));
    let mut service = layer.layer(service_fn(answer));
    let mut calls: Vec<_> = [5, 7].map(|n| Hand::new(service.call(n))).into();
    calls.iter_mut().for_each(|call| drop(call.poll()));
    bench.pass(secs(2));
    let mut expected = [5, 7].map(|n| layer.handle().key_id(&by, &n).unwrap());
    let mut keys = keys.lock().unwrap().clone();
    expected.sort();
    keys.sort();
    assert_eq!(keys, expected);
}

#[test]
fn over_its_capacity_requests_pass_and_are_counted() {
    let bench = Bench::new();
    let (_watchdog, layer) = watched(&bench, limits().capacity(1));
    let mut service = layer.layer(service_fn(answer));
    // A capacity is rounded up to 64.
    let mut calls: Vec<_> = (0..70)
        .map(|n| Hand::new(service.call(2 * n + 1)))
        .collect();
    for call in &mut calls {
        assert!(call.poll().is_pending());
    }
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.in_flight, snapshot.unlisted), (70, 6));
    bench.pass(secs(2));
    assert_eq!(layer.handle().snapshot().stuck, 64);
    drop(calls);
    assert!(Hand::new(service.call(2)).poll().is_ready());
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.in_flight, snapshot.unlisted), (0, 6));
}

#[test]
fn nobody_is_watched_under_a_bypass() {
    let bench = Bench::new();
    let (_watchdog, layer) = watched(&bench, limits());
    layer.handle().set_override(Override::Bypass);
    let mut service = layer.layer(service_fn(answer));
    let mut call = Hand::new(service.call(1));
    assert!(call.poll().is_pending());
    bench.pass(secs(3));
    assert_eq!(bench.heard.all(), [""; 0]);
    assert_eq!(layer.handle().snapshot().bypassed, 1);
}

#[test]
fn a_service_of_which_nothing_comes_back_is_hung_as_a_whole() {
    let bench = Bench::new();
    let policy = limits().stuck_after(secs(600)).hung_after(secs(2));
    let watchdog = bench.builder().start().unwrap();
    let layer = WatchdogLayer::with(policy.build().unwrap(), bench.setup("api"));
    watchdog.watch(&layer.handle());
    crate::bench::wait(|| bench.time.next_due() < Some(bench.time.now().saturating_add(secs(1))));
    let mut service = layer.layer(service_fn(answer));
    // Nobody is there.
    bench.pass(secs(60));
    // One never ends, and others do.
    let mut stuck = Hand::new(service.call(1));
    assert!(stuck.poll().is_pending());
    for _ in 0..20 {
        bench.pass(secs(1));
        assert!(Hand::new(service.call(2)).poll().is_ready());
    }
    assert_eq!(bench.heard.all(), [""; 0]);
    let since = bench.elapsed();
    bench.pass(secs(10));
    let hung = "layer \"api\": unknown";
    assert_eq!(bench.heard.all(), [hung]);
    let after = bench.heard.when(hung).unwrap() - since;
    assert!(after >= secs(2) && after <= ms(2_510), "{after:?}");
    drop(stuck);
    bench.pass(secs(1));
    assert_eq!(bench.heard.all(), [hung, "layer \"api\": recovered"]);
}

#[test]
fn stages_belong_to_the_innermost_layer_and_to_nobody_outside() {
    let bench = Bench::new();
    stage("nobody");
    let (_watchdog, outer) = watched(&bench, limits());
    let inner = WatchdogLayer::with(limits().build().unwrap(), bench.setup("inner"));
    let mut service = outer.layer(inner.layer(service_fn(answer)));
    let mut call = Hand::new(service.call(1));
    assert!(call.poll().is_pending());
    stage("nobody");
    bench.pass(secs(2));
    // The inner one is not watched.
    assert_eq!(bench.heard.all(), ["stuck in \"\""]);
}

#[test]
fn a_layer_that_is_gone_is_watched_no_more() {
    let bench = Bench::new();
    // On a thread of its own, of which nothing is left when it ends.
    let own = bench.clone();
    let there = std::thread::spawn(move || watched(&own, limits().hung_after(secs(1))).0);
    let watchdog = there.join().unwrap();
    let looks = || watchdog.snapshot().looks;
    bench.pass(secs(1));
    let before = looks();
    bench.pass(secs(100));
    assert!(looks() - before <= 2, "it still looks for a layer");
}
