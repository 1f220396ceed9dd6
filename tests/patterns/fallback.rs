//! The fallback: what is answered, by whom, and what becomes of the cause.

mod backup;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use http::{HeaderName, Request, Response};
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::classify::{Cause, Failure, Http, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::fallback::{self, Failed, FallbackLayer, Policy, Rule, Snapshot};
use tower_keep::test_util::finish_on;
use tower_keep::test_util::{Call, Hand, ManualClock, Probe, Ready, Script, ScriptBody};
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, Override, RejectionKind, Setup};

use crate::support::cases::{permits, timeouts};
use crate::support::{BROKEN, Fail, call, inner, poll_ready, request, response};

type Res = Response<ScriptBody>;
type Backup = Probe<Script<Res, Fail>>;

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

/// An answer that is told by its status.
fn told(_: Failed<'_, Res, Fail>) -> Option<Res> {
    Some(spare(203))
}

fn spare(status: u16) -> Res {
    let body = ScriptBody::empty();
    Response::builder().status(status).body(body).unwrap()
}

/// What a caller sees: the status, or `None` for an error.
fn status<S>(time: &ManualClock, service: &mut S) -> Option<u16>
where
    S: Service<Request<()>, Response = Res, Error = Fail>,
{
    let result = finish_on(time, call(service, request("a")));
    result
        .unwrap()
        .ok()
        .map(|response| response.status().as_u16())
}

fn answers(layer: &Snapshot) -> (u64, u64, u64) {
    (layer.answered, layer.unanswered, layer.bypassed)
}

#[test]
fn every_source_answers() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let fails = || {
        script.then_call(Call::error(BROKEN).pending(1));
        (&time, probe.clone())
    };
    let (time, inner) = fails();
    let by_path = fallback::keeping(
        |request: &Request<()>| request.uri().path().len(),
        |length, failed: Failed<'_, Res, Fail>| {
            assert_eq!(failed.error(), Some(&BROKEN));
            assert!(failed.response().is_none());
            (length == 1).then(|| spare(208))
        },
    );
    let mut service = FallbackLayer::new(by_path).layer(inner);
    assert_eq!(status(time, &mut service), Some(208));

    let (time, inner) = fails();
    let mut service = FallbackLayer::new(fallback::by(told)).layer(inner);
    assert_eq!(status(time, &mut service), Some(203));

    let (time, inner) = fails();
    let other = Script::new(time, Call::respond(spare(206)).pending(2)).ready(Ready::Pend(2));
    let other: Backup = Probe::new(other);
    let watch = other.watch();
    let answer = fallback::service(Clone::clone, other);
    let mut service = FallbackLayer::new(answer).layer(inner);
    assert_eq!(status(time, &mut service), Some(206));
    watch.assert_quiet();
    // Nobody asks the other service as long as all is well.
    let before = watch.counts().ready_polls;
    assert_eq!(status(time, &mut service), Some(200));
    assert_eq!(
        (watch.counts().ready_polls, watch.counts().calls),
        (before, 1)
    );
}

#[test]
fn a_value_is_cloned_only_when_it_is_needed() {
    static CLONES: AtomicU64 = AtomicU64::new(0);
    #[derive(Debug)]
    struct Answered;
    impl Clone for Answered {
        fn clone(&self) -> Self {
            CLONES.fetch_add(1, Ordering::Relaxed);
            Self
        }
    }
    let time = ManualClock::new();
    let script: Script<Answered, Fail> = Script::new(&time, Call::error(BROKEN));
    let mut service = FallbackLayer::new(fallback::value(Answered)).layer(script.clone());
    script.then_call(Call::respond(Answered));
    let before = CLONES.load(Ordering::Relaxed);
    for cloned in [0, 1] {
        let answer = finish_on(&time, call(&mut service, ()));
        assert!(matches!(answer, Some(Ok(Answered))));
        assert_eq!(CLONES.load(Ordering::Relaxed) - before, cloned);
    }
}

#[test]
fn the_cause_is_told_by_event_extension_and_header() {
    let time = ManualClock::new();
    let told_of = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told_of);
    let setup = setup(&time).with_listener(move |_: &Source<'_>, event: &Event<'_>| {
        if let Event::Answered(cause) | Event::Unanswered(cause) = event {
            let answered = matches!(event, Event::Answered(_));
            heard.lock().unwrap().push((answered, cause.label()));
        }
    });
    let (probe, script, _) = inner(&time);
    let bulkhead = BulkheadLayer::with(permits(1), Setup::new().with_clock(time.clock()));
    let layer = FallbackLayer::with(
        Policy::default(),
        fallback::by(|failed: Failed<'_, Res, Fail>| {
            (failed.cause().label() != "transient").then(|| spare(203))
        }),
        setup,
    )
    .classify(Http)
    .marked_in(HeaderName::from_static("x-degraded"));
    let mut service = layer.layer(bulkhead.layer(probe));

    let mut seen = |line: Option<Call<Res, Fail>>| {
        let _held = line.is_none().then(|| bulkhead.handle().admit().unwrap());
        if let Some(line) = line {
            script.then_call(line);
        }
        let response = finish_on(&time, call(&mut service, request("a"))).unwrap();
        let Ok(response) = response else {
            return None;
        };
        let cause = response.extensions().get::<Cause>().copied();
        let header = response.headers().get("x-degraded");
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header.as_deref(), cause.as_ref().map(Cause::label));
        Some((response.status().as_u16(), cause))
    };
    let (code, cause) = seen(None).unwrap();
    let cause = cause.unwrap();
    assert_eq!((code, cause.label()), (203, "full"));
    assert_eq!(cause.outcome(), Outcome::Neutral);
    let rejection = cause.rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Full);
    assert_eq!(rejection.layer(), bulkhead.handle().id());

    let overloaded = Call::respond(response(&time, 503, []));
    let (code, cause) = seen(Some(overloaded)).unwrap();
    let cause = cause.unwrap();
    assert_eq!((code, cause.label()), (203, "overload"));
    let overload = Failure::Overload { retry_after: None };
    assert_eq!(cause.outcome(), Outcome::Failure(overload));
    assert_eq!(cause.rejection(), None);
    // Whatever the classifier does not call a failure, or calls a lasting one.
    for code in [200, 304, 401, 403, 404, 501] {
        let line = Call::respond(response(&time, code, []));
        assert_eq!(seen(Some(line)), Some((code, None)));
    }
    // The function declines: the failure stays, unmarked.
    let line = Call::respond(response(&time, 500, []));
    assert_eq!(seen(Some(line)), Some((500, None)));
    assert_eq!(seen(Some(Call::error(BROKEN))), None);
    assert_eq!(answers(&layer.handle().snapshot()), (2, 2, 0));
    assert_eq!(
        *told_of.lock().unwrap(),
        [
            (true, "full"),
            (true, "overload"),
            (false, "transient"),
            (false, "transient")
        ]
    );
}

#[test]
fn policy_and_orders_hold_at_once() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = FallbackLayer::with(Policy::default(), fallback::by(told), setup(&time));
    let handle = layer.handle();
    let timeout = TimeoutLayer::with(timeouts(), setup(&time));
    let mut service = layer.layer(timeout.layer(probe));
    let mut fails = || {
        script.then_call(Call::never());
        status(&time, &mut service)
    };
    assert_eq!(fails(), Some(203), "a timeout is answered");
    let policy = Policy::builder().timeout(Rule::Pass).build().unwrap();
    handle.update(policy);
    assert_eq!(handle.policy(), policy);
    assert_eq!(fails(), None);
    handle.update(Policy::default());
    handle.set_override(Override::Bypass);
    assert_eq!(fails(), None);
    assert_eq!(answers(&handle.snapshot()), (1, 0, 1));
    // Its own refusals are not answered, those of a layer inside are.
    handle.set_override(Override::Close);
    let calls = watch.counts().calls;
    assert_eq!(status(&time, &mut service), None);
    handle.set_override(Override::None);
    timeout.handle().set_override(Override::Close);
    assert_eq!(status(&time, &mut service), Some(203));
    assert_eq!(watch.counts().calls, calls);
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.rejected, snapshot.failed), (1, 3));
    assert_eq!((snapshot.neutral, snapshot.in_flight), (1, 0));
}

#[test]
fn a_bypass_that_is_lifted_leaves_calls_that_began_under_it() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = FallbackLayer::with(Policy::default(), fallback::by(told), setup(&time));
    let mut service = layer.layer(probe);
    script.then_call(Call::error(BROKEN).pending(1));
    layer.handle().set_override(Override::Bypass);
    let mut begun = Hand::new(service.call(request("a")));
    assert!(begun.poll().is_pending());
    layer.handle().set_override(Override::None);
    assert!(matches!(begun.poll(), Poll::Ready(Err(BROKEN))));
    assert_eq!(answers(&layer.handle().snapshot()), (0, 1, 0));
}

#[test]
fn fault_011_functions_that_panic_leave_the_failure() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let registry = tower_keep::Registry::new();
    let setup = || setup(&time).in_registry(&registry);
    let bad_keep = fallback::keeping(
        |_: &Request<()>| -> u8 { panic!("scripted panic in what is kept") },
        |_, failed: Failed<'_, Res, Fail>| told(failed),
    );
    let bad_answer = fallback::by(|_: Failed<'_, Res, Fail>| -> Option<Res> {
        panic!("scripted panic in an answer")
    });
    let keeping = FallbackLayer::with(Policy::default(), bad_keep, setup());
    let answering = FallbackLayer::with(Policy::default(), bad_answer, setup());
    let (mut a, mut b) = (keeping.layer(probe.clone()), answering.layer(probe));
    for _ in 0..3 {
        script.then_call(Call::error(BROKEN));
        assert_eq!(status(&time, &mut a), None);
        script.then_call(Call::error(BROKEN));
        assert_eq!(status(&time, &mut b), None);
        // A call that ends well is not touched.
        assert_eq!(status(&time, &mut a), Some(200));
        assert_eq!(status(&time, &mut b), Some(200));
    }
    assert_eq!(answers(&keeping.handle().snapshot()), (0, 3, 0));
    assert_eq!(answers(&answering.handle().snapshot()), (0, 3, 0));
    let panics: Vec<_> = registry
        .reports()
        .iter()
        .map(|report| report.value("callback_panics").cloned())
        .collect();
    assert_eq!(panics, [Some(6_u64.into()), Some(3_u64.into())]);
}

/// What nobody could judge is no failure, and passes as it is.
#[test]
fn fault_011_a_classifier_that_panics_leaves_the_end_as_it_is() {
    #[derive(Clone)]
    struct Hostile;
    impl<Res, Err> tower_keep::classify::Classify<Res, Err> for Hostile {
        fn classify(&self, _: Result<&Res, &Err>) -> tower_keep::classify::Verdict {
            panic!("scripted panic in a classifier")
        }
    }
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = FallbackLayer::with(Policy::default(), fallback::by(told), setup(&time));
    let layer = layer.classify(Hostile);
    let mut service = layer.layer(probe);
    for line in [Call::error(BROKEN), Call::respond(response(&time, 500, []))] {
        script.then_call(line);
        assert_ne!(status(&time, &mut service), Some(203));
    }
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.neutral, snapshot.in_flight), (2, 0));
    assert_eq!(answers(&snapshot), (0, 0, 0));
    watch.assert_quiet();
}

/// Bodies of axum cannot be cloned; a response of text can, and becomes one.
#[tokio::test]
async fn the_same_answer_for_responses_that_cannot_be_cloned() {
    use axum::body::{Body, to_bytes};

    let busy = Response::builder().status(503).header("x-spare", "1");
    let answer = fallback::response(busy.body("later").unwrap());
    let fails = tower::service_fn(async |_: Request<()>| Err::<Response<Body>, _>(BROKEN));
    let mut service = FallbackLayer::new(answer).layer(fails);
    for _ in 0..2 {
        let response = call(&mut service, request("a")).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["x-spare"], "1");
        let body = to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(body, "later");
    }
}

#[test]
fn fallbacks_stack() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let only_broken = |failed: Failed<'_, Res, Fail>| {
        let broken = failed.error() == Some(&BROKEN);
        broken.then(|| spare(203))
    };
    let bulkhead = BulkheadLayer::with(permits(1), setup(&time));
    let mut service = ServiceBuilder::new()
        .layer(FallbackLayer::new(fallback::by(|_| Some(spare(208)))))
        .layer(FallbackLayer::new(fallback::by(only_broken)))
        .layer(bulkhead.clone())
        .service(probe);
    script.then_call(Call::error(BROKEN));
    assert_eq!(status(&time, &mut service), Some(203));
    let _held = bulkhead.handle().admit().unwrap();
    assert_eq!(status(&time, &mut service), Some(208));
}

#[test]
fn a_dead_service_is_not_hidden() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let mut service = FallbackLayer::new(fallback::by(told)).layer(probe);
    script.then_ready(Ready::Error(BROKEN));
    assert_eq!(poll_ready(&mut service), Poll::Ready(Err(BROKEN)));
    script.then_ready(Ready::Never);
    let refused = Hand::new(service.call(request("a"))).poll();
    let Poll::Ready(Err(error)) = refused else {
        panic!("an unready service was called, or its refusal answered")
    };
    let kind = error.as_rejection().map(|rejection| rejection.kind());
    assert_eq!(kind, Some(RejectionKind::NotReady));
}
