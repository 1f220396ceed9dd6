//! A number has no status to judge by.

use tower::ServiceBuilder;
use tower_keep::bulkhead::{BulkheadLayer, Policy};
use tower_keep::classify::Http;

fn main() {
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(Policy::max_concurrent(1).unwrap()).classify(Http))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
