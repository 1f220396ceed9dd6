//! Layers in simulated services, in virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a test fails by panicking"
)]

#[path = "../../benches/traces/mod.rs"]
#[allow(clippy::expect_used)]
mod traces;

mod limits;
mod overload;
