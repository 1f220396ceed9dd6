//! A request that cannot be cloned is not sent twice.

use tower::ServiceBuilder;
use tower_keep::retry::{Idempotent, Policy, RetryLayer};

struct Once;

fn main() {
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(Policy::default(), Idempotent::new()))
        .service_fn(|_: Once| async move { Ok::<u32, tower::BoxError>(7) });
    tower_keep::check::<Once, _>(&service);
}
