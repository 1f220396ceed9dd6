//! The gateway as a server: it accepts, serves HTTP/1 and HTTP/2, and drains.
//!
//! A gateway that is stopped must not break what it has begun. It stops accepting, tells idle
//! connections to close, finishes what is in flight, and gives up after a stated time, because
//! one client that never reads must not hold a deployment for ever.

use crate::config::Policies;
use crate::inflight::InFlight;
use crate::proxy::{self, Proxy};
use crate::routes::Upstream;
use crate::stack::Guards;
use crate::{client, clock};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

/// A gateway that is built and not yet started.
#[derive(Debug)]
pub(crate) struct Gateway {
    router: Router,
    in_flight: InFlight,
}

/// What a drain left behind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) complete: bool,
    /// Exchanges and tunnels that were given up on.
    pub(crate) in_flight: usize,
}

impl Gateway {
    /// Builds the proxy, with the layers if there are `guards`.
    pub(crate) fn new(
        upstreams: Vec<Upstream>,
        policies: &Policies,
        guards: Option<&Guards>,
    ) -> Self {
        let clients = upstreams
            .into_iter()
            .map(|upstream| {
                let mut outbound = client::connect(&upstream, &policies.gateway);
                if let Some(guards) = guards {
                    outbound = guards.outbound(&upstream, outbound);
                }
                (upstream, outbound)
            })
            .collect();
        let in_flight = InFlight::new();
        let proxy = Proxy::new(clients, &policies.gateway, in_flight.clone());
        let mut router = proxy::router(Arc::new(proxy));
        if let Some(guards) = guards {
            router = guards.inbound(router);
        }
        Self {
            router: router.layer(axum::middleware::from_fn(proxy::identify)),
            in_flight,
        }
    }

    /// A server without a proxy, for the upstreams of the demonstration.
    pub(crate) fn plain(router: Router) -> Self {
        Self {
            router,
            in_flight: InFlight::new(),
        }
    }

    /// Serves until `stop` is done, then drains for at most `limit`.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()>,
        limit: Duration,
    ) -> Drained {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new());
        let connections = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.start(&builder, &connections, stream, peer);
                }
                // Out of file descriptors: wait for some to come back instead of spinning.
                Err(_) => clock::sleep(Duration::from_millis(20)).await,
            }
        }
        drop(listener);
        let drained = async {
            connections.shutdown().await;
            self.in_flight.none().await;
        };
        let complete = tokio::time::timeout(limit, drained).await.is_ok();
        Drained {
            complete,
            in_flight: self.in_flight.count(),
        }
    }

    fn start(
        &self,
        builder: &Builder<TokioExecutor>,
        connections: &GracefulShutdown,
        stream: TcpStream,
        peer: SocketAddr,
    ) {
        // Without it a small answer may wait for an acknowledgement; a failure costs only speed.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().call(request.map(Body::new))
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = connections.watch(connection);
        tokio::spawn(async move {
            // A connection that ends badly has its client to blame, who is gone.
            let _ = watched.await;
        });
    }
}

/// Opens the address, with an error that says which one.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address)
        .await
        .map_err(|error: io::Error| format!("cannot listen on {address}: {error}"))
}
