//! A number is no cost.

use tower::{Service, ServiceBuilder};
use tower_keep::throttle::{Policy, ThrottleLayer};

fn accepts(_: impl Service<u32>) {}

fn main() {
    let service = ServiceBuilder::new()
        .layer(ThrottleLayer::new(Policy::per_second(1).unwrap()).cost(7))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    accepts(service);
}
