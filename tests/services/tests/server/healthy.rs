//! A healthy response is the same, byte for byte, whether it passes the layers or not.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::channel::Channel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceBuilder;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::Http;
use tower_keep::deadline::{ReadLayer, Wire};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{
    self, BodyPolicy, RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer,
};
use tower_keep::{key, respond};
use tower_keep_services::serve;

fn app() -> Router {
    async fn trailers() -> Body {
        let (mut feed, body) = Channel::<Bytes>::new(4);
        tokio::spawn(async move {
            let _ = feed.send_data("one".into()).await;
            let _ = feed.send_data("two".into()).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "6".parse().unwrap());
            let _ = feed.send_trailers(trailers).await;
        });
        Body::new(body)
    }
    Router::new()
        .route("/text", get(|| async { "hello" }))
        .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
        .route("/not-modified", get(|| async { StatusCode::NOT_MODIFIED }))
        .route("/large", get(|| async { vec![b'x'; 300_000] }))
        .route("/chunks", get(trailers))
        .route(
            "/trailers",
            get(|| async { ([("trailer", "x-sum")], trailers().await) }),
        )
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/echo", post(|body: Bytes| async move { body }))
}

/// All layers there are, with room for everything.
fn guarded() -> Router {
    let minute = Duration::from_secs(60);
    let bodies = BodyPolicy::builder().total(minute).idle(minute);
    let bodies = bodies.min_bytes_per_second(1).build().unwrap();
    let deadline = timeout::Policy::builder().attempt(minute).deadline(minute);
    let stack = ServiceBuilder::new()
        .layer(
            ReadLayer::new(Wire::millis(HeaderName::from_static("x-timeout-ms"))).at_most(minute),
        )
        .layer(ThrottleLayer::keyed(
            throttle::Policy::per_second(1_000_000).unwrap(),
            key::path(),
        ))
        .layer(
            BulkheadLayer::new(bulkhead::Policy::max_concurrent(100).unwrap())
                .queued()
                .until_body_end()
                .classify(Http),
        )
        .layer(TimeoutLayer::new(deadline.build().unwrap()))
        .layer(RequestBodyTimeoutLayer::new(bodies))
        .layer(ResponseBodyTimeoutLayer::new(bodies));
    app().layer(respond(stack))
}

/// All bytes that come back on one connection, but for the date.
async fn bytes(address: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let date = bytes.windows(6).position(|w| w == b"date: ");
    let date = date.expect("a date");
    bytes.drain(date..date + "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".len());
    bytes
}

#[tokio::test]
async fn healthy_responses_are_identical_with_and_without_the_layers() {
    let (bare, guarded) = (serve(app()).await, serve(guarded()).await);
    let paths = [
        "/text",
        "/empty",
        "/not-modified",
        "/large",
        "/chunks",
        "/trailers",
        "/broken",
        "/nowhere",
        "/echo",
    ];
    let mut requests = Vec::new();
    for path in paths {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for headers in ["", "te: trailers\r\n", "x-timeout-ms: 50000\r\n"] {
                requests.push(format!(
                    "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n"
                ));
            }
        }
        requests.push(format!("GET {path} HTTP/1.0\r\n\r\n"));
    }
    let post = "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    requests.push(format!("{post}content-length: 7\r\n\r\ncontent"));
    requests.push(format!("{post}content-length: 0\r\n\r\n"));
    requests.push(format!(
        "{post}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    ));
    for request in requests {
        let (bare, guarded) = (bytes(bare, &request).await, bytes(guarded, &request).await);
        assert!(
            bare == guarded,
            "{request}\nbare: {}\nguarded: {}",
            String::from_utf8_lossy(&bare[..bare.len().min(500)]),
            String::from_utf8_lossy(&guarded[..guarded.len().min(500)]),
        );
    }
}
