//! Which exchanges may be made twice, and how.

use axum::body::{Body, HttpBody};
use axum::http::Request;
use axum::http::header::UPGRADE;
use tower_keep::http::may_repeat;

/// Idempotent requests, but no tunnels: two of those would both be open.
pub(crate) fn may_hedge(request: &Request<Body>) -> bool {
    may_repeat(request) && !request.headers().contains_key(UPGRADE)
}

/// The same request, if there is no body to be read: the gateway holds none.
pub(crate) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
