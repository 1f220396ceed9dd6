//! Where the layers of the crate go: the only file that differs between a bare and a guarded
//! gateway.
//!
//! The bare gateway never calls [`guard_inbound`] and [`guard_outbound`]; the guarded one calls
//! them with the same router and the same clients. Everything else is shared, so that a difference
//! in the numbers is the work of the layers and of nothing else.

use crate::config::Policies;
use crate::routes::Upstream;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use tower::util::BoxCloneSyncService;

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client of one upstream, as the handler calls it.
pub(crate) type Outbound = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Wraps the whole gateway: what a request meets before it is routed.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the policies are read once per layer"
)]
pub(crate) fn guard_inbound(router: Router, policies: &Policies) -> Router {
    let _ = policies;
    router
}

/// Wraps the client of one upstream: what a request meets on its way out.
pub(crate) fn guard_outbound(
    upstream: &Upstream,
    client: Outbound,
    policies: &Policies,
) -> Outbound {
    let _ = (upstream, policies);
    client
}

/// Answers an error that a layer made, or gives the error back when it is not one of them.
pub(crate) fn refusal(error: BoxError) -> Result<Response<Body>, BoxError> {
    Err(error)
}

/// A snapshot of every registered handle.
pub(crate) fn layers() -> Vec<serde_json::Value> {
    Vec::new()
}
