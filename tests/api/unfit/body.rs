//! A number has no body whose end could release a permit.

use tower::ServiceBuilder;
use tower_keep::bulkhead::{BulkheadLayer, Policy};

fn main() {
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(Policy::max_concurrent(1).unwrap()).until_body_end())
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
