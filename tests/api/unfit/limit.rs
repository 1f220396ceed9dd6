//! A table of paths knows no limit for a number.

use std::time::Duration;

use tower::ServiceBuilder;
use tower_keep::timeout::{Policy, Routes, TimeoutLayer};

fn main() {
    let policy = Policy::attempt(Duration::from_secs(1)).unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(policy).limits(Routes::new()))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
