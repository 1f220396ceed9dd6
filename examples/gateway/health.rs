//! Health on a port of its own: what an orchestrator asks must not wait behind the traffic.
//!
//! No upstream that is down makes the gateway unready: it would take all instances out at once,
//! and the other upstreams with it. It warns, and says which one.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use tokio::net::TcpListener;
use tower_keep::health::{Check, Criticality, Group, Health, checks};
use tower_keep::probe::{Schedule, Tcp};
use tower_keep::{Registry, Setup};

use crate::routes::Upstream;

/// How long readiness fails before a drain begins, unless the operator says otherwise.
pub(crate) const DRAIN_DELAY: Duration = Duration::from_secs(5);

/// Starts the checks.
pub(crate) fn start(upstreams: &[Upstream], registry: &Registry) -> Result<Health, String> {
    let failed = |error: &dyn std::error::Error| format!("cannot check health: {error}");
    let often = Schedule::builder()
        .interval(Duration::from_secs(2))
        .build()
        .map_err(|error| failed(&error))?;
    let layers = checks::Layers::of(registry);
    let mut builder = Health::builder()
        .setup(Setup::named("gateway").in_registry(registry))
        .check(Check::new("runtime", || async {}).groups([Group::Liveness]))
        .check(
            Check::new("layers", layers)
                .schedule(often)
                .criticality(Criticality::Degrading),
        );
    for (number, upstream) in (1..).zip(upstreams) {
        let address = match upstream.authority.port() {
            Some(_) => upstream.authority.to_string(),
            None => format!("{}:80", upstream.authority),
        };
        let probe = Tcp::new(address).map_err(|error| failed(&error))?;
        builder = builder.check(
            Check::new(format!("upstream-{number}"), probe)
                .schedule(often)
                .criticality(Criticality::Degrading)
                .affects([&*upstream.prefix]),
        );
    }
    builder.start().map_err(|error| failed(&error))
}

/// Answers until the process ends: while it drains, too.
pub(crate) fn serve(health: &Health, listener: TcpListener) {
    let endpoints = health.endpoints().details_for(is_local);
    let router: Router = Router::new().fallback_service(endpoints);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
}

fn is_local(head: &Parts) -> bool {
    let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|peer| peer.0.ip().is_loopback())
}
