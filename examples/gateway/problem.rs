//! The answers the gateway makes itself, as `application/problem+json` (RFC 9457).
//!
//! A client must be able to tell an error of the gateway from one of the upstream, and to act on
//! it without reading prose: `cause` is a stable word, and `Proxy-Status` (RFC 9209) says the same
//! to other proxies.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use serde_json::json;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The header by which the load generator learns why the gateway refused.
pub(crate) const CAUSE: HeaderName = HeaderName::from_static("x-gateway-cause");

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// A stable word for programs, for instance `connect`.
    pub(crate) cause: &'static str,
    /// The error type of RFC 9209, when it has one.
    pub(crate) proxy_error: Option<&'static str>,
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, cause: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            cause,
            proxy_error: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn proxy_error(mut self, error: &'static str) -> Self {
        self.proxy_error = Some(error);
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "cause": self.cause,
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CAUSE, HeaderValue::from_static(self.cause));
        if let Some(error) = self.proxy_error
            && let Ok(value) = HeaderValue::try_from(format!("gateway; error={error}"))
        {
            headers.insert(PROXY_STATUS, value);
        }
        response
    }
}
