//! What a watchdog sees, tells and does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod attack;
mod bench;
mod expiry;
mod health;
mod layers;
#[cfg(unix)]
mod outside;
#[cfg(unix)]
mod process;
mod runtimes;
mod tasks;
mod telling;
