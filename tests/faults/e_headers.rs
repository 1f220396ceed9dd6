//! E. What refusals look like on the wire.

use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::test_util::{
    Broken, Call, Hand, ManualClock, Probe, Ready, Script, ScriptBody, finish_on,
};
use tower_keep::throttle::{self, Headers, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Error, Override, Setup, key, respond, respond_or};

use crate::support::cases::{permits, rate};
use crate::support::{BROKEN, Fail, call, inner, ms, poll_ready, response};

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

type Plain = Probe<Script<Response<ScriptBody>, Broken>>;

fn plain(time: &ManualClock) -> (Plain, Script<Response<ScriptBody>, Broken>) {
    let script = Script::new(time, Call::respond(response(time, 200, [])));
    (Probe::new(script.clone()), script)
}

fn text(body: ScriptBody) -> String {
    let mut body = body;
    let mut all = Vec::new();
    let mut poll = || {
        let pinned = std::pin::Pin::new(&mut body);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match pinned.poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
            _ => None,
        }
    };
    while let Some(data) = poll() {
        let data: Bytes = data;
        all.extend_from_slice(&data);
    }
    String::from_utf8(all).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a layer is called: its name never breaks a header or a body.
    #[test]
    fn fault_060_no_name_breaks_a_header(name in any::<String>(), extra in "[\r\n\0\"\\\\;,=]{0,4}") {
        let name = format!("{extra}{name}{extra}");
        let time = ManualClock::new();
        let policy = rate(1).to_builder().headers(Headers::Always).build().unwrap();
        let setup = Setup::named(name.as_str()).with_clock(time.clock());
        let stack = ServiceBuilder::new().layer(ThrottleLayer::with(policy, setup));
        let mut service = respond(stack).layer(plain(&time).0);
        for expected in [200, 429] {
            let answer = finish_on(&time, call(&mut service, Request::new(()))).unwrap().unwrap();
            prop_assert_eq!(answer.status().as_u16(), expected);
            for (header, value) in answer.headers() {
                let clean = value.as_bytes().iter().all(|b| (0x20..0x7f).contains(b));
                prop_assert!(clean, "{}: {:?}", header, value);
            }
            if expected == 429 {
                let text = text(answer.into_body());
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
                prop_assert!(parsed.is_ok(), "{}", text);
            }
        }
    }
}

/// Two quotas that a client cannot tell apart would be taken for one.
#[test]
fn fault_060_unnamed_throttles_have_names_of_their_own() {
    let time = ManualClock::new();
    let policy = rate(3).to_builder().headers(Headers::Always);
    let policy = policy.build().unwrap();
    let throttle = || ThrottleLayer::with(policy, setup(&time));
    let stack = ServiceBuilder::new().layer(throttle()).layer(throttle());
    let mut service = respond(stack).layer(plain(&time).0);
    let answer = finish_on(&time, call(&mut service, Request::new(())));
    let answer = answer.unwrap().unwrap();
    for header in ["ratelimit", "ratelimit-policy"] {
        let told = answer.headers()[header].to_str().unwrap();
        let names: Vec<_> = told.split(',').map(|q| q.split(';').next()).collect();
        assert!(names.len() == 2 && names[0] != names[1], "{told}");
    }
}

#[test]
fn fault_061_a_cost_above_the_burst_is_no_429() {
    let time = ManualClock::new();
    let throttle = ThrottleLayer::with(rate(3), setup(&time));
    let layer = throttle.cost(key::cost::by(|_: &Request<()>| 4));
    let mut service = respond(ServiceBuilder::new().layer(layer)).layer(plain(&time).0);
    let answer = finish_on(&time, call(&mut service, Request::new(())));
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(
        !answer.headers().contains_key("retry-after"),
        "it never passes"
    );
}

#[test]
fn fault_061_every_refusal_has_its_answer() {
    let time = ManualClock::new();
    let timeouts = timeout::Policy::builder().attempt(ms(10)).build().unwrap();
    let throttle = ThrottleLayer::with(rate(1_000), setup(&time));
    let bulkhead = BulkheadLayer::with(permits(1), setup(&time));
    let timeout = TimeoutLayer::with(timeouts, setup(&time));
    let (probe, script) = plain(&time);
    let stack = ServiceBuilder::new()
        .layer(throttle.clone())
        .layer(bulkhead.clone())
        .layer(timeout.clone());
    let mut service = respond(stack).layer(probe);
    let mut answer = |expected: u16, again: bool| {
        let answer = finish_on(&time, call(&mut service, Request::new(())))
            .unwrap()
            .unwrap();
        assert_eq!(answer.status(), StatusCode::from_u16(expected).unwrap());
        let wait = answer
            .headers()
            .get("retry-after")
            .map(|v| v.to_str().unwrap());
        let wait: Option<u64> = wait.map(|v| v.parse().unwrap());
        assert_eq!(wait.is_some(), again, "{expected}: {:?}", answer.headers());
        assert!(wait != Some(0));
        let body = text(answer.into_body());
        assert!(!body.contains("scripted"), "the inner text leaked: {body}");
    };
    answer(200, false);
    script.then_call(Call::never());
    answer(504, false);
    timeout.handle().set_override(Override::Close);
    answer(503, true);
    timeout.handle().set_override(Override::None);
    let held = bulkhead.handle().admit().unwrap();
    answer(503, true);
    drop(held);
    while throttle.handle().admit(1).is_ok() {}
    answer(429, true);
    time.advance(Duration::from_secs(1));
    answer(200, false);
    // The service's own error stays an error, untouched.
    script.then_call(Call::error(Broken("its own")));
    let error = finish_on(&time, call(&mut service, Request::new(()))).unwrap();
    assert_eq!(error.map(drop), Err(Broken("its own")));
}

/// Only the throttle that refused is violated, and a refusal that the service met
/// as a client is not the quota of its answer.
#[test]
fn fault_061_quotas_are_told_of_the_throttle_that_refused() {
    let time = ManualClock::new();
    let layer = |name: &'static str, permits, headers| {
        let policy = throttle::Policy::builder()
            .rate(permits, Duration::from_secs(1))
            .headers(headers)
            .build();
        ThrottleLayer::with(policy.unwrap(), Setup::named(name).with_clock(time.clock()))
    };
    let client = layer("client", 1, Headers::OnRefusal);
    let stack = ServiceBuilder::new()
        .layer(layer("per address", 100, Headers::Always))
        .layer(layer("per user", 2, Headers::OnRefusal));
    let mut service = respond(stack).layer(tower::service_fn(move |_: Request<()>| {
        let _ = client.handle().admit(1);
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Full::<
            Bytes,
        >::default(
        ))))
    }));
    let mut ask = || {
        finish_on(&time, service.call(Request::new(())))
            .unwrap()
            .unwrap()
    };
    for _ in 0..2 {
        let answer = ask();
        assert_eq!(answer.status(), 200);
        let told = answer.headers()["ratelimit"].to_str().unwrap();
        assert!(
            told.contains("per address") && !told.contains("client"),
            "{told}"
        );
    }
    let refused = ask();
    assert_eq!(refused.status(), 429);
    let told = refused.headers()["ratelimit"].to_str().unwrap();
    assert!(told.contains("per user"), "{told}");
    let body = finish_on(&time, refused.into_body().collect())
        .unwrap()
        .unwrap()
        .to_bytes();
    let body = std::str::from_utf8(&body).unwrap();
    assert!(
        body.contains(r#""violated-policies":["per user"]"#),
        "{body}"
    );
}

/// An answer to a failed readiness is given without calling what has failed, once.
#[test]
fn fault_005_a_readiness_that_failed_is_answered_without_a_call() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let answers = std::cell::Cell::new(0);
    let answer = |error: Fail| {
        answers.set(answers.get() + 1);
        assert_eq!(error, BROKEN);
        response(&time, 502, [])
    };
    let mut service = respond_or(tower::layer::util::Identity::new(), answer).layer(probe);
    macro_rules! ask {
        ($service:expr) => {{
            let answer = finish_on(&time, call($service, Request::new(())));
            answer.unwrap().unwrap().status().as_u16()
        }};
    }
    script.then_ready(Ready::Error(BROKEN));
    assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
    // A clone has not failed, and the answer is not its own.
    let mut clone = service.clone();
    let mut early = Hand::new(service.call(Request::new(())));
    let Poll::Ready(Ok(early_answer)) = early.poll() else {
        panic!("no answer");
    };
    assert_eq!(
        (early_answer.status().as_u16(), watch.counts().calls),
        (502, 0)
    );
    assert!(early.poll().is_pending());
    assert_eq!(ask!(&mut clone), 200);
    assert_eq!(ask!(&mut service), 200);
    // What a service said before it became ready again is forgotten.
    let layer = BulkheadLayer::with(permits(1), setup(&time)).handle();
    layer.set_override(Override::Close);
    let refusal = Error::Rejected(layer.admit().unwrap_err());
    for line in [BROKEN, refusal] {
        script.then_ready(Ready::Error(line));
        assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
        assert_eq!(ask!(&mut service), 200);
    }
    assert_eq!(answers.get(), 2);
}
