//! Timeouts around what is no service of requests and responses, as if it were one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::util::{MapErr, MapRequest};
use tower::{Layer, Service};
use tower_keep::test_util::{Broken, ScriptBody};
use tower_keep::timeout::{self, BodyPolicy, Connect, Connector, TimeoutLayer};

use super::{Fail, secs};

/// A timeout around what stands for a connector.
#[derive(Debug, Clone)]
pub(crate) struct Connecting(pub(crate) TimeoutLayer);

impl Connecting {
    pub(crate) fn handle(&self) -> timeout::Handle {
        self.0.handle()
    }
}

impl<S> Layer<S> for Connecting {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        self.0.connecting().layer(inner)
    }
}

/// The same for clients that ask for more.
#[derive(Debug, Clone)]
pub(crate) struct Connectors(pub(crate) TimeoutLayer);

impl Connectors {
    pub(crate) fn handle(&self) -> timeout::Handle {
        self.0.handle()
    }
}

/// It lifts the error of what connects: that is to become the error of the others.
#[derive(Debug, Clone)]
pub(crate) struct Lowered<S>(Connector<MapErr<S, Lower>>);

type Lower = fn(Fail) -> Broken;

impl<S> Layer<S> for Connectors {
    type Service = Lowered<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let lower: Lower = |error| error.into_inner().unwrap();
        Lowered(Connector::new(&self.0, MapErr::new(inner, lower)))
    }
}

impl<S> Service<Request<()>> for Lowered<S>
where
    S: Service<Request<()>, Response = Response<ScriptBody>, Error = Fail>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Fail;
    type Future = Opaque;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Opaque {
        Opaque(self.0.call(request))
    }
}

/// A box has no `Debug`.
pub(crate) struct Opaque(timeout::Connecting<Response<ScriptBody>, Broken>);

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opaque")
    }
}

impl Future for Opaque {
    type Output = Result<Response<ScriptBody>, Fail>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Bounds that nothing here crosses.
pub(crate) fn bodies() -> BodyPolicy {
    let policy = BodyPolicy::builder().total(secs(60)).idle(secs(40));
    policy
        .min_bytes_per_second(1)
        .grace(secs(40))
        .build()
        .unwrap()
}

/// Request bodies, for an inner service that has none.
#[derive(Debug, Clone)]
pub(crate) struct RequestBodies(pub(crate) timeout::RequestBodyTimeoutLayer);

type Timed = Request<timeout::TimedBody<()>>;

fn bare(request: Timed) -> Request<()> {
    request.map(drop)
}

impl<S> Layer<S> for RequestBodies {
    type Service = timeout::RequestBodyTimeout<MapRequest<S, fn(Timed) -> Request<()>>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(MapRequest::new(inner, bare))
    }
}
