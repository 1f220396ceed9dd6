//! What the test binaries share: the layers under test, each in one line, and
//! what they have in common.
#![allow(dead_code, unused_macros, unused_imports)] // each binary uses a part

#[macro_use]
pub(crate) mod balanced;
#[macro_use]
pub(crate) mod cases;
pub(crate) mod keys;
pub(crate) mod shop;
pub(crate) mod transcript;
pub(crate) mod watched;
pub(crate) mod wrapped;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_keep::Error;
use tower_keep::test_util::{
    BodyStep, Broken, Call, Counts, ManualClock, Probe, Script, ScriptBody, Watch,
};

pub(crate) type Fail = Error<Broken>;
/// The scripted service of HTTP responses, behind a probe.
pub(crate) type Inner = Probe<Script<Response<ScriptBody>, Fail>>;

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How much of it there is: all that a fault names where the compiler optimises,
/// else fewer.
pub(crate) fn full_scale(all: u64, fewer: u64) -> u64 {
    if cfg!(debug_assertions) { fewer } else { all }
}

pub(crate) const BROKEN: Fail = Error::Inner(Broken("no"));

pub(crate) fn request(key: &'static str) -> Request<()> {
    let mut request = Request::new(());
    request
        .headers_mut()
        .insert("x-key", http::HeaderValue::from_static(key));
    request
}

/// A response that is told by its status and its body.
pub(crate) fn response(
    time: &ManualClock,
    status: u16,
    body: impl IntoIterator<Item = BodyStep>,
) -> Response<ScriptBody> {
    Response::builder()
        .status(status)
        .header("x-from", "inner")
        .body(ScriptBody::new(time, body))
        .unwrap()
}

pub(crate) fn data(text: &'static str) -> BodyStep {
    BodyStep::Data(Bytes::from_static(text.as_bytes()))
}

pub(crate) fn trailers() -> BodyStep {
    let mut map = http::HeaderMap::new();
    map.insert("x-sum", http::HeaderValue::from_static("42"));
    BodyStep::Trailers(map)
}

/// A probe around a script that answers 200 with an empty body.
pub(crate) fn inner(time: &ManualClock) -> (Inner, Script<Response<ScriptBody>, Fail>, Watch) {
    let script = Script::new(time, Call::respond(response(time, 200, [])));
    let probe = Probe::new(script.clone());
    let watch = probe.watch();
    (probe, script, watch)
}

/// Waits until the service is ready, and calls it.
pub(crate) async fn call<S, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error>
where
    S: tower::Service<Req>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// Polls readiness once, with a waker that nobody hears.
pub(crate) fn poll_ready<S>(service: &mut S) -> std::task::Poll<Result<(), S::Error>>
where
    S: tower::Service<Request<()>>,
{
    service.poll_ready(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

/// Waits until the service is ready.
pub(crate) async fn readiness<S>(service: &mut S) -> Result<(), S::Error>
where
    S: tower::Service<Request<()>>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await
}
