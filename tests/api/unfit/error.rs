//! The error type of the inner service cannot carry a rejection.

use tower::ServiceBuilder;
use tower_keep::bulkhead::{BulkheadLayer, Policy};

fn main() {
    let service = ServiceBuilder::new()
        .layer(BulkheadLayer::new(Policy::max_concurrent(1).unwrap()))
        .service_fn(|n: u32| async move { Ok::<u32, std::io::Error>(n) });
    tower_keep::check::<u32, _>(&service);
}
