//! The layers in axum servers, over real sockets: as `Router::layer(respond(stack))` and nothing
//! else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answers;
mod bodies;
mod clients;
mod deadlines;
mod health;
mod healthy;
mod limits;
mod trouble;
