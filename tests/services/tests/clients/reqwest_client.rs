//! Layers around reqwest's client, which is a service of its own request type.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::deadline::{Wire, WriteLayer};
use tower_keep::key;
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{AsRejection, LiftLayer, RejectionKind};
use tower_keep_services::serve;

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/never", get(std::future::pending::<String>))
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn request(url: &str) -> reqwest::Request {
    reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap())
}

#[tokio::test]
async fn a_stack_around_reqwest_guards_it() {
    let url = format!("http://{}", serve(app()).await);
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap());
    let room = bulkhead.handle();
    let patience = timeout::by(|request: &reqwest::Request| {
        (request.url().path() == "/never").then_some(Duration::from_millis(80))
    });
    let timeout = timeout::Policy::attempt(Duration::from_secs(60)).unwrap();
    let mut client = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(TimeoutLayer::new(timeout).limits(patience))
        .layer(LiftLayer::new())
        .service(client());

    let response = client
        .ready()
        .await
        .unwrap()
        .call(request(&url))
        .await
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "hello");
    let slow = client
        .clone()
        .oneshot(request(&format!("{url}/never")))
        .await;
    let rejection = slow.unwrap_err().as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Timeout);
    let held = room.admit().unwrap();
    let full = client.clone().oneshot(request(&url)).await;
    let rejection = full.unwrap_err().as_rejection().unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Full);
    drop(held);
    assert!(client.oneshot(request(&url)).await.is_ok());
}

#[tokio::test]
async fn one_bucket_per_host_that_is_called() {
    let (one, two) = (serve(app()).await, serve(app()).await);
    let policy = throttle::Policy::builder()
        .rate(2, Duration::from_secs(3600))
        .burst(2);
    let by_host = key::value(|request: &reqwest::Request| {
        Some((request.url().host_str()?.to_owned(), request.url().port()))
    });
    let client = ServiceBuilder::new()
        .layer(ThrottleLayer::keyed(policy.build().unwrap(), by_host))
        .layer(LiftLayer::new())
        .service(client());
    let mut served = Vec::new();
    for address in [one, one, one, two, two, two] {
        let answer = client
            .clone()
            .oneshot(request(&format!("http://{address}")))
            .await;
        served.push(answer.is_ok());
    }
    assert_eq!(served, [true, true, false, true, true, false]);
}

/// Layers that read HTTP headers and bodies want `http` types: reqwest converts
/// its own from and to them.
#[tokio::test]
async fn with_http_types_all_layers_fit_reqwest() {
    let address = serve(app()).await;
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap());
    let room = bulkhead.handle();
    let client = ServiceBuilder::new()
        .layer(bulkhead.until_body_end())
        .layer(WriteLayer::new(Wire::Grpc))
        .filter(|request: Request<reqwest::Body>| reqwest::Request::try_from(request))
        .map_response(http::Response::<reqwest::Body>::from)
        .service(client());
    let request = |path| {
        let request = Request::get(format!("http://{address}{path}"));
        request.body(reqwest::Body::default()).unwrap()
    };

    let response = client.clone().oneshot(request("/")).await.unwrap();
    assert_eq!(room.snapshot().in_flight, 1);
    // The error is tower's `BoxError` here.
    let refused = client.oneshot(request("/")).await.unwrap_err();
    assert_eq!(refused.as_rejection().unwrap().kind(), RejectionKind::Full);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hello");
    assert_eq!(room.snapshot().succeeded, 1);
}
