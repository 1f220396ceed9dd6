//! What single patterns promise beyond the contract that all have.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking, and takes handles as they come"
)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod chaos;
mod connect;
mod fallback;
mod files;
mod hedge;
mod idempotency;
mod pages;
mod queue;
mod replay;
mod retry;
mod told;
