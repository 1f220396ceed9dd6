//! Whether a number is idempotent, its method does not tell.

use tower::ServiceBuilder;
use tower_keep::hedge::{HedgeLayer, Policy, idempotent};

fn main() {
    let service = ServiceBuilder::new()
        .layer(HedgeLayer::new(Policy::default(), idempotent()))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
