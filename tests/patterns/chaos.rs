//! Chaos: what goes wrong, to whom, and that it does so again.

mod bodies;

use std::task::Poll;

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::chaos::{self, ChaosLayer, Fault, Latency, Policy};
use tower_keep::classify::{Failure, Outcome, of_error};
use tower_keep::test_util::{Call, Hand, ManualClock, ScriptBody, finish_on};
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, Override, Ratio, RejectionKind, Setup};

use crate::support::cases::{permits, timeouts};
use crate::support::{BROKEN, Fail, call, inner, ms, request, response, secs};

type Res = Response<ScriptBody>;

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).unwrap()
}

fn all(fault: Fault) -> Policy {
    let policy = Policy::builder().longest_hang(secs(60));
    let policy = match fault {
        Fault::Latency => policy.latency(Ratio::ONE, Latency::Fixed { time: ms(250) }),
        Fault::Error => policy.error(Ratio::ONE),
        Fault::Abort => policy.abort(Ratio::ONE),
        Fault::Hang => policy.hang(Ratio::ONE),
        Fault::Cut => policy.cut(Ratio::ONE),
        Fault::Stall => policy.stall(Ratio::ONE),
        Fault::Reset => policy.reset(Ratio::ONE),
        _ => panic!("an unknown fault"),
    };
    policy.build().unwrap()
}

fn started(time: &ManualClock, policy: Policy) -> ChaosLayer {
    let layer = ChaosLayer::with(policy, setup(time));
    layer.handle().start();
    layer
}

/// How a call ended, in a word.
fn word<S>(time: &ManualClock, service: &mut S, request: Request<()>) -> String
where
    S: Service<Request<()>, Response = Res, Error = Fail>,
{
    match finish_on(time, call(service, request)).unwrap() {
        Ok(response) => response.status().as_str().to_owned(),
        Err(error) => match error.as_rejection() {
            Some(rejection) => rejection.kind().label().to_owned(),
            None => error.to_string(),
        },
    }
}

fn plain<S>(time: &ManualClock, service: &mut S) -> String
where
    S: Service<Request<()>, Response = Res, Error = Fail>,
{
    word(time, service, request("a"))
}

#[test]
fn off_by_default_and_again_when_stopped() {
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let layer = ChaosLayer::with(all(Fault::Error), setup(&time));
    let handle = layer.handle();
    let mut service = layer.layer(probe);
    assert_eq!(plain(&time, &mut service), "200");
    assert_eq!(handle.snapshot().requests, 0, "counted while it was off");
    assert!(!handle.snapshot().running);
    handle.start();
    assert!(handle.snapshot().running);
    assert_eq!(plain(&time, &mut service), "injected");
    assert_eq!(watch.counts().calls, 1, "the service was called");
    handle.stop();
    assert_eq!(plain(&time, &mut service), "200");
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.requests, snapshot.errors), (1, 1));
    handle.set_override(Override::Close);
    assert_eq!(plain(&time, &mut service), "closed");
    assert_eq!((handle.snapshot().rejected, watch.counts().calls), (1, 2));
    assert!(!handle.snapshot().running);
    // Who takes an order back starts nothing.
    handle.set_override(Override::None);
    assert_eq!(plain(&time, &mut service), "200");
    handle.start();
    handle.set_override(Override::Bypass);
    assert_eq!(plain(&time, &mut service), "200");
    assert!(handle.snapshot().running);
    handle.set_override(Override::None);
    assert_eq!(plain(&time, &mut service), "injected");
}

#[test]
fn an_experiment_can_be_repeated() {
    let time = ManualClock::new();
    let policy = Policy::builder().seed(7).error(ratio(0.3));
    let policy = policy.hang(ratio(0.1)).build().unwrap();
    type Picks = fn(&Request<()>) -> bool;
    let run = |layer: &ChaosLayer<chaos::Only<Picks>>, spared: bool| {
        layer.handle().start();
        let services = [(); 3].map(|()| layer.layer(inner(&time).0));
        let mut services = services.into_iter().cycle();
        let mut words = String::new();
        for turn in 0..300 {
            let mut service = services.next().unwrap().clone();
            if spared && turn % 3 == 0 {
                let spared = word(&time, &mut service, request("spare me"));
                assert_eq!(spared, "200");
            }
            words += &plain(&time, &mut service)[..1];
        }
        words
    };
    let layer = |policy| {
        let aimed: Picks = |request| request.headers()["x-key"] == "a";
        ChaosLayer::with(policy, setup(&time)).target(chaos::only(aimed))
    };
    let first = layer(policy);
    let words = run(&first, false);
    assert!(
        words.contains('2') && words.matches('i').count() > 90,
        "{words}"
    );
    assert_eq!(run(&first, false), words, "started again");
    assert_eq!(
        run(&layer(policy), true),
        words,
        "another layer, and spared requests"
    );
    assert_eq!(first.handle().snapshot().requests, 600);
    let seed = policy.to_builder().seed(8).build().unwrap();
    assert_ne!(run(&layer(seed), false), words);
    // The same after an update: its first request is the first.
    let other = layer(all(Fault::Latency));
    other.handle().start();
    plain(&time, &mut other.layer(inner(&time).0));
    other.handle().update(policy);
    assert_eq!(other.handle().policy(), policy);
    let mut service = other.layer(inner(&time).0);
    let anew: String = (0..300)
        .map(|_| plain(&time, &mut service)[..1].to_owned())
        .collect();
    assert_eq!(anew, words);
}

#[test]
fn an_injected_error_counts_as_one_of_the_service() {
    let time = ManualClock::new();
    let bulkhead = BulkheadLayer::with(permits(4), setup(&time));
    let mut service = ServiceBuilder::new()
        .layer(bulkhead.clone())
        .layer(started(&time, all(Fault::Error)))
        .service(inner(&time).0);
    let result = finish_on(&time, call(&mut service, request("a"))).unwrap();
    let error = result.unwrap_err();
    let transient = Outcome::Failure(Failure::Transient);
    assert_eq!(of_error(&error), transient);
    let rejection = error.as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Injected);
    assert!(rejection.reached_inner());
    assert_eq!(bulkhead.handle().snapshot().failed, 1);
}

#[test]
fn what_a_failed_call_gets_can_be_made() {
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let make = |fault, request: &Request<()>| -> Option<Result<Res, Fail>> {
        assert_eq!(request.headers()["x-key"], "a", "a panic, for others");
        match fault {
            Fault::Error => Some(Err(BROKEN)),
            Fault::Abort => Some(Ok(response(&ManualClock::new(), 418, []))),
            _ => None,
        }
    };
    let layer = started(&time, all(Fault::Error)).faults(chaos::by(make));
    let mut service = layer.layer(probe.clone());
    assert_eq!(plain(&time, &mut service), "scripted failure: no");
    assert_eq!(word(&time, &mut service, request("b")), "injected");
    layer.handle().update(all(Fault::Abort));
    assert_eq!(plain(&time, &mut service), "418");
    layer.handle().update(all(Fault::Hang));
    assert_eq!(plain(&time, &mut service), "injected");
    let snapshot = layer.handle().snapshot();
    assert_eq!(
        (snapshot.errors, snapshot.aborted, snapshot.hung),
        (2, 1, 1)
    );

    let status = chaos::status(StatusCode::BAD_GATEWAY);
    let layer = started(&time, all(Fault::Abort)).faults(status);
    let mut service = layer.layer(tower::service_fn(|_: Request<()>| async {
        Ok::<Response<String>, Fail>(Response::default())
    }));
    let aborted = finish_on(&time, call(&mut service, request("a")));
    assert_eq!(aborted.unwrap().unwrap().status(), 502);
    layer.handle().update(all(Fault::Error));
    let failed = finish_on(&time, call(&mut service, request("a")));
    assert!(failed.unwrap().is_err());
    assert_eq!(watch.counts().calls, 0);
    // Without a response to give, an abort is an error.
    let mut service = started(&time, all(Fault::Abort)).layer(probe);
    assert_eq!(plain(&time, &mut service), "injected");
}

#[test]
fn fault_011_targets_that_panic_spare_the_request() {
    let time = ManualClock::new();
    let registry = tower_keep::Registry::new();
    let layer = ChaosLayer::with(all(Fault::Error), setup(&time).in_registry(&registry)).target(
        chaos::only(|_: &Request<()>| -> bool { panic!("scripted panic in a target") }),
    );
    layer.handle().start();
    let mut service = layer.layer(inner(&time).0);
    assert_eq!(plain(&time, &mut service), "200");
    assert_eq!(layer.handle().snapshot().spared, 1);
    let panics = registry.reports()[0].value("callback_panics").cloned();
    assert_eq!(panics, Some(1_u64.into()));
}

/// Nor does it get a fault that its authoriser could not decide about.
#[test]
fn fault_011_an_authoriser_that_panics_grants_nothing() {
    let time = ManualClock::new();
    let header = HeaderName::from_static("x-fault");
    let hostile = |_: &Request<()>| panic!("scripted panic in an authoriser");
    let layer = started(&time, all(Fault::Error)).target(chaos::asked(header.clone(), hostile));
    let mut service = layer.layer(inner(&time).0);
    let mut asks = request("a");
    asks.headers_mut()
        .insert(header, HeaderValue::from_static("hang"));
    assert_eq!(word(&time, &mut service, asks), "200");
    // Who asks for nothing is not asked about.
    assert_eq!(plain(&time, &mut service), "injected");
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.spared, snapshot.hung, snapshot.errors), (1, 0, 1));
}

#[test]
fn a_late_response_is_held_back() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = started(&time, all(Fault::Latency));
    let mut service = layer.layer(probe);
    script.then_call(Call::respond(response(&time, 200, [])).after(ms(100)));
    script.then_call(Call::error(BROKEN));
    for (took, said) in [(350, "200"), (250, "scripted failure: no")] {
        let start = time.now();
        assert_eq!(plain(&time, &mut service), said);
        assert_eq!(time.now().saturating_since(start), ms(took));
    }
    // Dropped while it is held back, or before.
    for polls in 0..3 {
        let mut held = Hand::new(service.call(request("a")));
        (0..polls).for_each(|_| assert!(held.poll().is_pending()));
        // Stopped: what has met its fault stays with it.
        layer.handle().stop();
        assert_eq!(time.armed(), usize::from(polls > 0));
        drop(held);
        assert_eq!(time.armed(), 0);
        watch.assert_quiet();
        layer.handle().start();
    }
    assert_eq!(layer.handle().snapshot().delayed, 5);
}

#[test]
fn a_hang_ends_when_the_caller_goes_or_at_last() {
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let hangs = started(&time, all(Fault::Hang));
    let mut service = hangs.layer(probe);
    let start = time.now();
    assert_eq!(plain(&time, &mut service), "injected");
    assert_eq!(time.now().saturating_since(start), secs(60));
    let mut bounded = TimeoutLayer::with(timeouts(), setup(&time)).layer(service);
    let start = time.now();
    assert_eq!(plain(&time, &mut bounded), "timeout");
    assert_eq!(time.now().saturating_since(start), secs(5));
    assert_eq!((watch.counts().calls, time.armed()), (0, 0));
}

#[test]
fn without_a_timer_lateness_is_an_error() {
    let time = ManualClock::new();
    let layer = ChaosLayer::new(all(Fault::Latency));
    layer.handle().start();
    let mut late = Hand::new(layer.layer(inner(&time).0).call(request("a")));
    let Poll::Ready(Err(error)) = late.poll() else {
        panic!("it waits for a timer that nobody drives")
    };
    let kind = error.as_rejection().map(|rejection| rejection.kind());
    assert_eq!(kind, Some(RejectionKind::NoRuntime));
    assert!(late.poll().is_pending());
}

#[test]
fn a_request_may_ask_for_a_fault_if_it_is_authorised() {
    let time = ManualClock::new();
    let (probe, ..) = inner(&time);
    let header = HeaderName::from_static("x-fault");
    let tester = |request: &Request<()>| request.headers()["x-key"] == "tester";
    let nobody = chaos::only(|request: &Request<()>| request.headers()["x-key"] == "victim");
    let policy = all(Fault::Error).to_builder();
    let slow = Latency::Uniform {
        least: secs(1),
        most: secs(2),
    };
    let policy = policy.latency(Ratio::ZERO, slow).build().unwrap();
    let layer =
        started(&time, policy).target(chaos::asked(header.clone(), tester).otherwise(nobody));
    let mut service = layer.layer(probe);
    let mut ask = |who: &'static str, what: &[&'static str]| {
        let mut request = request(who);
        for what in what {
            let value = HeaderValue::from_static(what);
            request.headers_mut().append(header.clone(), value);
        }
        let start = time.now();
        let said = word(&time, &mut service, request);
        (said, time.now().saturating_since(start))
    };
    assert_eq!(ask("tester", &["error"]).0, "injected");
    let (said, took) = ask("tester", &["latency"]);
    assert!(said == "200" && took >= secs(1) && took <= secs(2));
    assert_eq!(ask("tester", &["hang"]), ("injected".to_owned(), secs(60)));
    let nothing = ("200".to_owned(), ms(0));
    assert_eq!(ask("tester", &[]), nothing);
    assert_eq!(ask("tester", &["Error"]), nothing);
    assert_eq!(ask("tester", &["error", "error"]), nothing);
    assert_eq!(ask("anybody", &["error"]), nothing);
    assert_eq!(ask("victim", &["hang"]), ("injected".to_owned(), ms(0)));
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.requests, snapshot.spared), (8, 4));
}

#[test]
fn fault_061_an_injected_error_becomes_a_response() {
    let time = ManualClock::new();
    let stack = tower_keep::respond(started(&time, all(Fault::Error)));
    let service = tower::service_fn(|_: Request<()>| async {
        Ok::<Response<axum::body::Body>, std::convert::Infallible>(Response::default())
    });
    let mut service = stack.layer(service);
    let answer = finish_on(&time, call(&mut service, request("a")));
    assert_eq!(answer.unwrap().unwrap().status(), 500);
}
