//! The gateway example over real sockets: what a proxy must do, seen from both of its sides.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod fields;
mod health;
mod life;
mod messages;
mod parts;
mod support;
mod usage;
