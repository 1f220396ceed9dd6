//! Gives a service an error type that can carry a [`Rejection`](crate::Rejection).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;

/// Makes [`Lift`]. It goes innermost: last in a `ServiceBuilder`.
///
/// It is for stacks whose caller takes errors: clients, and services of your own. A
/// server's router does not: axum's `Router::layer` wants a service that never fails,
/// and says of a stack with this in it that `Infallible: From<Error<Infallible>>` is
/// missing. There, leave it out, and wrap the stack in `respond`.
#[cfg_attr(
    feature = "http",
    doc = "[`respond`](crate::respond()) puts it there by itself."
)]
#[derive(Debug, Clone, Copy, Default)]
pub struct LiftLayer;

impl LiftLayer {
    /// The layer; it has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for LiftLayer {
    type Service = Lift<S>;

    fn layer(&self, inner: S) -> Lift<S> {
        Lift::new(inner)
    }
}

/// Turns the error `E` of a service into [`Error<E>`](crate::Error).
#[derive(Debug, Clone)]
pub struct Lift<S> {
    inner: S,
}

impl<S> Lift<S> {
    /// Wraps a service.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    /// The wrapped service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Service<Req>, Req> Service<Req> for Lift<S> {
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = LiftFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Inner)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        LiftFuture {
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of [`Lift`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct LiftFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, T, E> Future for LiftFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project()
            .inner
            .poll(cx)
            .map(|result| result.map_err(Error::Inner))
    }
}
