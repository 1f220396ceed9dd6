//! Retries around real clients, with bodies that stream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body as ServerBody;
use axum::extract::{Request as Arrived, State};
use axum::response::{IntoResponse, Response as Answered};
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, channel::Channel};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::attempt::{Wire, WriteLayer};
use tower_keep::backoff::Backoff;
use tower_keep::budget::{self, Budget};
use tower_keep::http::ReplayBody;
use tower_keep::replay::Buffered;
use tower_keep::retry::{Handle, Http, Policy, RetryLayer};
use tower_keep::{Error, LiftLayer, Override, Setup};
use tower_keep_services::{pause, serve};

/// A body that is sent while it is made.
type Streaming = Channel<Bytes, io::Error>;

fn stream(frames: Vec<Result<&'static str, io::ErrorKind>>) -> Streaming {
    let (mut send, body) = Channel::new(1);
    tokio::spawn(async move {
        for frame in frames {
            match frame {
                Ok(text) => {
                    if send.send_data(Bytes::from(text)).await.is_err() {
                        return;
                    }
                }
                Err(kind) => return send.abort(kind.into()),
            }
            pause(Duration::from_millis(2)).await;
        }
    });
    body
}

/// Fails as the path says, twice, and then sends back what was sent to it, after
/// the number of the attempt.
async fn upstream() -> (SocketAddr, Arc<AtomicU32>) {
    async fn answer(State(calls): State<Arc<AtomicU32>>, request: Arrived) -> Answered {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let path = request.uri().path().to_owned();
        let attempt = request.headers().get("x-attempt").cloned();
        let attempt = attempt.map_or("none".into(), |v| v.to_str().unwrap().to_owned());
        match path.as_str() {
            // Before the body has come.
            "/early" if call < 3 => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
            "/reset" if call < 3 => panic!("the connection breaks"),
            _ => {}
        }
        let body: ServerBody = request.into_body();
        let Ok(body) = body.collect().await else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        match path.as_str() {
            "/late" if call < 3 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => format!("{attempt}: {}", body.to_bytes().len()).into_response(),
        }
    }
    let calls = Arc::new(AtomicU32::new(0));
    let app = Router::new()
        .fallback(any(answer))
        .with_state(Arc::clone(&calls));
    (serve(app).await, calls)
}

const CAP: usize = 4_096;

fn layer<Y>(rules: Y) -> (RetryLayer<Y, Buffered>, Handle) {
    let backoff = Backoff::builder().base(Duration::from_millis(2));
    let policy = Policy::builder().backoff(backoff.build().unwrap());
    let budget = Budget::new(budget::Policy::default());
    budget.set_override(Override::Bypass);
    let layer = RetryLayer::with_budget(policy.build().unwrap(), rules, budget, Setup::new())
        .replay(Buffered::up_to(CAP));
    let handle = layer.handle();
    (layer, handle)
}

/// Sends it with hyper-util's client; status and body.
async fn with_hyper(
    method: Method,
    url: String,
    body: Streaming,
) -> (Result<(u16, String), Error<ClientError>>, Handle) {
    let rules = Http::new().unprocessed(
        |error: &Error<ClientError>| matches!(error, Error::Inner(error) if error.is_connect()),
    );
    let (retry, handle) = layer(rules);
    let client = Client::builder(TokioExecutor::new());
    let client = ServiceBuilder::new()
        .layer(retry)
        .layer(WriteLayer::new(Wire::Http))
        .layer(LiftLayer::new())
        .service(client.build_http::<ReplayBody<Streaming>>());
    let request = Request::builder().method(method).uri(url);
    let result = client.oneshot(request.body(body).unwrap()).await;
    let result = match result {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Ok((status, String::from_utf8(body.into()).unwrap()))
        }
        Err(error) => Err(error),
    };
    (result, handle)
}

async fn with_reqwest(url: String, body: Streaming) -> ((u16, String), Handle) {
    let (retry, handle) = layer(Http::new());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let convert = |request: Request<ReplayBody<Streaming>>| {
        reqwest::Request::try_from(request.map(reqwest::Body::wrap))
    };
    let client = ServiceBuilder::new()
        .layer(retry)
        .layer(WriteLayer::new(Wire::Http))
        .filter(convert)
        .map_response(http::Response::<reqwest::Body>::from)
        .service(client);
    let response = client.oneshot(Request::put(url).body(body).unwrap()).await;
    let (head, body) = response.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.into()).unwrap();
    ((head.status.as_u16(), text), handle)
}

const LINES: [Result<&str, io::ErrorKind>; 3] = [Ok("one "), Ok("two "), Ok("three")];

#[tokio::test]
async fn streaming_bodies_are_sent_again() {
    for path in ["early", "late", "reset"] {
        let (address, calls) = upstream().await;
        let url = format!("http://{address}/{path}");
        let (answer, handle) = with_hyper(Method::PUT, url, stream(LINES.to_vec())).await;
        assert_eq!(answer.unwrap(), (200, "3: 13".to_owned()), "{path}");
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert_eq!(
            (handle.snapshot().retried, handle.snapshot().recovered),
            (2, 1)
        );

        let (address, _) = upstream().await;
        let url = format!("http://{address}/{path}");
        let (answer, _) = with_reqwest(url, stream(LINES.to_vec())).await;
        assert_eq!(answer, (200, "3: 13".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_idempotent_is_sent_once() {
    let (address, calls) = upstream().await;
    let url = format!("http://{address}/late");
    let (answer, _) = with_hyper(Method::POST, url, stream(LINES.to_vec())).await;
    assert_eq!(answer.unwrap().0, 503);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    // Nobody listens there: nobody has seen it.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let url = format!("http://{address}/");
    let (answer, handle) = with_hyper(Method::POST, url, stream(LINES.to_vec())).await;
    assert!(matches!(answer, Err(Error::Inner(error)) if error.is_connect()));
    assert_eq!(handle.snapshot().retried, 2);
}

#[tokio::test]
async fn a_body_over_the_cap_arrives_unharmed_and_once() {
    const LARGE: &str = "0123456789012345678901234567890123456789012345678901234567890123";
    let (address, calls) = upstream().await;
    let body = || stream(vec![Ok(LARGE); 200]);
    let url = format!("http://{address}/late");
    let (answer, handle) = with_hyper(Method::PUT, url, body()).await;
    assert_eq!(answer.unwrap().0, 503);
    assert_eq!(handle.snapshot().unrepeatable, 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let url = format!("http://{address}/echo");
    let (answer, _) = with_reqwest(url, body()).await;
    assert_eq!(answer, (200, format!("none: {}", 200 * LARGE.len())));
}

#[tokio::test]
async fn a_body_that_fails_half_way_is_not_sent_again() {
    let (address, calls) = upstream().await;
    let url = format!("http://{address}/late");
    let body = stream(vec![Ok("one"), Err(io::ErrorKind::BrokenPipe)]);
    let (answer, handle) = with_hyper(Method::PUT, url, body).await;
    assert!(answer.is_err() || answer.is_ok_and(|(status, _)| status == 400));
    assert!(calls.load(Ordering::SeqCst) <= 1);
    assert_eq!(handle.snapshot().retried, 0);
}
