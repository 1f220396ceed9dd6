//! Layers around hyper-util's client.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName};
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::Http;
use tower_keep::clock::Clock;
use tower_keep::deadline::{Deadline, Wire, WriteLayer};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{AsRejection, Error, LiftLayer, RejectionKind};
use tower_keep_services::{eventually, serve};

const LEFT: &str = "x-timeout-ms";

async fn upstream() -> SocketAddr {
    let left = |headers: HeaderMap| async move {
        let value = headers.get(LEFT).map(|v| v.to_str().unwrap().to_owned());
        value.unwrap_or("none".to_owned())
    };
    serve(
        Router::new()
            .route("/", get(left))
            .route("/never", get(std::future::pending::<String>))
            .route(
                "/busy",
                get(|| async { http::StatusCode::SERVICE_UNAVAILABLE }),
            ),
    )
    .await
}

fn request(address: SocketAddr, path: &str) -> Request<Body> {
    Request::get(format!("http://{address}{path}"))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_stack_around_a_client_is_a_client() {
    let address = upstream().await;
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(2).unwrap())
        .until_body_end()
        .classify(Http);
    let timeout = TimeoutLayer::new(timeout::Policy::deadline(Duration::from_secs(2)).unwrap());
    let (room, time) = (bulkhead.handle(), timeout.handle());
    let mut client = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(timeout)
        .layer(WriteLayer::new(Wire::millis(HeaderName::from_static(LEFT))))
        .layer(LiftLayer::new())
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());

    let response = client
        .ready()
        .await
        .unwrap()
        .call(request(address, "/"))
        .await
        .unwrap();
    assert_eq!(room.snapshot().in_flight, 1);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let left: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
    assert!(left < 2_000, "{left}");
    assert_eq!(room.snapshot().succeeded, 1);

    let busy = client
        .clone()
        .oneshot(request(address, "/busy"))
        .await
        .unwrap();
    assert_eq!(busy.status(), 503);
    drop(busy);
    assert_eq!(room.snapshot().failed, 1);

    let slow = client.clone().oneshot(request(address, "/never")).await;
    let rejection = slow.unwrap_err().as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::DeadlineExceeded);
    assert_eq!(rejection.layer(), time.id());
    assert!(rejection.reached_inner());
    assert_eq!(room.snapshot().failed, 2);

    let held = (room.admit().unwrap(), room.admit().unwrap());
    let full = client.clone().oneshot(request(address, "/")).await;
    let rejection = full.unwrap_err().as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Full);
    assert!(!rejection.reached_inner());
    drop(held);

    // The client's own errors stay what they are.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = gone.local_addr().unwrap();
    drop(gone);
    match client.oneshot(request(nowhere, "/")).await.unwrap_err() {
        Error::Inner(error) => assert!(error.is_connect()),
        other => panic!("{other}"),
    }
    eventually("all has ended", || room.snapshot().in_flight == 0).await;
}

#[tokio::test]
async fn a_client_obeys_the_deadline_of_its_caller() {
    let address = upstream().await;
    let timeout = TimeoutLayer::new(timeout::Policy::attempt(Duration::from_secs(60)).unwrap());
    let client = ServiceBuilder::new()
        .layer(timeout)
        .layer(LiftLayer::new())
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    let deadline = Deadline::after(&Clock::default(), Duration::from_millis(100));
    let call = client.oneshot(request(address, "/never"));
    let error = deadline.wrap(call).await.unwrap_err();
    let rejection = error.as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::DeadlineExceeded);
}

#[tokio::test]
async fn a_waiting_throttle_paces_a_client() {
    let address = upstream().await;
    let policy = throttle::Policy::builder()
        .rate(50, Duration::from_secs(1))
        .burst(1)
        .max_wait(Duration::from_secs(10))
        .build()
        .unwrap();
    let throttle = ThrottleLayer::new(policy).waiting();
    let handle = throttle.handle();
    let client = ServiceBuilder::new()
        .layer(throttle)
        .layer(LiftLayer::new())
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    let start = tower_keep_services::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..11 {
        calls.spawn(client.clone().oneshot(request(address, "/")));
    }
    for answer in calls.join_all().await {
        assert!(answer.unwrap().status().is_success());
    }
    let took = tower_keep_services::now().saturating_since(start);
    // The first at once, ten more every 20 ms.
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert_eq!(handle.snapshot().admitted, 11);
}
