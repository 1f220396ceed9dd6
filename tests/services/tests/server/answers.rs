//! What a caller sees of a refusal.

use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower::ServiceBuilder;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::throttle::{self, Headers, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Override, Setup, respond, respond_or};
use tower_keep_services::{Answer, Peer, eventually, serve};

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/never", get(pending::<&'static str>))
}

/// A bucket that is empty after one request, for longer than any test.
fn one_an_hour(headers: Headers) -> throttle::Policy {
    throttle::Policy::builder()
        .rate(1, Duration::from_secs(3600))
        .headers(headers)
        .build()
        .unwrap()
}

fn assert_problem(answer: &Answer, status: StatusCode, detail: &str) {
    assert_eq!(answer.status, status);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let length = answer.body.len().to_string();
    assert_eq!(answer.header("content-length"), length);
    let text = answer.text();
    assert!(
        text.contains(&format!("\"status\":{}", status.as_u16())),
        "{text}"
    );
    assert!(text.contains(detail), "{text}");
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("seconds")
}

#[tokio::test]
async fn throttled_is_429_with_the_time_to_wait() {
    let layer = ThrottleLayer::with(one_an_hour(Headers::OnRefusal), Setup::named("all"));
    let stack = ServiceBuilder::new().layer(layer);
    let mut peer = Peer::connect(serve(app().layer(respond(stack))).await).await;

    let admitted = peer.get("/").await;
    assert_eq!(
        (admitted.status, admitted.text()),
        (StatusCode::OK, "hello")
    );
    assert_eq!(admitted.header("ratelimit"), "");
    let refused = peer.get("/").await;
    assert_problem(&refused, StatusCode::TOO_MANY_REQUESTS, "too many requests");
    // An hour, less what the test took, and at most a quarter and a second of jitter.
    let wait = retry_after(&refused);
    assert!((3_500..=4_502).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), "\"all\";q=1;w=3600");
    let left = refused.header("ratelimit");
    assert!(left.starts_with("\"all\";r=0;t=3"), "{left}");
    assert!(refused.text().contains("violated-policies\":[\"all\"]"));
}

#[tokio::test]
async fn quota_headers_are_on_every_response_if_asked_for() {
    let layer = ThrottleLayer::with(one_an_hour(Headers::Always), Setup::named("all"));
    let stack = ServiceBuilder::new().layer(layer);
    let mut peer = Peer::connect(serve(app().layer(respond(stack))).await).await;
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let answer = peer.get("/").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("ratelimit-policy"), "\"all\";q=1;w=3600");
        let left = answer.header("ratelimit");
        assert!(left.starts_with("\"all\";r=0"), "{left}");
    }
}

#[tokio::test]
async fn full_and_closed_are_503_with_a_time_to_come_back() {
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap());
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new().layer(bulkhead);
    let address = serve(app().layer(respond(stack))).await;

    let mut holder = Peer::connect(address).await;
    let held = tokio::spawn(async move { holder.get("/never").await });
    eventually("the permit is in use", || handle.snapshot().in_flight == 1).await;
    let mut peer = Peer::connect(address).await;
    let refused = peer.get("/").await;
    assert_problem(
        &refused,
        StatusCode::SERVICE_UNAVAILABLE,
        "too many requests at once",
    );
    assert!(retry_after(&refused) >= 1);

    // The caller goes away: its permit is back.
    held.abort();
    eventually("the permit is back", || handle.snapshot().in_flight == 0).await;
    assert_eq!(handle.snapshot().cancelled, 1);
    assert_eq!(peer.get("/").await.status, StatusCode::OK);

    handle.set_override(Override::Close);
    let closed = peer.get("/").await;
    assert_problem(
        &closed,
        StatusCode::SERVICE_UNAVAILABLE,
        "not available for the moment",
    );
    assert!(retry_after(&closed) >= 1);
    handle.set_override(Override::None);
    assert_eq!(peer.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn too_slow_is_504() {
    let policy = timeout::Policy::attempt(Duration::from_millis(50)).unwrap();
    let timeout = TimeoutLayer::new(policy);
    let handle = timeout.handle();
    let stack = ServiceBuilder::new().layer(timeout);
    let mut peer = Peer::connect(serve(app().layer(respond(stack))).await).await;
    let refused = peer.get("/never").await;
    assert_problem(&refused, StatusCode::GATEWAY_TIMEOUT, "no answer in time");
    // The request may have had an effect: nothing tells the caller to repeat it.
    assert_eq!(refused.header("retry-after"), "");
    assert_eq!(handle.snapshot().timed_out, 1);
    assert_eq!(peer.get("/").await.text(), "hello");
}

#[tokio::test]
async fn a_head_request_is_refused_without_a_body() {
    let stack = ServiceBuilder::new().layer(ThrottleLayer::new(one_an_hour(Headers::Never)));
    let mut peer = Peer::connect(serve(app().layer(respond(stack))).await).await;
    let head = || {
        let mut request = tower_keep_services::get("/");
        *request.method_mut() = http::Method::HEAD;
        request
    };
    assert_eq!(peer.ask(head()).await.status, StatusCode::OK);
    for _ in 0..2 {
        // The connection lives on.
        let refused = peer.ask(head()).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.body.len(), 0);
        assert_eq!(refused.header("ratelimit"), "");
    }
}

#[tokio::test]
async fn one_stack_on_some_routes_leaves_the_others_alone() {
    let stack = ServiceBuilder::new().layer(ThrottleLayer::new(one_an_hour(Headers::Never)));
    let guarded = Router::new().route("/guarded", get(|| async { "guarded" }));
    let app = app().merge(guarded.layer(respond(stack)));
    let mut peer = Peer::connect(serve(app).await).await;
    assert_eq!(peer.get("/guarded").await.status, StatusCode::OK);
    assert_eq!(
        peer.get("/guarded").await.status,
        StatusCode::TOO_MANY_REQUESTS
    );
    assert_eq!(peer.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn layers_of_others_work_within_respond_or() {
    use axum::response::IntoResponse;

    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap());
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_millis(50)));
    let answer =
        |error: tower::BoxError| (StatusCode::BAD_GATEWAY, error.to_string()).into_response();
    let app = app().layer(respond_or(stack, answer));
    let mut peer = Peer::connect(serve(app).await).await;
    assert_eq!(peer.get("/never").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(handle.snapshot().failed, 1);
    handle.set_override(Override::Close);
    assert_problem(
        &peer.get("/").await,
        StatusCode::SERVICE_UNAVAILABLE,
        "not available for the moment",
    );
}

#[tokio::test]
async fn a_stack_within_a_stack_tells_of_both_quotas() {
    let throttle = |name: &'static str, permits| {
        let policy = throttle::Policy::builder()
            .rate(permits, Duration::from_secs(3600))
            .burst(permits)
            .headers(Headers::Always);
        let layer = ThrottleLayer::with(policy.build().unwrap(), Setup::named(name));
        respond(ServiceBuilder::new().layer(layer))
    };
    let guarded = Router::new().route("/", get(|| async { "hello" }));
    let app = guarded
        .layer(throttle("route", 1))
        .layer(throttle("all", 9));
    let mut peer = Peer::connect(serve(app).await).await;
    for status in [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        let answer = peer.get("/").await;
        assert_eq!(answer.status, status);
        let lines = answer.headers.get_all("ratelimit-policy");
        let all: Vec<&[u8]> = lines.iter().map(http::HeaderValue::as_bytes).collect();
        let all = String::from_utf8(all.join(&b", "[..])).unwrap();
        assert_eq!(all, "\"route\";q=1;w=3600, \"all\";q=9;w=3600");
    }
}
