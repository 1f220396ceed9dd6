//! The circuit breaker: against a slow and obvious one, and what it promises.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod back;
mod behaviour;
mod figures;
mod files;
mod keys;
mod model;
mod panics;
mod places;
mod policies;
mod probes;
mod random;
mod reference;
mod share_model;
mod shares;
mod slow;
mod storm;
mod transitions;
