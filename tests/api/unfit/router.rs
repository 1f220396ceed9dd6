//! A router of axum takes no errors, so no refusals.

use axum::{Router, routing::get};
use tower_keep::bulkhead::{BulkheadLayer, Policy};

fn main() {
    let layer = BulkheadLayer::new(Policy::max_concurrent(1).unwrap());
    let _: Router = Router::new().route("/", get(|| async {})).layer(layer);
}
