//! Faults that are injected, and answers in their place.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceBuilder;
use tower_keep::chaos::{self, ChaosLayer};
use tower_keep::classify::Http;
use tower_keep::fallback::{self, Failed, FallbackLayer};
use tower_keep::{Error, Ratio, respond};
use tower_keep_services::{Peer, serve};

const TEXT: &str = "0123456789";

fn app() -> Router {
    Router::new().route("/", get(|| async { TEXT }))
}

fn after_four_bytes(faults: chaos::PolicyBuilder) -> chaos::Policy {
    let faults = faults.after_bytes(4);
    let longest = Duration::from_millis(50);
    faults.longest_hang(longest).build().unwrap()
}

/// All that arrives on a connection of its own, until the server closes it.
async fn read(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset ends as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_client_sees_bodies_break() {
    let layer = ChaosLayer::new(chaos::Policy::default()).with_bodies();
    let handle = layer.handle();
    let address = serve(app().layer(respond(layer))).await;
    handle.start();
    let whole = read(address).await;
    assert!(whole.contains("content-length: 10") && whole.ends_with(TEXT));
    for faults in [
        chaos::Policy::builder().cut(Ratio::ONE),
        chaos::Policy::builder().stall(Ratio::ONE),
        chaos::Policy::builder().reset(Ratio::ONE),
    ] {
        handle.update(after_four_bytes(faults));
        // Less than was promised, if the head has left before the break at all.
        let broken = read(address).await;
        assert!(!broken.contains(&TEXT[..5]), "{broken}");
        assert!(broken.is_empty() || broken.contains("content-length: 10"));
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.cut, snapshot.stalled, snapshot.reset), (1, 1, 1));
}

#[tokio::test]
async fn a_fallback_answers_for_what_chaos_breaks() {
    let faults = chaos::Policy::builder().abort(Ratio::ONE).build().unwrap();
    let chaos = ChaosLayer::new(faults).faults(chaos::status(StatusCode::BAD_GATEWAY));
    let asked = |request: &Request| request.uri().path().to_owned();
    let backup = tower::service_fn(|path: String| async move {
        Ok::<Response, Infallible>(format!("{path} of yesterday").into_response())
    });
    let stack = ServiceBuilder::new()
        .layer(
            FallbackLayer::new(fallback::service(asked, backup))
                .classify(Http)
                .marked_in(HeaderName::from_static("x-degraded")),
        )
        .layer(chaos.clone());
    let mut peer = Peer::connect(serve(app().layer(respond(stack))).await).await;
    let answer = peer.get("/").await;
    assert_eq!((answer.text(), answer.header("x-degraded")), (TEXT, ""));
    chaos.handle().start();
    let answer = peer.get("/").await;
    assert_eq!(answer.text(), "/ of yesterday");
    assert_eq!(answer.header("x-degraded"), "transient");
}

#[tokio::test]
async fn a_function_answers_a_refusal_of_a_layer_inside() {
    let faults = chaos::Policy::builder().error(Ratio::ONE).build().unwrap();
    let chaos = ChaosLayer::new(faults);
    let sorry = |failed: Failed<'_, Response, Error<Infallible>>| {
        let body = Body::from(failed.cause().label());
        Some(Response::new(body))
    };
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(fallback::by(sorry)).marked())
        .layer(chaos.clone());
    let mut peer = Peer::connect(serve(app().layer(respond(stack))).await).await;
    chaos.handle().start();
    assert_eq!(peer.get("/").await.text(), "injected");
    chaos.handle().set_override(tower_keep::Override::Close);
    assert_eq!(peer.get("/").await.text(), "closed");
}
