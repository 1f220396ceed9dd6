//! `grpc.health.v1`: our service before tonic's client, our probe before tonic's server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::pb::health_client::HealthClient;
use tower_keep::clock::Clock;
use tower_keep::health::grpc::GrpcHealth;
use tower_keep::health::{Check, Group, Health};
use tower_keep::probe::{Grpc, Observation, Schedule, Status, ask};
use tower_keep_services::serve;

use crate::server::{about, channel, health as theirs, listen};

/// A server as well as it is told to be.
async fn switched() -> (Health, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(true));
    let probe = {
        let works = works.clone();
        move || std::future::ready(works.load(Ordering::Relaxed).then_some(()).ok_or("down"))
    };
    let schedule = Schedule::builder()
        .interval(Duration::from_millis(20))
        .fall(1);
    let check = Check::new("db", probe).schedule(schedule.build().unwrap());
    let health = Health::builder().check(check).start().unwrap();
    assert_eq!(
        health.changed(Group::Readiness, Status::Fail).await,
        Status::Pass
    );
    (health, works)
}

/// In a tonic server.
async fn served(health: &Health) -> SocketAddr {
    let grpc = GrpcHealth::new(health).service("shop");
    let router = Router::new().route_service(GrpcHealth::ROUTE, grpc);
    let (incoming, address) = listen().await;
    let server = Server::builder().add_routes(Routes::from(router));
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

#[tokio::test]
async fn a_tonic_client_checks_and_watches() {
    let (health, works) = switched().await;
    let mut client = HealthClient::new(channel(served(&health).await));
    for name in ["", "shop"] {
        let answer = client.check(about(name)).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{name}");
    }
    let refused = client.check(about("other")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);

    let mut watch = client.watch(about("shop")).await.unwrap().into_inner();
    let mut unknown = client.watch(about("other")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status, 3);
    for (is_up, status) in [(true, 1), (false, 2), (true, 1)] {
        works.store(is_up, Ordering::Relaxed);
        assert_eq!(watch.message().await.unwrap().unwrap().status, status);
    }
    health.withdraw("draining");
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
}

async fn asked(url: String, service: &str) -> Observation {
    let probe = Grpc::new(&url).unwrap().service(service);
    ask(&probe, Duration::from_secs(10), &Clock::default()).await
}

#[tokio::test]
async fn the_probe_understands_tonic_and_itself() {
    let (incoming, tonics) = listen().await;
    let server = Server::builder().add_service(theirs().await);
    tokio::spawn(server.serve_with_incoming(incoming));
    let (health, works) = switched().await;
    let ours = served(&health).await;
    works.store(false, Ordering::Relaxed);
    health.changed(Group::Readiness, Status::Pass).await;
    let page = serve(Router::new()).await;
    for (address, service, status, output) in [
        (tonics, "", Status::Pass, ""),
        (tonics, "shop", Status::Pass, ""),
        (
            tonics,
            "other",
            Status::Fail,
            "grpc-status 5 (the service is not known)",
        ),
        (ours, "shop", Status::Fail, "not serving"),
        (
            ours,
            "other",
            Status::Fail,
            "grpc-status 5 (the service is not known)",
        ),
        (page, "", Status::Fail, "status 404"),
    ] {
        let seen = asked(format!("http://{address}"), service).await;
        let found = (seen.finding.status(), seen.finding.output());
        assert_eq!(found, (status, output), "{address} {service}");
    }
    let closed = asked("http://127.0.0.1:1".to_owned(), "").await;
    assert!(closed.finding.output().contains("refused"), "{closed:?}");
}
