//! Layers around tonic's channel: what a generated client makes of them.

use std::error::Error as _;
use std::time::Duration;

use tonic::Code;
use tonic::transport::Server;
use tonic_health::pb::health_client::HealthClient;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceBuilder};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::Grpc;
use tower_keep::deadline::{Deadline, ReadLayer, Wire, WriteLayer};
use tower_keep::error::find_rejection;
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{LiftLayer, RejectionKind, clock::Clock, respond};
use tower_keep_services::{eventually, pause};

use crate::server::{about, channel, health, listen, serve};

fn slow() -> timeout::Policy {
    timeout::Policy::attempt(Duration::from_millis(80)).unwrap()
}

#[tokio::test]
async fn a_generated_client_takes_a_stack_as_its_channel() {
    let address = serve!(tower::layer::util::Identity::new());
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap())
        .until_body_end()
        .classify(Grpc);
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(TimeoutLayer::new(
            timeout::Policy::deadline(Duration::from_secs(30)).unwrap(),
        ))
        .layer(WriteLayer::new(Wire::Grpc))
        .layer(LiftLayer::new())
        .service(channel(address));
    let mut client = HealthClient::new(stack);
    client.check(about("shop")).await.unwrap();
    eventually("the body has ended", || handle.snapshot().succeeded == 1).await;

    // A refusal is an error of the channel, which tonic has no code for; but it
    // is found.
    let held = handle.admit().unwrap();
    let status = client.check(about("shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let rejection = find_rejection(&status).unwrap();
    assert_eq!(rejection.kind(), RejectionKind::Full);
    assert_eq!(rejection.layer(), handle.id());
    assert!(status.source().is_some());
    drop(held);
    client.check(about("shop")).await.unwrap();
}

/// Wrapped in `respond`, refusals are statuses with their codes, as if the
/// server had sent them.
#[tokio::test]
async fn respond_around_a_channel_gives_refusals_their_codes() {
    let stall = ServiceBuilder::new().map_future(|call| async move {
        pause(Duration::from_secs(60)).await;
        call.await
    });
    let address = serve!(stall);
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap());
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new()
        .layer(bulkhead)
        .layer(TimeoutLayer::new(slow()));
    let mut client = HealthClient::new(respond(stack).without_body().layer(channel(address)));
    let status = client.check(about("shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let _held = handle.admit().unwrap();
    let status = client.check(about("shop")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test]
async fn what_is_left_goes_on_to_a_grpc_server() {
    let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let clock = Clock::default();
    let stack = ServiceBuilder::new()
        .layer(ReadLayer::new(Wire::Grpc))
        .map_request(move |request: http::Request<tonic::body::Body>| {
            let left = Deadline::current().map(|d| d.remaining(clock.now()));
            send.send(left).unwrap();
            request
        });
    let address = serve!(respond(stack).without_body());
    let stack = ServiceBuilder::new()
        .layer(WriteLayer::new(Wire::Grpc))
        .service(channel(address));
    let mut client = HealthClient::new(stack);
    let deadline = Deadline::after(&Clock::default(), Duration::from_secs(30));
    deadline.wrap(client.check(about("shop"))).await.unwrap();
    let left = seen.recv().await.unwrap().unwrap();
    assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(5));
    client.check(about("shop")).await.unwrap();
    assert_eq!(seen.recv().await.unwrap(), None);
}

#[tokio::test]
async fn a_boxed_channel_has_an_error_that_fits() {
    let address = serve!(tower::layer::util::Identity::new());
    let boxed = BoxCloneService::new(
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(slow()))
            .map_err(BoxError::from)
            .service(channel(address)),
    );
    HealthClient::new(boxed).check(about("shop")).await.unwrap();
}
