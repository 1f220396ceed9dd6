//! Health over HTTP and gRPC.

use std::pin::pin;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_keep::health::grpc::{GrpcBody, GrpcHealth};
use tower_keep::health::{About, Check, Component, Criticality, Endpoints, Group, Health};
use tower_keep::probe::{Finding, Status::Fail};

use super::{Thing, pass, started};
use crate::support::{ms, secs};

async fn ask(endpoints: &Endpoints, method: Method, path: &str) -> (u16, String, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap();
    let answer = endpoints.clone().oneshot(request).await.unwrap();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) async fn get(endpoints: &Endpoints, path: &str) -> (u16, String) {
    let (status, _, body) = ask(endpoints, Method::GET, path).await;
    (status, body)
}

/// Four checks, of which `bad` fails.
async fn with_failures() -> (Health, Thing) {
    let bad = Thing::default();
    bad.set(Fail);
    let good = Thing::default();
    let disk = || std::future::ready(Finding::pass().with_observed("utilization", 7, "percent"));
    let about = About::new()
        .version("0")
        .version("1")
        .release_id("1.4.2")
        .note("a")
        .note("b\"");
    let health = Health::builder()
        .about(about)
        .check(
            bad.check("bad")
                .component(Component::Datastore)
                .affects(["/orders/{id}"]),
        )
        .check(
            good.check("good")
                .groups([Group::Liveness, Group::Readiness]),
        )
        .check(Check::new("disk", disk).component(Component::System))
        .check(
            bad.check("extra")
                .criticality(Criticality::Degrading)
                .groups([Group::Liveness]),
        );
    let health = health.start().unwrap();
    pass(ms(100)).await;
    (health, bad)
}

fn open(health: &Health) -> Endpoints {
    health.endpoints().details_for(|_| true)
}

#[tokio::test(start_paused = true)]
async fn fault_084_status_codes_are_those_of_the_draft() {
    let (health, bad) = with_failures().await;
    let shut = health.endpoints();
    for (path, code, body) in [
        ("/livez", 200, r#"{"status":"warn"}"#),
        ("/livez/", 200, r#"{"status":"warn"}"#),
        ("/readyz", 503, r#"{"status":"fail"}"#),
        ("/startupz", 200, r#"{"status":"pass"}"#),
        ("/healthz", 503, r#"{"status":"fail"}"#),
        ("/readyz?verbose", 503, r#"{"status":"fail"}"#),
        ("/readyz?exclude=bad", 503, r#"{"status":"fail"}"#),
        ("/readyz/good", 404, "unknown\n"),
        ("/readyz/bad", 404, "unknown\n"),
        ("/", 404, "unknown\n"),
        ("/readyz/a/b", 404, "unknown\n"),
        ("/ready", 404, "unknown\n"),
    ] {
        assert_eq!(get(&shut, path).await, (code, body.to_owned()), "{path}");
    }
    bad.set(tower_keep::probe::Status::Pass);
    pass(secs(1)).await;
    for path in ["/livez", "/readyz", "/healthz"] {
        let expected = (
            200,
            "application/health+json".into(),
            r#"{"status":"pass"}"#.into(),
        );
        assert_eq!(ask(&shut, Method::GET, path).await, expected, "{path}");
    }
    assert_eq!(ask(&shut, Method::HEAD, "/livez").await.0, 200);
    for method in [Method::POST, Method::PUT, Method::OPTIONS] {
        let request = Request::builder()
            .method(method)
            .uri("/livez")
            .body(())
            .unwrap();
        let answer = health.endpoints().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers()["allow"], "GET, HEAD");
    }
}

/// Whether it is what section 3 and 4 of the draft allow.
fn assert_valid(document: &Value) {
    const TOP: [&str; 9] = [
        "status",
        "version",
        "releaseId",
        "notes",
        "output",
        "checks",
        "links",
        "serviceId",
        "description",
    ];
    const CHECK: [&str; 9] = [
        "componentId",
        "componentType",
        "observedValue",
        "observedUnit",
        "status",
        "affectedEndpoints",
        "time",
        "output",
        "links",
    ];
    let is_status =
        |object: &Value| matches!(object["status"].as_str(), Some("pass" | "warn" | "fail"));
    assert!(is_status(document), "{document}");
    for (key, value) in document.as_object().unwrap() {
        assert!(TOP.contains(&&**key), "{key}");
        match &**key {
            "notes" => assert!(value.as_array().unwrap().iter().all(Value::is_string)),
            "output" => assert_ne!(document["status"], "pass"),
            "checks" => assert!(value.is_object()),
            _ => assert!(value.is_string(), "{key}"),
        }
    }
    for (key, list) in document["checks"].as_object().into_iter().flatten() {
        let (component, measurement) = key.split_once(':').unwrap();
        assert!(!component.is_empty() && !measurement.contains(':'), "{key}");
        for check in list.as_array().unwrap() {
            assert!(is_status(check));
            for (key, value) in check.as_object().unwrap() {
                assert!(CHECK.contains(&&**key), "{key}");
                let passes = check["status"] == "pass";
                match &**key {
                    "affectedEndpoints" => assert!(!passes && value.is_array()),
                    "output" => assert!(!passes),
                    "componentType" => assert!(
                        ["component", "datastore", "system"].contains(&value.as_str().unwrap())
                    ),
                    "time" => assert!(is_date(value.as_str().unwrap()), "{value}"),
                    _ => (),
                }
            }
        }
    }
}

/// `2026-01-31T23:59:59.123Z`, by its shape.
fn is_date(text: &str) -> bool {
    let shape = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c });
    shape.collect::<String>() == "0000-00-00T00:00:00.000Z"
}

async fn document(endpoints: &Endpoints, path: &str) -> (u16, Value) {
    let (code, kind, body) = ask(endpoints, Method::GET, path).await;
    assert_eq!(kind, "application/health+json");
    let document = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_valid(&document);
    (code, document)
}

#[tokio::test(start_paused = true)]
async fn documents_are_those_of_the_draft() {
    let (health, bad) = with_failures().await;
    let open = open(&health);
    let (code, all) = document(&open, "/healthz").await;
    assert_eq!((code, &all["status"]), (503, &json!("fail")));
    assert_eq!(
        (&all["version"], &all["releaseId"]),
        (&json!("1"), &json!("1.4.2"))
    );
    assert_eq!(all["notes"], json!(["a", "b\""]));
    let keys: Vec<_> = all["checks"].as_object().unwrap().keys().collect();
    let names = [
        "bad:responseTime",
        "disk:utilization",
        "extra:responseTime",
        "good:responseTime",
    ];
    assert_eq!(keys, names);
    let failed = &all["checks"]["bad:responseTime"][0];
    assert_eq!(failed["status"], "fail");
    assert_eq!(failed["output"], "connection refused");
    assert_eq!(failed["componentType"], "datastore");
    assert_eq!(failed["affectedEndpoints"], json!(["/orders/{id}"]));
    assert_eq!(failed["observedUnit"], "us");
    let disk = &all["checks"]["disk:utilization"][0];
    assert_eq!(
        (&disk["observedValue"], &disk["observedUnit"]),
        (&json!(7), &json!("percent"))
    );

    let (code, live) = document(&open, "/livez").await;
    assert_eq!((code, &live["status"]), (200, &json!("warn")));
    assert_eq!(live["checks"].as_object().unwrap().len(), 2);
    assert_eq!(document(&open, "/readyz/bad").await.0, 503);
    assert_eq!(document(&open, "/readyz/good").await.0, 200);
    assert_eq!(get(&open, "/livez/bad").await.0, 404, "of another group");
    assert_eq!(document(&open, "/readyz?exclude=bad").await.0, 200);
    assert_eq!(
        document(&open, "/readyz?exclude=good&x&exclude=disk")
            .await
            .0,
        503
    );

    bad.set(tower_keep::probe::Status::Pass);
    pass(secs(1)).await;
    assert_eq!(document(&open, "/readyz").await.0, 200);
    health.withdraw("line one\nline two");
    let (code, readiness) = document(&open, "/readyz").await;
    assert_eq!(
        (code, &readiness["output"]),
        (503, &json!("line one\nline two"))
    );
    assert_eq!(document(&open, "/readyz?exclude=bad").await.0, 503);
    assert_eq!(document(&open, "/livez").await.0, 200);
    drop(health);
    let empty = started([]).endpoints().details_for(|_| true);
    assert_eq!(
        document(&empty, "/readyz").await,
        (200, json!({"status": "pass"}))
    );
}

#[tokio::test(start_paused = true)]
async fn lines_are_those_of_the_api_server() {
    let (health, _) = with_failures().await;
    let open = open(&health);
    let lines = async |path: &str| {
        let (code, kind, body) = ask(&open, Method::GET, path).await;
        assert_eq!(kind, "text/plain; charset=utf-8");
        (code, body)
    };
    let text = "[-]bad failed: connection refused\n[+]good ok\n[+]disk ok\nreadyz check failed\n";
    assert_eq!(lines("/readyz?verbose").await, (503, text.to_owned()));
    let text = "[+]bad excluded: ok\n[+]good ok\n[+]disk ok\nreadyz check passed\n";
    assert_eq!(
        lines("/readyz?verbose=1&exclude=bad").await,
        (200, text.to_owned())
    );
    let text = "[-]bad failed: connection refused\nreadyz check failed\n";
    assert_eq!(lines("/readyz/bad?verbose").await, (503, text.to_owned()));
    health.withdraw("a\nb");
    let (_, text) = lines("/readyz?verbose&exclude=bad").await;
    assert!(text.ends_with("[-]a b\nreadyz check failed\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn details_are_for_those_who_may_see_them() {
    let (health, _) = with_failures().await;
    let endpoints = health
        .endpoints()
        .details_for(|head| match head.headers.get("x-key") {
            Some(key) if key == "panic" => panic!("scripted"),
            key => key.is_some_and(|key| key == "sesame"),
        });
    for (key, sees) in [("sesame", true), ("other", false), ("panic", false)] {
        let request = Request::get("/readyz")
            .header("x-key", key)
            .body(())
            .unwrap();
        let answer = endpoints.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 503);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let told = body.windows(7).any(|word| word == b"refused");
        assert_eq!(told, sees, "{key}: {body:?}");
    }
    assert_eq!(health.callback_panics(), 1);
}

fn grpc(method: &str, message: &'static [u8]) -> Request<Full<Bytes>> {
    let uri = format!("/grpc.health.v1.Health/{method}");
    Request::post(uri)
        .body(Full::new(Bytes::from_static(message)))
        .unwrap()
}

const WHOLE: &[u8] = &[0, 0, 0, 0, 0];
const SHOP: &[u8] = &[0, 0, 0, 0, 6, 0x0A, 4, b's', b'h', b'o', b'p'];
const OTHER: &[u8] = &[0, 0, 0, 0, 3, 0x0A, 1, b'x'];

fn answer(number: u8) -> Bytes {
    Bytes::from(vec![0, 0, 0, 0, 2, 8, number])
}

#[tokio::test(start_paused = true)]
async fn a_grpc_check_answers_by_readiness() {
    let thing = Thing::default();
    let health = started([thing.check("db")]);
    let mut service = GrpcHealth::new(&health).service("shop");
    for expected in [2, 1] {
        for message in [WHOLE, SHOP] {
            let response = service.call(grpc("Check", message)).await.unwrap();
            assert_eq!(response.headers()["content-type"], "application/grpc");
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
            assert_eq!(body.to_bytes(), answer(expected));
        }
        pass(ms(100)).await;
    }
    for (method, message, code) in [
        ("Check", OTHER, "5"),
        ("Check", &[1, 2, 3][..], "3"),
        ("Check", &[], "3"),
        ("Other", WHOLE, "12"),
        ("List", WHOLE, "12"),
    ] {
        let response = service.call(grpc(method, message)).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()["grpc-status"]),
            (StatusCode::OK, &code.parse().unwrap())
        );
        assert!(response.into_body().frame().await.is_none());
    }
}

async fn next(body: &mut GrpcBody) -> Bytes {
    let frame = body.frame().await.unwrap().unwrap();
    frame.into_data().unwrap()
}

fn is_silent(body: &mut GrpcBody) -> bool {
    let frame = pin!(body.frame());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    frame.poll(&mut cx).is_pending()
}

#[tokio::test(start_paused = true)]
async fn a_grpc_watch_tells_at_once_and_then_changes() {
    let (db, extra) = (Thing::default(), Thing::default());
    let health = started([
        db.check("db"),
        extra.check("extra").criticality(Criticality::Degrading),
    ]);
    pass(ms(100)).await;
    let mut service = GrpcHealth::new(&health);
    let mut watch = service
        .call(grpc("Watch", WHOLE))
        .await
        .unwrap()
        .into_body();
    assert_eq!(next(&mut watch).await, answer(1));
    extra.set(Fail);
    pass(secs(2)).await;
    assert!(is_silent(&mut watch), "it still serves");
    db.set(Fail);
    assert_eq!(next(&mut watch).await, answer(2));
    db.set(tower_keep::probe::Status::Pass);
    assert_eq!(next(&mut watch).await, answer(1));
    health.withdraw("draining");
    assert_eq!(next(&mut watch).await, answer(2));

    let mut unknown = service
        .call(grpc("Watch", OTHER))
        .await
        .unwrap()
        .into_body();
    assert_eq!(next(&mut unknown).await, answer(3));
    pass(secs(60)).await;
    assert!(is_silent(&mut unknown), "it never ends");
}
