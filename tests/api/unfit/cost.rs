//! A number is no cost.

use tower::ServiceBuilder;
use tower_keep::throttle::{Policy, ThrottleLayer};

fn main() {
    let service = ServiceBuilder::new()
        .layer(ThrottleLayer::new(Policy::per_second(1).unwrap()).cost(7))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
