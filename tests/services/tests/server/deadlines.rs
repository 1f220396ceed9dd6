//! A caller's deadline, from its header through the handler to the next server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::deadline::{self, Deadline, ReadLayer, Wire, WriteLayer};
use tower_keep::respond;
use tower_keep::timeout::{Policy, TimeoutLayer};
use tower_keep_services::{Peer, get_with, now, serve};

const LEFT: &str = "x-timeout-ms";

fn wire() -> Wire {
    Wire::millis(HeaderName::from_static(LEFT))
}

/// What a server does with deadlines.
fn guarded(app: Router) -> Router {
    let stack = ServiceBuilder::new()
        .layer(ReadLayer::new(wire()))
        .layer(TimeoutLayer::new(Policy::builder().build().unwrap()));
    app.layer(respond(stack))
}

fn left() -> String {
    Deadline::current().map_or("none".to_owned(), |deadline| {
        deadline.remaining(now()).as_millis().to_string()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_sees_it_at_every_poll_and_tasks_take_it_along() {
    async fn handler() -> String {
        let at_first = left();
        tokio::task::yield_now().await;
        let after_a_wait = left();
        let spawned = tokio::spawn(async { left() }).await.unwrap();
        let carried = tokio::spawn(deadline::carry(async { left() }))
            .await
            .unwrap();
        [at_first, after_a_wait, spawned, carried].join(" ")
    }
    let app = guarded(Router::new().route("/", get(handler)));
    let mut peer = Peer::connect(serve(app).await).await;

    let answer = peer.ask(get_with("/", LEFT, "60000")).await;
    let seen: Vec<&str> = answer.text().split(' ').collect();
    for seen in [seen[0], seen[1], seen[3]] {
        let seen: u64 = seen.parse().unwrap();
        assert!((1..=60_000).contains(&seen), "{seen}");
    }
    assert_eq!(seen[2], "none");
    // A request without one, on the same connection.
    assert_eq!(peer.get("/").await.text(), "none none none none");
    // What cannot be read is no deadline.
    let answer = peer.ask(get_with("/", LEFT, "soon")).await;
    assert_eq!(answer.text(), "none none none none");
}

#[tokio::test]
async fn what_is_left_goes_on_to_the_next_server() {
    let echo = |headers: HeaderMap| async move {
        let value = headers.get(LEFT).map(|v| v.to_str().unwrap().to_owned());
        value.unwrap_or("none".to_owned())
    };
    let next = serve(Router::new().route("/", get(echo))).await;

    let client = ServiceBuilder::new()
        .layer(WriteLayer::new(wire()))
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    let handler = move || async move {
        let request = Request::get(format!("http://{next}/"))
            .body(Body::empty())
            .unwrap();
        let response = client.oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let app = guarded(Router::new().route("/", get(handler)));
    let mut peer = Peer::connect(serve(app).await).await;

    let told = peer.ask(get_with("/", LEFT, "60000")).await;
    let told: u64 = told.text().parse().unwrap();
    assert!((1..60_000).contains(&told), "{told}");
    assert_eq!(peer.get("/").await.text(), "none");
}

#[tokio::test]
async fn work_that_is_too_late_never_reaches_the_handler() {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let handler = move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
        "hello"
    };
    let app = guarded(Router::new().route("/", get(handler)));
    let mut peer = Peer::connect(serve(app).await).await;
    let answer = peer.ask(get_with("/", LEFT, "0")).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(answer.text().contains("no answer in time"));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(peer.get("/").await.text(), "hello");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_handler_that_is_too_slow_is_given_up_on() {
    let app = guarded(Router::new().route("/", get(std::future::pending::<&'static str>)));
    let mut peer = Peer::connect(serve(app).await).await;
    let start = now();
    let answer = peer.ask(get_with("/", LEFT, "80")).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(now().saturating_since(start) >= Duration::from_millis(80));
}

#[tokio::test]
async fn the_server_has_the_last_word_on_how_long() {
    let stack = ServiceBuilder::new()
        .layer(ReadLayer::new(wire()).at_most(Duration::from_millis(80)))
        .layer(TimeoutLayer::new(Policy::builder().build().unwrap()));
    let app = Router::new().route("/", get(std::future::pending::<&'static str>));
    let mut peer = Peer::connect(serve(app.layer(respond(stack))).await).await;
    let told = peer.ask(get_with("/", LEFT, "3600000")).await;
    assert_eq!(told.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(peer.get("/").await.status, StatusCode::GATEWAY_TIMEOUT);
}
