//! Which requests may be sent twice.

use http::{HeaderName, Method, Request};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a method is idempotent by its definition (RFC 9110, section 9.2.2):
/// `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE`.
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// Whether a request has no other effect if it is sent twice: its method is
/// idempotent, or it has an `Idempotency-Key` (IETF draft
/// idempotency-key-header).
#[must_use]
pub fn may_repeat<B>(request: &Request<B>) -> bool {
    is_idempotent(request.method()) || is_keyed(request)
}

/// Whether it has an `Idempotency-Key`.
pub(crate) fn is_keyed<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(&IDEMPOTENCY_KEY)
}
