//! The layers around gRPC: in tonic servers, and around tonic's channel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod channel;
mod health;
mod retries;
mod server;
