//! A server that refuses what it cannot serve, instead of falling over.
//!
//! It starts an Axum server with a stack of layers, sends it more than it
//! allows, and prints what a client gets.

#![allow(clippy::print_stdout, reason = "it shows something")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderName, Request, Uri};
use axum::{Router, routing::get};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::ServiceBuilder;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::deadline::{ReadLayer, Wire};
use tower_keep::http::client_ip::ClientIp;
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{PolicyError, Setup, key};

/// The time that a caller has left, in milliseconds.
const TIME_LEFT: HeaderName = HeaderName::from_static("x-timeout-ms");

fn app() -> Result<Router, PolicyError> {
    let stack = ServiceBuilder::new()
        // No caller is served for longer than it waits, and none for more than a minute.
        .layer(ReadLayer::new(Wire::millis(TIME_LEFT)).at_most(Duration::from_secs(60)))
        // Every client address: a request a second, 3 of them at once.
        .layer(ThrottleLayer::keyed_with(
            throttle::Policy::builder()
                .rate(1, Duration::from_secs(1))
                .burst(3)
                .build()?,
            // Behind one proxy it would be `ClientIp::trusted_hops(1)`.
            key::client_ip(ClientIp::peer().read_peer_with(peer)),
            Setup::named("per client"),
        ))
        // 100 requests in flight, until their responses are sent.
        .layer(BulkheadLayer::new(bulkhead::Policy::max_concurrent(100)?).until_body_end())
        // Two seconds for the handler and for what it calls.
        .layer(TimeoutLayer::new(timeout::Policy::deadline(
            Duration::from_secs(2),
        )?));

    Ok(Router::new()
        .route("/", get(|| async { "hello\n" }))
        .route("/hangs", get(std::future::pending::<&'static str>))
        // One layer for all routes: refusals become responses, no error is left.
        .layer(tower_keep::respond(stack)))
}

/// Who is connected, as `into_make_service_with_connect_info` below tells.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let info = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(info.0)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let app = app()?.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });

    println!("A handler that hangs, and a caller that waits for 200 ms:");
    show(address, "/hangs", Some("200")).await?;
    println!("Three more requests at once, of a client that has two left:");
    for _ in 0..3 {
        show(address, "/", None).await?;
    }
    Ok(())
}

/// Sends a request and prints what comes back.
async fn show(
    server: SocketAddr,
    path: &str,
    time_left: Option<&'static str>,
) -> Result<(), Box<dyn std::error::Error>> {
    let uri: Uri = format!("http://{server}{path}").parse()?;
    let mut request = Request::get(uri).body(Body::empty())?;
    if let Some(time) = time_left {
        request.headers_mut().insert(TIME_LEFT, time.parse()?);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let (head, body) = client.request(request).await?.into_parts();
    println!("  GET {path} -> {}", head.status);
    for name in ["retry-after", "ratelimit-policy", "ratelimit"] {
        if let Some(value) = head.headers.get(name) {
            println!("    {name}: {}", value.to_str()?);
        }
    }
    let body = axum::body::to_bytes(Body::new(body), 10_000).await?;
    println!("    {}", std::str::from_utf8(&body)?.trim_end());
    Ok(())
}
