//! A client that does not wait for ever, and does not drown whom it calls.
//!
//! It calls a server of its own through a stack of layers around hyper-util's
//! client: a path that answers, one that is slow, one that fails at first, one that
//! hangs.

#![allow(clippy::print_stdout, reason = "it shows something")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use axum::{Router, routing::get};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::attempt;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::clock::Clock;
use tower_keep::deadline::{Deadline, Wire, WriteLayer};
use tower_keep::http::ReplayBody;
use tower_keep::replay::Buffered;
use tower_keep::retry::{self, RetryLayer};
use tower_keep::timeout::{self, Connector, TimeoutLayer};
use tower_keep::{LiftLayer, error::find_rejection};

const TIME_LEFT: HeaderName = HeaderName::from_static("x-timeout-ms");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = serve().await?;

    // 100 ms to connect.
    let connecting = TimeoutLayer::new(timeout::Policy::attempt(Duration::from_millis(100))?);
    let connector = Connector::new(&connecting, HttpConnector::new());
    let client = Client::builder(TokioExecutor::new()).build::<_, ReplayBody<Body>>(connector);

    // 300 ms for each call, its wait for a place included; less, if our own caller has
    // less left.
    let patience = timeout::Policy::deadline(Duration::from_millis(300))?;
    // Two calls at once, until their bodies are read; one more may wait.
    let two = bulkhead::Policy::builder()
        .max_concurrent(2)
        .queue_length(1)
        .build()?;

    // What HTTP allows to send again is sent up to three times, after pauses and
    // within a budget. Up to 64 KiB of a body are kept for that.
    let retry = RetryLayer::new(retry::Policy::default(), retry::Http::new())
        .replay(Buffered::up_to(64 * 1024));
    let retries = retry.handle();

    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(patience))
        .layer(retry)
        .layer(BulkheadLayer::new(two).queued().until_body_end())
        // Tells the server how much time is left, and which attempt it is.
        .layer(WriteLayer::new(Wire::millis(TIME_LEFT)))
        .layer(attempt::WriteLayer::new(attempt::Wire::Http))
        // Innermost: makes room for refusals in the client's error type.
        .layer(LiftLayer::new())
        .service(client);

    let call = move |path: &str| {
        let request = Request::get(format!("http://{server}{path}"));
        let client = client.clone();
        async move {
            let response = client.oneshot(request.body(Body::empty())?).await?;
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, BoxError>(String::from_utf8(body.into())?)
        }
    };

    println!("one call:");
    show(call("/hello").await);

    println!("four calls at once: two at a time, one waits, one is refused:");
    let (a, b, c, d) = tokio::join!(call("/slow"), call("/slow"), call("/slow"), call("/slow"));
    [a, b, c, d].into_iter().for_each(show);

    println!("a call that fails twice before it succeeds:");
    show(call("/shaky").await);
    println!("  after {} retries", retries.snapshot().retried);

    println!("a call that is never answered:");
    show(call("/hangs").await);

    println!("the same for a caller that has 50 ms left:");
    let deadline = Deadline::after(&Clock::default(), Duration::from_millis(50));
    show(deadline.wrap(call("/hello")).await);
    show(deadline.wrap(call("/hangs")).await);
    // Its time is over: the server does not even hear of this one.
    show(deadline.wrap(call("/hello")).await);
    Ok(())
}

fn show(answer: Result<String, BoxError>) {
    match answer {
        Ok(body) => println!("  {body}"),
        // A layer said no, or gave up; it is found in any chain of errors.
        Err(error) => match find_rejection(error.as_ref()) {
            Some(refused) if refused.reached_inner() => println!("  given up: {refused}"),
            Some(refused) => println!("  refused: {refused}"),
            None => println!("  failed: {error}"),
        },
    }
}

/// A server that tells how much time it was given.
async fn serve() -> std::io::Result<SocketAddr> {
    async fn hello(headers: HeaderMap) -> String {
        let left = headers.get(TIME_LEFT).and_then(|value| value.to_str().ok());
        format!("hello, with {} ms left", left.unwrap_or("no"))
    }
    #[allow(clippy::disallowed_methods, reason = "a server of its own")]
    async fn slow() -> &'static str {
        tokio::time::sleep(Duration::from_millis(50)).await;
        "slow, but here"
    }
    let calls = Arc::new(AtomicU32::new(0));
    let shaky = move |headers: HeaderMap| async move {
        let attempt = headers
            .get("x-attempt")
            .and_then(|value| value.to_str().ok());
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(StatusCode::SERVICE_UNAVAILABLE),
            _ => Ok(format!("attempt {}", attempt.unwrap_or("1"))),
        }
    };
    let app = Router::new()
        .route("/hello", get(hello))
        .route("/shaky", get(shaky))
        .route("/slow", get(slow))
        .route("/hangs", get(std::future::pending::<String>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}
