//! `respond` is for stacks of ours only.

use std::time::Duration;

use axum::{Router, routing::get};
use tower::timeout::TimeoutLayer;

fn main() {
    let stack = TimeoutLayer::new(Duration::from_secs(1));
    let _: Router = Router::new()
        .route("/", get(|| async {}))
        .layer(tower_keep::respond(stack));
}
