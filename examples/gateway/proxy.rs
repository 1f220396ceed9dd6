//! One exchange: from a request of a client to the response of an upstream.
//!
//! Bodies stream both ways, one frame at a time; the gateway never holds a whole one. The shared
//! slots are what every gateway has in some form (`worker_connections`, `max_connections`, file
//! descriptors): a finite number of exchanges at once, and a first-come line for the rest.

use crate::config::Gateway;
use crate::headers;
use crate::inflight::{Counted, Exchange, InFlight, NoContent};
use crate::patience::{NoResponse, Progress};
use crate::problem::Problem;
use crate::routes::{self, Upstream};
use crate::stack::{self, BoxError, Outbound};
use crate::{expect, local, tunnel};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_LENGTH, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode};
use axum::middleware::Next;
use hyper::upgrade::OnUpgrade;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::{Service, ServiceExt};

#[derive(Debug)]
pub(crate) struct Proxy {
    upstreams: Vec<(Upstream, Outbound)>,
    name: String,
    response_timeout: Duration,
    slots: Arc<Semaphore>,
    in_flight: InFlight,
    turn: AtomicUsize,
}

impl Proxy {
    pub(crate) fn new(
        upstreams: Vec<(Upstream, Outbound)>,
        settings: &Gateway,
        in_flight: InFlight,
    ) -> Self {
        let name = settings
            .name
            .clone()
            .unwrap_or_else(|| format!("gateway-{:08x}", rand::random::<u32>()));
        Self {
            upstreams,
            name,
            response_timeout: settings.response_timeout,
            slots: Arc::new(Semaphore::new(settings.max_in_flight)),
            in_flight,
            turn: AtomicUsize::new(0),
        }
    }

    /// The upstream for a path; those of one prefix take turns.
    fn choose(&self, path: &str) -> Option<&(Upstream, Outbound)> {
        let found = routes::matching(self.upstreams.iter().map(|(upstream, _)| upstream), path);
        let turn = match found.len() {
            0 => return None,
            1 => 0,
            several => self.turn.fetch_add(1, Ordering::Relaxed) % several,
        };
        self.upstreams.get(*found.get(turn)?)
    }
}

pub(crate) fn router(proxy: Arc<Proxy>) -> Router {
    Router::new().fallback(handle).with_state(proxy)
}

/// The outermost middleware: gives every request an id, and every response the same one, whoever
/// made it.
pub(crate) async fn identify(mut request: Request<Body>, next: Next) -> Response<Body> {
    let id = headers::request_id(request.headers());
    request
        .headers_mut()
        .insert(headers::REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(headers::REQUEST_ID, id);
    response
}

async fn handle(State(proxy): State<Arc<Proxy>>, request: Request<Body>) -> Response<Body> {
    match exchange(&proxy, request).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn exchange(proxy: &Proxy, request: Request<Body>) -> Result<Response<Body>, Problem> {
    let request = match local::answer(request)? {
        local::Next::Answered(response) => return Ok(response),
        local::Next::Forward(request) => request,
    };
    if headers::is_loop(request.headers(), &proxy.name) {
        return Err(Problem::new(
            StatusCode::LOOP_DETECTED,
            "loop",
            "the request has passed this gateway before",
        )
        .proxy_error("proxy_loop_detected"));
    }
    let path = request.uri().path();
    if routes::has_dot_segments(path) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "dot_segments",
            "the path has `.` or `..` segments",
        ));
    }
    let Some((upstream, client)) = proxy.choose(path) else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no_route",
            format!("no upstream serves `{path}`"),
        )
        .proxy_error("destination_not_found"));
    };

    let client_version = request.version();
    let is_head = request.method() == Method::HEAD;
    let (request, upgrade) = outbound(proxy, upstream, request)?;
    let Ok(slot) = Arc::clone(&proxy.slots).acquire_owned().await else {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "closed",
            "the gateway is closing",
        ));
    };
    let held = Exchange {
        _token: proxy.in_flight.token(),
        _slot: slot,
    };
    let mut response = match send(client.clone(), request, proxy.response_timeout).await {
        Ok(response) => response,
        Err(error) => return failure(upstream, error),
    };

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::open(response, upgrade, held, &proxy.name);
    }
    let upstream_version = response.version();
    headers::strip_hop_by_hop(response.headers_mut());
    headers::via(response.headers_mut(), upstream_version, &proxy.name);
    *response.version_mut() = client_version;
    let says_nothing_of_length = (is_head || response.status() == StatusCode::NOT_MODIFIED)
        && !response.headers().contains_key(CONTENT_LENGTH);
    Ok(response.map(|body| {
        if says_nothing_of_length {
            Body::new(NoContent)
        } else {
            Body::new(Counted::new(body, held))
        }
    }))
}

/// What is kept of an upgrade until the upstream has agreed to it.
pub(crate) struct Upgrade {
    pub(crate) client: OnUpgrade,
}

/// Makes the request that the upstream sees.
fn outbound(
    proxy: &Proxy,
    upstream: &Upstream,
    mut request: Request<Body>,
) -> Result<(Request<Body>, Option<Upgrade>), Problem> {
    let client = hyper::upgrade::on(&mut request);
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0);
    let (mut parts, body) = request.into_parts();
    let host = headers::host(&parts)
        .map_err(|reason| Problem::new(StatusCode::BAD_REQUEST, "host", reason))?;
    parts.uri = upstream.target(&parts.uri).ok_or_else(|| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "target",
            "the request target cannot be forwarded",
        )
    })?;
    let protocol = headers::wanted_upgrade(&parts).filter(|_| !upstream.http2);
    let trailers = headers::wants_trailers(&parts.headers);
    let received = parts.version;
    let id = headers::request_id(&parts.headers);
    parts.version = upstream.version();
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::adapt_request(&mut parts.headers, trailers, received, parts.version);
    headers::forwarded(&mut parts.headers, peer, host.as_deref(), &proxy.name);
    headers::via(&mut parts.headers, received, &proxy.name);
    parts.headers.insert(headers::REQUEST_ID, id);
    let upgrade = protocol.map(|protocol: HeaderValue| {
        headers::set_upgrade(&mut parts.headers, protocol);
        Upgrade { client }
    });
    let request = Request::from_parts(parts, body);
    Ok((expect::hold_until_asked(request, received), upgrade))
}

async fn send(
    mut client: Outbound,
    request: Request<Body>,
    limit: Duration,
) -> Result<Response<Body>, BoxError> {
    let progress = Progress::default();
    let request = progress.of(request);
    let answer = async { client.ready().await?.call(request).await };
    progress.wait(limit, answer).await?
}

/// Answers for an upstream that did not.
fn failure(upstream: &Upstream, error: BoxError) -> Result<Response<Body>, Problem> {
    let error = match stack::refusal(error) {
        Ok(response) => return Ok(response),
        Err(error) => error,
    };
    let prefix = &upstream.prefix;
    if error.is::<NoResponse>() {
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            format!("the upstream of `{prefix}` did not answer in time"),
        )
        .proxy_error("http_response_timeout"));
    }
    let connecting = error
        .downcast_ref::<hyper_util::client::legacy::Error>()
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    let mut timed_out = false;
    let mut refused = false;
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            timed_out |= io.kind() == std::io::ErrorKind::TimedOut;
            refused |= io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        source = cause.source();
    }
    Err(match (connecting, timed_out) {
        (true, true) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "connect_timeout",
            format!("the upstream of `{prefix}` could not be connected to in time"),
        )
        .proxy_error("connection_timeout"),
        (true, false) => Problem::new(
            StatusCode::BAD_GATEWAY,
            "connect",
            format!("the upstream of `{prefix}` could not be connected to"),
        )
        .proxy_error(if refused {
            "connection_refused"
        } else {
            "destination_ip_unroutable"
        }),
        (false, _) => Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream",
            format!("the upstream of `{prefix}` broke off the exchange"),
        )
        .proxy_error("connection_terminated"),
    })
}
