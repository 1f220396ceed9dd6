//! Requests that the gateway answers itself, because they are about the gateway.
//!
//! `CONNECT` asks for a tunnel to anywhere, which a reverse proxy must not be. `OPTIONS *` asks
//! about the server it reached, and `Max-Forwards: 0` says that this is the server to answer.

use crate::headers;
use crate::problem::Problem;
use axum::body::Body;
use axum::http::header::{
    ALLOW, AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderValue, MAX_FORWARDS, PROXY_AUTHORIZATION,
};
use axum::http::{Method, Request, Response, StatusCode};

const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH";

#[derive(Debug)]
pub(crate) enum Next {
    Answered(Response<Body>),
    Forward(Request<Body>),
}

pub(crate) fn answer(mut request: Request<Body>) -> Result<Next, Problem> {
    let method = request.method();
    if method == Method::CONNECT {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "connect_method",
            "a reverse proxy opens no tunnels",
        ));
    }
    if method != Method::OPTIONS && method != Method::TRACE {
        return Ok(Next::Forward(request));
    }
    if headers::is_asterisk(request.uri()) {
        return Ok(Next::Answered(options()));
    }
    // Only these two methods count their forwards (RFC 9110 section 7.6.2).
    let Some(value) = request.headers().get(MAX_FORWARDS) else {
        return Ok(Next::Forward(request));
    };
    let left = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse::<u64>().ok());
    match left {
        Some(0) if method == Method::OPTIONS => Ok(Next::Answered(options())),
        Some(0) => Ok(Next::Answered(trace(&request))),
        Some(left) => {
            request
                .headers_mut()
                .insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(Next::Forward(request))
        }
        None => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "max_forwards",
            "Max-Forwards is not a number",
        )),
    }
}

fn options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(METHODS));
    response
}

/// Gives back what arrived, without what nobody should see again.
fn trace(request: &Request<Body>) -> Response<Body> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut text = format!("TRACE {target} {:?}\r\n", request.version()).into_bytes();
    for (name, value) in request.headers() {
        if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) {
            continue;
        }
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    let mut response = Response::new(Body::from(text));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("message/http"));
    response
}
