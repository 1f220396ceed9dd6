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

mod balance;
mod chaos;
mod connect;
mod fallback;
mod files;
mod health;
mod hedge;
mod idempotency;
mod learned;
mod leased;
mod limits;
mod pages;
mod queue;
mod replay;
mod retry;
mod tenants;
mod told;
