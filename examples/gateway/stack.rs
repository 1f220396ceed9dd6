//! The layers: the only file that differs between a bare and a guarded gateway.
//!
//! The bare gateway has no [`Guards`]; the guarded one wraps the same router and the same clients
//! in them. Everything else is shared, so that a difference in the numbers is the work of the
//! layers and of nothing else.
//!
//! A request meets, from the outside to the inside: the answers for refusals, the caller's deadline
//! (`x-request-timeout-ms`), the throttle per client address; and then, for each upstream on its
//! own, the fallback, the retry, the hedge, the circuit breaker, the bulkhead, the timeout, and what
//! is left of the deadline in a header.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderName, HeaderValue, Request, Response};
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::circuit_breaker::{self, CircuitBreakerLayer};
use tower_keep::classify::Http;
use tower_keep::deadline::{ReadLayer, Wire, WriteLayer};
use tower_keep::fallback::{self, Failed, FallbackLayer};
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::http::ReplayBody;
use tower_keep::http::client_ip::ClientIp;
use tower_keep::replay::Buffered;
use tower_keep::retry::{self, RetryLayer};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::watchdog::Watchdog;
use tower_keep::{AsRejection, Registry, RejectionKind, Setup, event, key, replay, respond};

use crate::again;
use crate::config::{Fallback, Policies};
use crate::problem::CAUSE;
use crate::routes::Upstream;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client of one upstream, as the handler calls it.
pub(crate) type Outbound = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// How the deadline travels: in from the caller, and on to the upstream.
const TIME_LEFT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// Tells that an answer is not the upstream's, and why.
pub(crate) const FALLBACK: HeaderName = HeaderName::from_static("x-gateway-fallback");

/// No caller is served for longer than this, whatever it says. Long uploads and downloads are not
/// affected: the deadline ends with the head of the response.
const LONGEST: Duration = Duration::from_secs(60);

/// A worker that has not come back for so long stands still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// How much of a request's body is kept for another attempt.
const REPLAYED: usize = 64 * 1024;

/// All layers of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Guards {
    registry: Registry,
    fallback: Option<Fallback>,
    hedge: Option<hedge::Policy>,
    circuit_breaker: Option<circuit_breaker::Policy>,
    retry: Option<retry::Policy>,
    bulkhead: Option<bulkhead::Policy>,
    timeout: Option<timeout::Policy>,
    throttle: Option<throttle::Policy>,
}

impl Guards {
    pub(crate) fn new(policies: &Policies) -> Self {
        Self {
            registry: Registry::new().with_listener(event::Trace),
            fallback: policies.fallback.clone(),
            hedge: policies.hedge,
            circuit_breaker: policies.circuit_breaker,
            retry: policies.retry,
            bulkhead: policies.bulkhead,
            timeout: policies.timeout,
            throttle: policies.throttle,
        }
    }

    /// Where all layers are.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    fn setup(&self, name: String) -> Setup {
        Setup::named(name).in_registry(&self.registry)
    }

    /// Wraps the whole gateway: what a request meets before it is routed.
    pub(crate) fn inbound(&self, router: Router) -> Router {
        let client = ClientIp::peer().read_peer_with(peer);
        let throttle = self.throttle.map(|policy| {
            ThrottleLayer::keyed_with(
                policy,
                key::client_ip(client),
                self.setup("per client".to_owned()),
            )
        });
        let stack = ServiceBuilder::new()
            .layer(ReadLayer::new(Wire::millis(TIME_LEFT)).at_most(LONGEST))
            .option_layer(throttle);
        router.layer(respond(stack))
    }

    /// Wraps the client of one upstream: what a request meets on its way out.
    pub(crate) fn outbound(&self, upstream: &Upstream, client: Outbound) -> Outbound {
        let setup = || self.setup(format!("to {}", upstream.prefix));
        let bulkhead = self.bulkhead.map(|policy| {
            BulkheadLayer::with(policy, setup())
                .queued()
                .until_body_end()
        });
        let timeout = self
            .timeout
            .map(|policy| TimeoutLayer::with(policy, setup()));
        let inner = ServiceBuilder::new()
            .option_layer(timeout)
            .layer(WriteLayer::new(Wire::millis(TIME_LEFT)))
            .service(client);
        let inner = match bulkhead {
            Some(bulkhead) => BoxCloneSyncService::new(
                ServiceBuilder::new()
                    .layer(bulkhead)
                    .service(inner)
                    .map_response(|response| response.map(Body::new)),
            ),
            None => BoxCloneSyncService::new(inner),
        };
        let breaker = self
            .circuit_breaker
            .map(|policy| CircuitBreakerLayer::with(policy, setup()).classify(Http));
        let hedge = self.hedge.map(|policy| {
            HedgeLayer::with(policy, hedge::when(again::may_hedge), setup())
                .replay(replay::by(again::copy))
                .classify(Http)
        });
        let inner =
            BoxCloneSyncService::new(ServiceBuilder::new().option_layer(breaker).service(inner));
        let inner = ServiceBuilder::new().option_layer(hedge).service(inner);
        let inner = match self.retry {
            Some(policy) => {
                // What could not be connected to has not seen the request, whatever its method.
                let rules = retry::Http::new().unprocessed(|error: &BoxError| {
                    let error = error.downcast_ref::<hyper_util::client::legacy::Error>();
                    error.is_some_and(hyper_util::client::legacy::Error::is_connect)
                });
                let retry =
                    RetryLayer::with(policy, rules, setup()).replay(Buffered::up_to(REPLAYED));
                BoxCloneSyncService::new(
                    ServiceBuilder::new()
                        .layer(retry)
                        .map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new))
                        .service(inner),
                )
            }
            None => BoxCloneSyncService::new(inner),
        };
        let Some(known) = self.fallback.clone() else {
            return inner;
        };
        // Only what changes nothing may be answered by somebody else, and only while the upstream
        // is held to be down: who is refused for any other reason shall know it.
        let answer = fallback::keeping(
            |request: &Request<Body>| request.method().is_safe(),
            move |is_safe, failed: Failed<'_, Response<Body>, BoxError>| {
                let rejection = failed.cause().rejection()?;
                (is_safe && rejection.kind() == RejectionKind::Open).then(|| known.response())
            },
        );
        let fallback = FallbackLayer::with(fallback::Policy::default(), answer, setup())
            .classify(Http)
            .marked_in(FALLBACK);
        BoxCloneSyncService::new(ServiceBuilder::new().layer(fallback).service(inner))
    }

    /// Watches the runtime that this is called in.
    pub(crate) fn watchdog(&self) -> Result<Watchdog, String> {
        let runtime = tokio::runtime::Handle::current();
        Watchdog::builder(self.setup("watchdog".to_owned()))
            .runtime("gateway", runtime, STANDSTILL)
            .start()
            .map_err(|error| error.to_string())
    }

    /// A snapshot of every layer.
    pub(crate) fn layers(&self) -> Vec<Value> {
        let reports = self.registry.reports();
        reports
            .iter()
            .filter_map(|report| serde_json::to_value(report).ok())
            .collect()
    }
}

impl Fallback {
    fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body.clone()));
        let kind = self.content_type.clone();
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// Answers an error that a layer made, or gives the error back when it is not one of them.
pub(crate) fn refusal(error: BoxError) -> Result<Response<Body>, BoxError> {
    let Some(rejection) = error.as_rejection() else {
        return Err(error);
    };
    let mut response: Response<Body> = tower_keep::http::response_to(&rejection);
    let cause = HeaderValue::from_static(rejection.kind().label());
    response.headers_mut().insert(CAUSE, cause);
    Ok(response)
}

/// The address of whoever is connected to us.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0)
}
