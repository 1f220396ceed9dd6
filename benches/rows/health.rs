//! Health, asked by handlers and by probes.

use std::convert::Infallible;
use std::future::{self, Ready};
use std::task::{Context, Poll};

use http::{Request, Uri};
use tower_keep::Error;
use tower_keep::health::{Check, Endpoints, Health};
use tower_service::Service;

use super::driver::{Maker, of, ready};

/// What one call asks.
#[derive(Clone)]
pub(crate) enum Asked {
    Status(Health),
    Endpoint(Endpoints, Uri),
}

impl Service<u64> for Asked {
    type Response = u64;
    type Error = Error<Infallible>;
    type Future = Ready<Result<u64, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u64) -> Self::Future {
        let told = match self {
            Self::Status(health) => health.status() as u64,
            Self::Endpoint(endpoints, uri) => {
                let mut request = Request::new(());
                *request.uri_mut() = uri.clone();
                let answer = endpoints.call(request).into_inner();
                answer.map_or(0, |answer| answer.status().as_u16().into())
            }
        };
        future::ready(Ok(told))
    }
}

fn five_checks() -> Health {
    let builder = ["a", "b", "c", "d", "e"].into_iter();
    let builder = builder.fold(Health::builder(), |builder, name| {
        builder.check(Check::new(name, || async {}))
    });
    builder.start().expect("a runtime")
}

pub(crate) fn status() -> Maker {
    of(Asked::Status(five_checks()), ready)
}

pub(crate) fn answer() -> Maker {
    let uri = Uri::from_static("/readyz");
    of(Asked::Endpoint(five_checks().endpoints(), uri), ready)
}

pub(crate) fn details() -> Maker {
    let endpoints = five_checks().endpoints().details_for(|_| true);
    of(
        Asked::Endpoint(endpoints, Uri::from_static("/readyz")),
        ready,
    )
}
