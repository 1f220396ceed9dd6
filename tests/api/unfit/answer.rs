//! A text is no answer of a service of numbers.

use tower::ServiceBuilder;
use tower_keep::fallback::{self, FallbackLayer};

fn main() {
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::new(fallback::value("none")))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
