//! Policies of several limits from files, and what they tell clients.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::test_util::{ManualClock, finish_on};
use tower_keep::throttle::{Headers, Kind, Limit, OverTotal, Policy, ThrottleLayer};
use tower_keep::{Setup, respond};

use super::per_second;
use crate::support::secs;

/// Every quota has its name and its numbers; the one that refused is violated, and says
/// when to come back.
#[test]
fn fault_061_every_limit_is_told_by_name() {
    let time = ManualClock::new();
    time.advance(secs(7_200));
    let policy = per_second(3)
        .headers(Headers::Always)
        .also(Limit::new(4, secs(3_600)).kind(Kind::FixedWindow))
        .total(Limit::new(5, secs(60)).burst(5))
        .build()
        .unwrap();
    let key = tower_keep::key::value(|request: &Request<u64>| Some(*request.body()));
    let setup = Setup::named("api").with_clock(time.clock());
    let stack = ServiceBuilder::new().layer(ThrottleLayer::keyed_with(policy, key, setup));
    let inner = tower::service_fn(|_: Request<u64>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Full::<
            Bytes,
        >::default(
        ))))
    });
    let mut service = respond(stack).layer(inner);
    let mut ask = |key: u64| {
        let answer = finish_on(&time, service.call(Request::new(key)));
        let (head, body) = answer.unwrap().unwrap().into_parts();
        let body = finish_on(&time, body.collect()).unwrap().unwrap();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        let header = |name| {
            let value = head.headers.get(name).map(|v| v.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        let told = (header("ratelimit-policy"), header("ratelimit"));
        (head.status.as_u16(), told, header("retry-after"), body)
    };
    let (status, told, ..) = ask(1);
    assert_eq!(status, 200);
    assert_eq!(
        told.0,
        r#""api";q=3;w=1,"api-2";q=4;w=3600,"api-total";q=5;w=60"#
    );
    assert_eq!(
        told.1,
        r#""api";r=2;t=1,"api-2";r=3;t=3600,"api-total";r=4;t=12"#
    );
    ask(1);
    ask(1);
    let (status, told, wait, body) = ask(1);
    assert_eq!(
        (status, wait.parse::<u64>().unwrap().min(3) > 0),
        (429, true)
    );
    assert_eq!(
        told.1,
        r#""api";r=0;t=1,"api-2";r=1;t=3600,"api-total";r=2;t=36"#
    );
    assert!(body.contains(r#""violated-policies":["api"]"#), "{body}");
    // The total of all keys is no client's fault.
    ask(2);
    ask(2);
    let (status, told, wait, body) = ask(3);
    assert_eq!(status, 503);
    assert!((12..=17).contains(&wait.parse::<u64>().unwrap()), "{wait}");
    assert!(told.1.contains(r#""api-total";r=0;t=12"#), "{told:?}");
    assert!(body.contains("temporary-reduced-capacity"), "{body}");
    assert!(!body.contains("violated"), "{body}");
    // Two at once: the longest wait.
    time.advance(secs(12));
    ask(1);
    time.advance(secs(24));
    let (status, told, wait, body) = ask(1);
    assert_eq!(status, 429);
    assert!(wait.parse::<u64>().unwrap() > 3_000, "{told:?}: {wait}");
    assert!(body.contains(r#"["api-2"]"#), "{body}");
}

/// A policy with all of it from a file, and what cannot be.
#[test]
fn a_policy_of_several_limits_from_a_file() {
    let text = r#"
        permits = 10
        burst = 20
        also = [
            { permits = 1000, per = "1h", kind = "fixed-window" },
            { permits = 5, per = "10s", kind = "warm-up", burst = 2, warm_up = "1m" },
        ]
        total = { permits = 5000, kind = "sliding-window" }
        over_total = "quota"
        max_debt = 7
    "#;
    let policy = per_second(10)
        .burst(20)
        .also(Limit::new(1_000, secs(3_600)).kind(Kind::FixedWindow))
        .also(
            Limit::new(5, secs(10))
                .kind(Kind::WarmUp)
                .burst(2)
                .warm_up(secs(60)),
        )
        .total(Limit::new(5_000, secs(1)).kind(Kind::SlidingWindow))
        .over_total(OverTotal::Quota)
        .max_debt(7)
        .build()
        .unwrap();
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(policy.to_builder().build(), Ok(policy));
    let warm = "permits = 5\nkind = \"warm-up\"\nwarm_up = \"3s\"";
    let policy = per_second(5).kind(Kind::WarmUp).warm_up(secs(3)).build();
    assert_eq!(toml::from_str(warm).ok(), policy.clone().ok());
    assert_eq!(policy.clone().unwrap().to_builder().build(), policy);
    for (bad, why) in [
        ("kind = \"leaky\"", "unknown variant"),
        ("kind = \"pacing\"\nburst = 2", "must be left out"),
        ("kind = \"sliding-log\"\npermits = 65536", "rate"),
        ("kind = \"sliding-window\"\npermits = 16384", "rate"),
        ("kind = \"warm-up\"\nwarm_up = \"0s\"", "warm_up"),
        ("also = [{ permits = 0 }]", "also"),
        ("also = [{ per = \"1s\" }]", "missing field `permits`"),
        (
            "also = [{ permits = 1, max_wait = \"1s\" }]",
            "unknown field",
        ),
        (
            "total = { permits = 1, kind = \"fixed-window\", per = \"8ns\" }",
            "total",
        ),
        (
            "also = [{permits = 1},{permits = 1},{permits = 1},{permits = 1}]",
            "up to 3",
        ),
    ] {
        let text = match bad.contains("permits = 65536") || bad.contains("permits = 16384") {
            true => bad.to_owned(),
            false => format!("permits = 5\n{bad}"),
        };
        let error = toml::from_str::<Policy>(&text).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}
