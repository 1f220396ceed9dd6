//! Retries around tonic's channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Request;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;
use tower::util::BoxCloneService;
use tower_keep::attempt::{self, ReadLayer, Wire, WriteLayer};
use tower_keep::backoff::Backoff;
use tower_keep::budget::{self, Budget};
use tower_keep::clock::Clock;
use tower_keep::deadline::Deadline;
use tower_keep::http::ReplayBody;
use tower_keep::replay::Buffered;
use tower_keep::retry::{Grpc, Handle, Policy, RetryLayer};
use tower_keep::{LiftLayer, Override, Setup};
use tower_keep_services::now;

use crate::server::{about, channel, health, listen, serve};

type Attempts = Arc<std::sync::Mutex<Vec<String>>>;

/// A server that fails twice with this code, and with a pushback if there is one.
macro_rules! failing {
    ($code:expr, $pushback:expr, $times:expr) => {{
        let calls = Arc::new(AtomicU32::new(0));
        let seen = Attempts::default();
        let (count, into) = (Arc::clone(&calls), Arc::clone(&seen));
        let fails = tower::layer::layer_fn(move |inner| {
            let (count, into) = (Arc::clone(&count), Arc::clone(&into));
            let code: Code = $code;
            let pushback: Option<&'static str> = $pushback;
            ServiceBuilder::new()
                .filter_async(move |request: Request<Body>| {
                    let call = count.fetch_add(1, Ordering::SeqCst);
                    let number = request.headers().get("grpc-previous-rpc-attempts");
                    let number = number.map_or("none", |value| value.to_str().unwrap());
                    into.lock().unwrap().push(number.to_owned());
                    async move {
                        if call >= $times {
                            return Ok(request);
                        }
                        let mut status = Status::new(code, "not now");
                        if let Some(pushback) = pushback {
                            let value = pushback.parse().unwrap();
                            status
                                .metadata_mut()
                                .insert("grpc-retry-pushback-ms", value);
                        }
                        Err(status)
                    }
                })
                .service(inner)
        });
        let statuses = ServiceBuilder::new()
            .map_result(
                |result: Result<http::Response<Body>, tower::BoxError>| match result {
                    Ok(response) => Ok(response),
                    Err(error) => match error.downcast::<Status>() {
                        Ok(status) => Ok(status.into_http()),
                        Err(error) => Err(error),
                    },
                },
            )
            .layer(fails);
        (serve!(statuses), calls, seen)
    }};
}

type Stacked = BoxCloneService<Request<Body>, http::Response<Body>, tower::BoxError>;

fn client(address: std::net::SocketAddr, rules: Grpc) -> (HealthClient<Stacked>, Handle) {
    let backoff = Backoff::builder().base(Duration::from_millis(2));
    let policy = Policy::builder().backoff(backoff.build().unwrap());
    let budget = Budget::new(budget::Policy::default());
    budget.set_override(Override::Bypass);
    let retry = RetryLayer::with_budget(policy.build().unwrap(), rules, budget, Setup::new());
    let handle = retry.handle();
    let stack = ServiceBuilder::new()
        .map_err(tower::BoxError::from)
        .layer(retry.replay(Buffered::up_to(64 * 1024)))
        .layer(WriteLayer::new(Wire::Grpc))
        .layer(LiftLayer::new())
        .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel(address));
    (HealthClient::new(BoxCloneService::new(stack)), handle)
}

#[tokio::test]
async fn unavailable_is_tried_again_and_says_how_often() {
    let (address, calls, seen) = failing!(Code::Unavailable, None, 2);
    let (mut client, handle) = client(address, Grpc::new());
    client.check(about("shop")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert_eq!(*seen.lock().unwrap(), ["none", "1", "2"]);
    assert_eq!(handle.snapshot().recovered, 1);
}

#[tokio::test]
async fn other_codes_are_tried_again_if_they_are_listed() {
    let (address, calls, _) = failing!(Code::Aborted, None, 1);
    let (mut plain, _) = client(address, Grpc::new());
    let status = plain.check(about("shop")).await.unwrap_err();
    assert_eq!(
        (status.code(), calls.load(Ordering::SeqCst)),
        (Code::Aborted, 1)
    );
    let (address, calls, _) = failing!(Code::Aborted, None, 1);
    let (mut listed, _) = client(address, Grpc::new().also(Code::Aborted));
    listed.check(about("shop")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    // This one is of the service itself: its status is in the trailers' place, too.
    let status = listed.check(about("nothing")).await.unwrap_err();
    assert_eq!(
        (status.code(), calls.load(Ordering::SeqCst)),
        (Code::NotFound, 3)
    );
}

#[tokio::test]
async fn what_the_server_pushes_back_is_obeyed() {
    let (address, calls, _) = failing!(Code::Unavailable, Some("150"), 1);
    let (mut waiting, _) = client(address, Grpc::new());
    let start = now();
    waiting.check(about("shop")).await.unwrap();
    assert!(now().saturating_since(start) >= Duration::from_millis(150));
    assert_eq!(calls.load(Ordering::SeqCst), 2);

    let (address, calls, _) = failing!(Code::Unavailable, Some("-1"), 1);
    let (mut told, handle) = client(address, Grpc::new());
    let status = told.check(about("shop")).await.unwrap_err();
    assert_eq!(
        (status.code(), calls.load(Ordering::SeqCst)),
        (Code::Unavailable, 1)
    );
    assert_eq!(handle.snapshot().unwanted, 1);
}

#[tokio::test]
async fn no_wait_begins_that_the_deadline_does_not_allow() {
    let (address, calls, _) = failing!(Code::Unavailable, Some("60000"), 1);
    let (mut client, handle) = client(address, Grpc::new());
    let deadline = Deadline::after(&Clock::default(), Duration::from_secs(20));
    let start = now();
    let status = deadline
        .wrap(client.check(about("shop")))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), calls.load(Ordering::SeqCst)),
        (Code::Unavailable, 1)
    );
    assert!(now().saturating_since(start) < Duration::from_secs(20));
    assert_eq!(handle.snapshot().past_deadline, 1);
}

/// A tier in the middle that has given up tells those in front of it.
#[tokio::test]
async fn a_mark_goes_from_server_to_client() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let middle = ServiceBuilder::new()
        .layer(ReadLayer::new(Wire::Grpc))
        .map_result(
            move |_: Result<http::Response<Body>, std::convert::Infallible>| {
                count.fetch_add(1, Ordering::SeqCst);
                attempt::mark();
                Ok::<_, std::convert::Infallible>(
                    Status::unavailable("given up").into_http::<Body>(),
                )
            },
        );
    let address = serve!(middle);
    let (mut client, handle) = client(address, Grpc::new());
    let status = client.check(about("shop")).await.unwrap_err();
    assert_eq!(
        (status.code(), calls.load(Ordering::SeqCst)),
        (Code::Unavailable, 1)
    );
    assert_eq!(handle.snapshot().unwanted, 1);
}
