//! What retries and hedges tell: `tracing` spans and events, and metrics.

pub(crate) mod ear;

use std::task::Poll;

use tower::{Layer, Service};
use tower_keep::classify::Http;
use tower_keep::event::{Metrics, Trace};
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::retry::{Idempotent, RetryLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Script, finish_on};
use tower_keep::{Override, Setup};

use self::ear::{Ear, Sums};
use crate::retry::{steady, without_end};
use crate::support::{BROKEN, Fail, call, inner, ms, request, response};

/// A service that fails so often, says so, and then succeeds.
fn failing(times: usize) -> impl Service<(), Response = (), Error = Fail, Future: Send> + Clone {
    let left = std::sync::Arc::new(std::sync::Mutex::new(times));
    tower::service_fn(move |()| {
        tracing::debug!(target: "inner", "called");
        let mut left = left.lock().unwrap();
        let result = match *left {
            0 => Ok(()),
            _ => Err(BROKEN),
        };
        *left = left.saturating_sub(1);
        async move {
            tracing::debug!(target: "inner", "polled");
            result
        }
    })
}

fn setup(time: &ManualClock) -> Setup {
    Setup::named("db").with_clock(time.clock())
}

#[test]
fn a_retry_tells_attempt_delay_reason_and_end() {
    let time = ManualClock::new();
    let setup = setup(&time).with_listener(Trace);
    let budget = without_end(Setup::new().with_clock(time.clock()));
    let layer = RetryLayer::with_budget(steady(), Idempotent::new(), budget, setup);
    let (ear, heard) = Ear::new();
    tracing::subscriber::with_default(ear, || {
        let mut service = layer.layer(failing(2));
        finish_on(&time, call(&mut service, ())).unwrap().unwrap();
    });
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "inner: called",
            "inner: polled",
            "tower_keep: retrying pattern=retry name=db attempt=1 delay=100ms cause=transient",
            "span attempt name=db number=2 delay=100ms reason=transient",
            "inner: called in attempt 2",
            "inner: polled in attempt 2",
            "tower_keep: retrying pattern=retry name=db attempt=2 delay=100ms cause=transient",
            "span attempt name=db number=3 delay=100ms reason=transient",
            "inner: called in attempt 3",
            "inner: polled in attempt 3",
            "tower_keep: concluded pattern=retry name=db attempts=3 conclusion=succeeded",
            "tower_keep: finished pattern=retry name=db outcome=Success",
        ]
    );
}

/// A conclusion in words, for each way to stop.
#[test]
fn a_retry_tells_why_it_stops() {
    let concluded = |times, limit: fn(&RetryLayer<Idempotent>)| {
        let time = ManualClock::new();
        let setup = setup(&time).with_listener(Trace);
        let layer = RetryLayer::with(steady(), Idempotent::new(), setup);
        limit(&layer);
        let (ear, heard) = Ear::new();
        tracing::subscriber::with_default(ear, || {
            let deadline = tower_keep::deadline::Deadline::after(&time.clock(), ms(350));
            let mut service = layer.layer(failing(times));
            let _ = finish_on(&time, deadline.wrap(call(&mut service, ())));
        });
        let heard = heard.lock().unwrap();
        let line = heard.iter().find(|line| line.contains("concluded"));
        line.unwrap().rsplit_once('=').unwrap().1.to_owned()
    };
    assert_eq!(concluded(3, |_| {}), "succeeded");
    assert_eq!(concluded(4, |_| {}), "exhausted");
    let empty: fn(&RetryLayer<Idempotent>) =
        |layer| layer.handle().budget().set_override(Override::Close);
    assert_eq!(concluded(1, empty), "budget");
    let more: fn(&RetryLayer<Idempotent>) = |layer| {
        let policy = steady().to_builder().max_attempts(9).build();
        layer.handle().update(policy.unwrap());
    };
    assert_eq!(concluded(9, more), "deadline");
}

#[test]
fn a_hedge_tells_attempt_delay_reason_and_end() {
    let time = ManualClock::new();
    let policy = hedge::Policy::builder().delay(hedge::Delay::Fixed(ms(100)));
    let policy = policy.hedges(3).build().unwrap();
    let layer = HedgeLayer::with(policy, hedge::every(), setup(&time).with_listener(Trace));
    let layer = layer.classify(Http);
    let (probe, script, _) = inner(&time);
    script.then_call(Call::never());
    script.then_call(Call::error(BROKEN).after(ms(10)));
    script.then_call(Call::never());
    script.then_call(Call::respond(response(&time, 200, [])));
    // It tells that it is called, and in which span.
    let told = tower::service_fn(move |request| {
        tracing::debug!(target: "inner", "called");
        let mut probe = probe.clone();
        async move { call(&mut probe, request).await }
    });
    let (ear, heard) = Ear::new();
    tracing::subscriber::with_default(ear, || {
        let mut service = layer.layer(told);
        let response = finish_on(&time, call(&mut service, request("a"))).unwrap();
        assert_eq!(response.unwrap().status(), 200);
    });
    let of = "tower_keep: hedged pattern=hedge name=db hedged=";
    let heard: Vec<_> = heard
        .lock()
        .unwrap()
        .iter()
        .map(|line| line.replace(of, "hedged "))
        .collect();
    let outcome = "outcome: Failure(Transient), rejection: None";
    assert_eq!(
        heard,
        [
            "inner: called".to_owned(),
            "span attempt name=db number=2 delay=100ms reason=late".to_owned(),
            "hedged Started { attempt: 2, after: 100ms }".to_owned(),
            "inner: called in attempt 2".to_owned(),
            format!("hedged Failed {{ attempt: 2, cause: Cause {{ {outcome} }} }}"),
            "span attempt name=db number=3 delay=100ms reason=late".to_owned(),
            "hedged Started { attempt: 3, after: 200ms }".to_owned(),
            "inner: called in attempt 3".to_owned(),
            "span attempt name=db number=4 delay=100ms reason=late".to_owned(),
            "hedged Started { attempt: 4, after: 300ms }".to_owned(),
            "inner: called in attempt 4".to_owned(),
            "hedged Won { attempt: 4 }".to_owned(),
            "hedged CalledOff { attempt: 3 }".to_owned(),
            "tower_keep: finished pattern=hedge name=db outcome=Success".to_owned(),
        ]
    );
}

#[test]
fn metrics_of_retries() {
    let time = ManualClock::new();
    let setup = setup(&time).with_listener(Metrics);
    let budget = without_end(Setup::new().with_clock(time.clock()));
    let layer = RetryLayer::with_budget(steady(), Idempotent::new(), budget, setup);
    let sums = Sums::default();
    metrics::with_local_recorder(&sums, || {
        for failures in [0, 1, 2, 9] {
            let _ = finish_on(&time, call(&mut layer.layer(failing(failures)), ()));
        }
        layer.handle().update(steady());
        layer.handle().set_override(Override::Close);
        let _ = finish_on(&time, call(&mut layer.layer(failing(0)), ()));
    });
    assert_eq!(
        sums.all(),
        [
            (
                "keep_retry_concluded_total conclusion=exhausted layer=db",
                1
            ),
            (
                "keep_retry_concluded_total conclusion=succeeded layer=db",
                2
            ),
            ("keep_retry_finished_total layer=db outcome=success", 3),
            ("keep_retry_finished_total layer=db outcome=transient", 1),
            ("keep_retry_rejected_total kind=closed layer=db", 1),
            ("keep_retry_retries_total cause=transient layer=db", 6),
            ("keep_retry_updated_total layer=db", 1),
        ]
        .map(|(name, sum)| (name.to_owned(), sum))
    );
}

#[test]
fn metrics_of_hedges() {
    let time = ManualClock::new();
    let policy = hedge::Policy::builder().delay(hedge::Delay::Fixed(ms(100)));
    let policy = policy.hedges(2).build().unwrap();
    let layer = HedgeLayer::with(policy, hedge::every(), setup(&time).with_listener(Metrics));
    let script = Script::<(), Fail>::new(&time, Call::respond(()));
    script.then_call(Call::never());
    script.then_call(Call::error(BROKEN).after(ms(200)));
    script.then_call(Call::respond(()).after(ms(300)));
    let sums = Sums::default();
    metrics::with_local_recorder(&sums, || {
        let mut service = layer.layer(script.clone());
        assert_eq!(finish_on(&time, call(&mut service, ())), Some(Ok(())));
        script.then_call(Call::never());
        script.then_call(Call::never());
        script.then_call(Call::respond(()));
        assert_eq!(finish_on(&time, call(&mut service, ())), Some(Ok(())));
        layer.handle().budget().set_override(Override::Close);
        script.then_call(Call::respond(()).after(ms(200)));
        let mut hand = Hand::new(service.call(()));
        assert_eq!(hand.poll(), Poll::Pending);
        time.advance(ms(200));
        assert_eq!(hand.poll(), Poll::Ready(Ok(())));
        // Polled between, it is due.
        script.then_call(Call::never());
        let mut hand = Hand::new(service.call(()));
        assert_eq!(hand.poll(), Poll::Pending);
        time.advance(ms(100));
        assert_eq!(hand.poll(), Poll::Pending);
    });
    assert_eq!(
        sums.all(),
        [
            ("keep_hedge_finished_total layer=db outcome=cancelled", 1),
            ("keep_hedge_finished_total layer=db outcome=success", 3),
            ("keep_hedge_hedged_total layer=db what=called_off", 1),
            ("keep_hedge_hedged_total layer=db what=failed", 1),
            ("keep_hedge_hedged_total layer=db what=no_budget", 1),
            ("keep_hedge_hedged_total layer=db what=started", 4),
            ("keep_hedge_hedged_total layer=db what=won", 2),
        ]
        .map(|(name, sum)| (name.to_owned(), sum))
    );
}
