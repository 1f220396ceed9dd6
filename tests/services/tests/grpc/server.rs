//! Layers in a tonic server, seen by a tonic client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::service::{LayerExt, Routes};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tower::ServiceBuilder;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::Grpc;
use tower_keep::deadline::{Deadline, ReadLayer, Wire};
use tower_keep::throttle::{self, MissingKey, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Override, key, respond};
use tower_keep_services::{eventually, now, pause};

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The service: "shop" is serving, and nothing else is known.
pub(crate) async fn health() -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("shop", ServingStatus::Serving)
        .await;
    service
}

pub(crate) async fn listen() -> (TcpIncoming, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (TcpIncoming::from(listener), address)
}

pub(crate) fn channel(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

/// Serves it behind these layers; its address.
macro_rules! serve {
    ($layers:expr) => {{
        let (incoming, address) = listen().await;
        let server = Server::builder().layer($layers).add_service(health().await);
        tokio::spawn(server.serve_with_incoming(incoming));
        address
    }};
}
pub(crate) use serve;

pub(crate) fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn check(client: &mut HealthClient<Channel>) -> Result<(), Status> {
    let answer = client.check(about("shop")).await?;
    assert_eq!(answer.into_inner().status(), 1.try_into().unwrap());
    Ok(())
}

fn pushback(status: &Status) -> Option<u64> {
    let value = status.metadata().get(PUSHBACK)?;
    Some(value.to_str().unwrap().parse().unwrap())
}

fn one_an_hour() -> throttle::PolicyBuilder {
    throttle::Policy::builder().rate(1, Duration::from_secs(3600))
}

#[tokio::test]
async fn refusals_are_statuses_with_a_time_to_come_back() {
    let throttle = ThrottleLayer::new(one_an_hour().build().unwrap());
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).unwrap());
    let (rate, room) = (throttle.handle(), bulkhead.handle());
    let stack = ServiceBuilder::new().layer(throttle).layer(bulkhead);
    let mut client = HealthClient::new(channel(serve!(respond(stack).without_body())));

    check(&mut client).await.unwrap();
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "too many requests");
    // An hour, less what the test took, and at most a quarter and a second of jitter.
    let wait = pushback(&refused).unwrap();
    assert!((3_500_000..=4_501_000).contains(&wait), "{wait}");

    rate.set_override(Override::Bypass);
    let held = room.admit().unwrap();
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "too many requests at once");
    assert!(pushback(&refused).unwrap() >= 1_000);
    drop(held);
    check(&mut client).await.unwrap();

    room.set_override(Override::Close);
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(pushback(&refused).unwrap() >= 1_000);
}

#[tokio::test]
async fn a_request_without_a_key_is_an_invalid_argument() {
    let policy = one_an_hour().missing_key(MissingKey::Refuse);
    let by_tenant = key::header(http::HeaderName::from_static("x-tenant"));
    let throttle = ThrottleLayer::keyed(policy.build().unwrap(), by_tenant);
    let stack = ServiceBuilder::new().layer(throttle);
    let mut client = HealthClient::new(channel(serve!(respond(stack).without_body())));
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(pushback(&refused), None);

    let mut request = tonic::Request::new(about("shop"));
    request
        .metadata_mut()
        .insert("x-tenant", "a".parse().unwrap());
    client.check(request).await.unwrap();
}

#[tokio::test]
async fn too_slow_is_deadline_exceeded() {
    let timeout = TimeoutLayer::new(timeout::Policy::attempt(Duration::from_millis(60)).unwrap());
    let handle = timeout.handle();
    let stack = ServiceBuilder::new()
        .layer(timeout)
        .map_future(|call| async move {
            pause(Duration::from_secs(60)).await;
            call.await
        });
    let mut client = HealthClient::new(channel(serve!(respond(stack).without_body())));
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
    assert_eq!(refused.message(), "no answer in time");
    assert_eq!(pushback(&refused), None);
    assert_eq!(handle.snapshot().timed_out, 1);
}

#[tokio::test]
async fn the_clients_timeout_is_in_force_and_the_servers_own_is_the_most() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let timeout = TimeoutLayer::new(timeout::Policy::builder().build().unwrap());
    let handle = timeout.handle();
    let stack = ServiceBuilder::new()
        .layer(ReadLayer::new(Wire::Grpc).at_most(Duration::from_secs(30)))
        .layer(timeout)
        .map_request(move |request: Request<Body>| {
            let left = Deadline::current().map(|deadline| deadline.remaining(now()));
            record.lock().unwrap().push(left);
            request
        })
        .map_future(|call| async move {
            if Deadline::current().is_some_and(|d| d.remaining(now()) < Duration::from_secs(5)) {
                pause(Duration::from_secs(60)).await;
            }
            call.await
        });
    let mut client = HealthClient::new(channel(serve!(respond(stack).without_body())));
    let mut left = async |timeout: Option<Duration>| {
        let mut request = tonic::Request::new(about("shop"));
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        let answer = client.check(request).await;
        let left = seen.lock().unwrap().pop().unwrap().unwrap();
        (left.as_secs_f64(), answer.map_err(|status| status.code()))
    };

    let (told, answer) = left(Some(Duration::from_secs(20))).await;
    assert!(answer.is_ok() && (10.0..=20.0).contains(&told), "{told}");
    let (told, answer) = left(Some(Duration::from_secs(3600))).await;
    assert!(answer.is_ok() && (20.0..=30.0).contains(&told), "{told}");
    let (told, answer) = left(None).await;
    assert!(answer.is_ok() && (20.0..=30.0).contains(&told), "{told}");

    // tonic gives up at the same time, at the client and in the server: who is
    // first does not matter, but the work must end.
    let (told, answer) = left(Some(Duration::from_millis(200))).await;
    assert!((0.0..=0.2).contains(&told), "{told}");
    let code = answer.unwrap_err();
    assert!(
        matches!(code, Code::DeadlineExceeded | Code::Cancelled),
        "{code}"
    );
    eventually("the call has ended", || handle.snapshot().in_flight == 0).await;
    let end = handle.snapshot();
    assert_eq!(end.timed_out + end.cancelled, 1);
}

#[tokio::test]
async fn the_status_in_the_trailers_tells_how_a_call_ended() {
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(2).unwrap())
        .until_body_end()
        .classify(Grpc);
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new().layer(bulkhead);
    let mut client = HealthClient::new(channel(serve!(respond(stack).without_body())));

    check(&mut client).await.unwrap();
    let unknown = client.check(about("nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    eventually("both have ended", || handle.snapshot().in_flight == 0).await;
    let end = handle.snapshot();
    assert_eq!((end.succeeded, end.neutral, end.failed), (1, 1, 0));

    // A stream holds its permit until one side ends it.
    let mut stream = client.watch(about("shop")).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(handle.snapshot().in_flight, 1);
    check(&mut client).await.unwrap();
    drop(stream);
    eventually("the stream has ended", || handle.snapshot().in_flight == 0).await;
    assert_eq!(handle.snapshot().cancelled, 1);
}

#[tokio::test]
async fn one_service_of_a_server_can_have_layers_of_its_own() {
    let throttle = ThrottleLayer::new(one_an_hour().build().unwrap());
    let stack = ServiceBuilder::new().layer(throttle);
    let service = respond(stack).without_body().named_layer(health().await);
    let (incoming, address) = listen().await;
    tokio::spawn(
        Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    let mut client = HealthClient::new(channel(address));
    check(&mut client).await.unwrap();
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn grpc_in_a_router_of_axum_is_answered_in_grpc() {
    let throttle = ThrottleLayer::new(one_an_hour().build().unwrap());
    let stack = ServiceBuilder::new().layer(throttle);
    let router = Routes::new(health().await).into_axum_router();
    let routes = Routes::from(router.layer(respond(stack)));
    let (incoming, address) = listen().await;
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(incoming),
    );
    let mut client = HealthClient::new(channel(address));
    check(&mut client).await.unwrap();
    let refused = check(&mut client).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(pushback(&refused).is_some());
}
