//! A queue clones the service it waits for.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use tower::{BoxError, Service, ServiceBuilder};
use tower_keep::bulkhead::{BulkheadLayer, Policy};

struct Only;

impl Service<u32> for Only {
    type Response = u32;
    type Error = BoxError;
    type Future = Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u32) -> Self::Future {
        ready(Ok(n))
    }
}

fn main() {
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(Policy::max_concurrent(1).unwrap()).queued())
        .service(Only);
    tower_keep::check::<u32, _>(&service);
}
