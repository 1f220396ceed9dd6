//! A number is no HTTP request.

use tower::ServiceBuilder;
use tower_keep::deadline::{ReadLayer, Wire};

fn main() {
    let service = ServiceBuilder::new()
        .layer(ReadLayer::new(Wire::Grpc))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
