//! The layers around outbound HTTP clients, and in their connectors.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod balanced;
mod connecting;
mod outbound;
mod reqwest_client;
mod retries;
