//! A factory whose services need no time to be made.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use tower_service::Service;

use super::endpoint::Endpoint;

/// Makes a service from each endpoint at once: see [`by`].
#[derive(Debug, Clone, Copy)]
pub struct By<F>(F);

/// A factory that needs no connection: a client that connects by itself, or the
/// same client told where to go.
pub fn by<F, S>(make: F) -> By<F>
where
    F: FnMut(&Endpoint) -> S,
{
    By(make)
}

impl<F, S> Service<Endpoint> for By<F>
where
    F: FnMut(&Endpoint) -> S,
{
    type Response = S;
    type Error = Infallible;
    type Future = Ready<Result<S, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, endpoint: Endpoint) -> Self::Future {
        ready(Ok((self.0)(&endpoint)))
    }
}
