//! Bodies: permits that last as long as they do, and bounds on how long that is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tower::ServiceBuilder;
use tower_keep::bulkhead::{BulkheadLayer, Handle, Policy};
use tower_keep::error::find_rejection;
use tower_keep::timeout::{BodyPolicy, RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer};
use tower_keep::{RejectionKind, respond};
use tower_keep_services::{Peer, eventually, serve};

/// A body that the test feeds.
type Feed = Sender<Bytes, Infallible>;

/// A server whose one route answers with the bodies that stand ready in `bodies`.
fn streaming(bodies: Vec<Channel<Bytes>>) -> Router {
    let bodies = Arc::new(Mutex::new(bodies));
    Router::new()
        .route("/", get(stream))
        .route("/short", get(|| async { "hello" }))
        .with_state(bodies)
}

async fn stream(State(bodies): State<Arc<Mutex<Vec<Channel<Bytes>>>>>) -> Body {
    Body::new(bodies.lock().await.pop().unwrap())
}

async fn guarded() -> (Peer, Peer, Feed, Handle) {
    let (feed, body) = Channel::new(1);
    let bulkhead = BulkheadLayer::new(Policy::max_concurrent(1).unwrap()).until_body_end();
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new().layer(bulkhead);
    let address = serve(streaming(vec![body]).layer(respond(stack))).await;
    let (first, second) = (Peer::connect(address).await, Peer::connect(address).await);
    (first, second, feed, handle)
}

#[tokio::test]
async fn a_permit_lasts_until_the_end_of_a_streamed_body() {
    let (mut reader, mut other, mut feed, handle) = guarded().await;
    let mut response = reader.send(tower_keep_services::get("/")).await;
    feed.send_data("first".into()).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    // The head has long arrived, the permit is still in use.
    assert_eq!(handle.snapshot().in_flight, 1);
    let refused = other.get("/short").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);

    feed.send_data(", last".into()).await.unwrap();
    drop(feed);
    let rest = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(rest, ", last");
    eventually("the permit is back", || handle.snapshot().in_flight == 0).await;
    assert_eq!(other.get("/short").await.text(), "hello");
    assert_eq!(handle.snapshot().succeeded, 2);
}

#[tokio::test]
async fn a_permit_is_back_when_the_reader_disconnects() {
    let (mut reader, mut other, mut feed, handle) = guarded().await;
    let response = reader.send(tower_keep_services::get("/")).await;
    feed.send_data("first".into()).await.unwrap();
    assert_eq!(handle.snapshot().in_flight, 1);
    drop((response, reader));
    eventually("the permit is back", || handle.snapshot().in_flight == 0).await;
    assert_eq!(handle.snapshot().cancelled, 1);
    assert_eq!(other.get("/short").await.text(), "hello");
    drop(feed);
}

/// Sends the head of an upload and a part of its body, and then nothing.
async fn stalled_upload(app: Router) -> String {
    let mut stream = TcpStream::connect(serve(app).await).await.unwrap();
    let head =
        "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn idle(limit: u64) -> BodyPolicy {
    let policy = BodyPolicy::builder().idle(Duration::from_millis(limit));
    policy.build().unwrap()
}

#[tokio::test]
async fn a_stalled_upload_ends_and_the_handler_can_tell_why() {
    async fn upload(body: Result<Bytes, BytesRejection>) -> (StatusCode, String) {
        match body {
            Ok(body) => (StatusCode::OK, format!("{} bytes", body.len())),
            Err(error) => match find_rejection(&error) {
                Some(rejection) => (StatusCode::REQUEST_TIMEOUT, rejection.to_string()),
                None => (StatusCode::BAD_REQUEST, error.to_string()),
            },
        }
    }
    let stack = ServiceBuilder::new().layer(RequestBodyTimeoutLayer::new(idle(80)));
    let app = Router::new().route("/", post(upload)).layer(respond(stack));
    let answer = stalled_upload(app).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.ends_with("timeout: body idle for too long"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_stalled_upload_ends_a_handler_that_does_not_ask() {
    let stack = ServiceBuilder::new().layer(RequestBodyTimeoutLayer::new(idle(80)));
    let upload = |body: Bytes| async move { body.len().to_string() };
    let app = Router::new().route("/", post(upload)).layer(respond(stack));
    // axum's extractor makes it the client's fault.
    let answer = stalled_upload(app).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn an_upload_in_time_passes() {
    let stack = ServiceBuilder::new().layer(RequestBodyTimeoutLayer::new(idle(60_000)));
    let upload = |body: Bytes| async move { body };
    let app = Router::new().route("/", post(upload)).layer(respond(stack));
    let mut peer = Peer::connect(serve(app).await).await;
    let mut request = tower_keep_services::get("/").map(|_| "some content");
    *request.method_mut() = http::Method::POST;
    assert_eq!(peer.ask(request).await.text(), "some content");
}

#[tokio::test]
async fn a_download_that_stalls_is_cut_off() {
    let (mut feed, body) = Channel::new(1);
    let bulkhead = BulkheadLayer::new(Policy::max_concurrent(1).unwrap()).until_body_end();
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(ResponseBodyTimeoutLayer::new(idle(80)));
    let address = serve(streaming(vec![body]).layer(respond(stack))).await;
    let mut peer = Peer::connect(address).await;
    let mut response = peer.send(tower_keep_services::get("/")).await;
    feed.send_data("first".into()).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    // Nothing more comes: the body breaks off, as it must when it is not complete.
    let end = response.into_body().collect().await;
    assert!(end.is_err());
    eventually("the permit is back", || handle.snapshot().in_flight == 0).await;
    assert_eq!(handle.snapshot().failed, 1);
    drop(feed);
}

#[tokio::test]
async fn a_client_can_tell_why_a_download_ended() {
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tower::ServiceExt;

    let (mut feed, body) = Channel::new(1);
    let address = serve(streaming(vec![body])).await;
    let client = ServiceBuilder::new()
        .layer(ResponseBodyTimeoutLayer::new(idle(80)))
        .service(Client::builder(TokioExecutor::new()).build_http::<Body>());
    let request = http::Request::get(format!("http://{address}/"))
        .body(Body::empty())
        .unwrap();
    let response = client.oneshot(request).await.unwrap();
    feed.send_data("first".into()).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    let rejection = find_rejection(error.as_ref()).unwrap();
    assert_eq!(rejection.kind(), RejectionKind::BodyIdle);
    assert!(rejection.reached_inner());
    drop(feed);
}
