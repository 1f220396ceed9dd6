//! A refusal cannot be written into a number.

use http::{Request, Response};
use tower::ServiceBuilder;
use tower_keep::bulkhead::{BulkheadLayer, Policy};

fn main() {
    let stack = BulkheadLayer::new(Policy::max_concurrent(1).unwrap());
    let service = ServiceBuilder::new()
        .layer(tower_keep::respond(stack))
        .service_fn(|_: Request<()>| async { Ok::<_, std::io::Error>(Response::new(7)) });
    tower_keep::check::<Request<()>, _>(&service);
}
