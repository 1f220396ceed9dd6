//! The rules of HTTP know nothing of numbers.

use tower::ServiceBuilder;
use tower_keep::retry::{Http, Policy, RetryLayer};

fn main() {
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(Policy::default(), Http::new()))
        .service_fn(|n: u32| async move { Ok::<u32, tower::BoxError>(n) });
    tower_keep::check::<u32, _>(&service);
}
