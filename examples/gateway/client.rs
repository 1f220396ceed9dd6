//! The client of one upstream.
//!
//! Every upstream has its own client and so its own pool of connections: a layer around it guards
//! exactly one server. HTTP/1 is the default; an `h2://` URL speaks HTTP/2 from the first byte.

use crate::config::Gateway;
use crate::routes::Upstream;
use crate::stack::{BoxError, Outbound};
use axum::body::Body;
use axum::http::Response;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

pub(crate) fn connect(upstream: &Upstream, settings: &Gateway) -> Outbound {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(settings.connect_timeout));
    let client: Client<_, Body> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .http2_only(upstream.http2)
        .build(connector);
    BoxCloneSyncService::new(
        client
            .map_response(|response: Response<hyper::body::Incoming>| response.map(Body::new))
            .map_err(|error: Error| -> BoxError { Box::new(error) }),
    )
}
