//! Limits per client address, behind a hop that is trusted.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_keep::http::client_ip::ClientIp;
use tower_keep::throttle::{Handle, MissingKey, Policy, PolicyBuilder, ThrottleLayer};
use tower_keep::{key, respond};
use tower_keep_services::{Peer, get_with, serve};

/// The address that axum knows, if it was told to.
fn connected(extensions: &Extensions) -> Option<SocketAddr> {
    let info = extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(info.0)
}

fn three_an_hour() -> PolicyBuilder {
    Policy::builder()
        .rate(3, Duration::from_secs(3600))
        .burst(3)
}

fn per_client(policy: PolicyBuilder, client: ClientIp) -> (Router, Handle) {
    let key = key::client_ip(client.read_peer_with(connected));
    let throttle = ThrottleLayer::keyed(policy.build().unwrap(), key);
    let handle = throttle.handle();
    let app = Router::new().route("/", get(|| async { "hello" }));
    (
        app.layer(respond(ServiceBuilder::new().layer(throttle))),
        handle,
    )
}

/// What the hop hands on: whatever the client said, and the client's address.
async fn ask(peer: &mut Peer, said: &str, client: &str) -> StatusCode {
    let forwarded = format!("{said}, {client}");
    peer.ask(get_with("/", "x-forwarded-for", &forwarded))
        .await
        .status
}

#[tokio::test]
async fn a_forged_leftmost_address_is_no_way_out() {
    let (app, handle) = per_client(three_an_hour(), ClientIp::trusted_hops(1));
    let mut hop = Peer::connect(serve(app).await).await;
    for n in 0..10u8 {
        // A new lie each time, some of them about others.
        let said = format!("198.51.100.{n}, 203.0.113.8");
        let expected = if n < 3 {
            StatusCode::OK
        } else {
            StatusCode::TOO_MANY_REQUESTS
        };
        assert_eq!(ask(&mut hop, &said, "203.0.113.7").await, expected, "{n}");
    }
    // Nor did it use up what belongs to another one.
    assert_eq!(
        ask(&mut hop, "203.0.113.7", "203.0.113.8").await,
        StatusCode::OK
    );
    assert_eq!(handle.snapshot().keys, 2);
}

#[tokio::test]
async fn without_a_hop_the_header_means_nothing() {
    let (app, handle) = per_client(three_an_hour(), ClientIp::peer());
    let address = serve(app).await;
    let mut admitted = 0;
    for n in 0..10u8 {
        // Every time another connection, of the same client.
        let mut peer = Peer::connect(address).await;
        let client = format!("203.0.113.{n}");
        if ask(&mut peer, "198.51.100.1", &client).await == StatusCode::OK {
            admitted += 1;
        }
    }
    assert_eq!((admitted, handle.snapshot().keys), (3, 1));
}

/// Forgetting `into_make_service_with_connect_info` must not open the gate: without an address all
/// clients share one bucket, or are refused if the policy says so.
#[tokio::test]
async fn a_server_that_does_not_tell_addresses_is_still_limited() {
    for (rule, expected) in [
        (MissingKey::Share, StatusCode::TOO_MANY_REQUESTS),
        (MissingKey::Refuse, StatusCode::BAD_REQUEST),
    ] {
        let policy = three_an_hour().missing_key(rule);
        let (app, _handle) = per_client(policy, ClientIp::trusted_hops(1));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut peer = Peer::connect(address).await;
        let mut last = StatusCode::OK;
        for n in 0..4u8 {
            last = ask(&mut peer, "198.51.100.1", &format!("203.0.113.{n}")).await;
        }
        assert_eq!(last, expected, "{rule:?}");
    }
}
