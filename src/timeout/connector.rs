//! A bound on connecting.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::future::TimeoutFuture;
use super::layer::TimeoutLayer;
use super::service::Timeout;
use crate::error::{AsRejection, Error};
use crate::lift::Lift;

/// Bounds how long a connector takes, for clients that take a connector, such
/// as hyper-util's.
///
/// It covers what the connector does: wrap a TCP connector to bound the
/// connecting, and the TLS connector around it to bound that and the handshake.
/// Its future is boxed, once per connection, because clients ask for one that
/// can be moved.
///
/// When the time is up, or the deadline in force, it fails with
/// [`ConnectTimeout`](crate::RejectionKind::ConnectTimeout): no request was sent,
/// so another try is safe whatever the request, but it counts against the service
/// all the same.
///
/// ```
/// use std::time::Duration;
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use hyper_util::rt::TokioExecutor;
/// use tower_keep::timeout::{Connector, Policy, TimeoutLayer};
///
/// let layer = TimeoutLayer::new(Policy::attempt(Duration::from_millis(300))?);
/// let connector = Connector::new(&layer, HttpConnector::new());
/// let client = Client::builder(TokioExecutor::new()).build::<_, axum::body::Body>(connector);
/// # let _ = client;
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Connector<C> {
    inner: Connect<Lift<C>>,
}

/// The future of a [`Connector`].
pub type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send>>;

impl<C> Connector<C> {
    /// Wraps a connector; all of one layer share its policy and its counts.
    pub fn new(layer: &TimeoutLayer, connector: C) -> Self {
        Self {
            inner: layer.connecting().layer(Lift::new(connector)),
        }
    }
}

impl<C, Dst> Service<Dst> for Connector<C>
where
    C: Service<Dst>,
    C::Future: Send + 'static,
    C::Response: 'static,
    C::Error: Send + 'static,
{
    type Response = C::Response;
    type Error = Error<C::Error>;
    type Future = Connecting<C::Response, C::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, destination: Dst) -> Self::Future {
        Box::pin(self.inner.call(destination))
    }
}

/// Makes [`Connect`]: by [`TimeoutLayer::connecting`].
#[derive(Debug, Clone)]
pub struct ConnectLayer(pub(super) TimeoutLayer);

/// A bound on connecting for clients that take layers for their connectors, such as
/// reqwest's (`connector_layer`). Unlike [`Connector`] it keeps the connector's type
/// of error, and boxes nothing; otherwise they are the same.
#[derive(Debug, Clone)]
pub struct Connect<C> {
    inner: Timeout<C>,
}

impl<C> Layer<C> for ConnectLayer {
    type Service = Connect<C>;

    fn layer(&self, connector: C) -> Connect<C> {
        Connect {
            inner: self.0.layer(connector),
        }
    }
}

impl<C, Dst> Service<Dst> for Connect<C>
where
    C: Service<Dst>,
    C::Error: AsRejection,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = TimeoutFuture<C::Future, C::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, destination: Dst) -> Self::Future {
        self.inner.call(destination).connecting()
    }
}
