//! Whole systems on virtual time: clients and servers made of the crate's layers,
//! under a load that does not wait for answers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it has seen"
)]

#[path = "../../benches/traces/mod.rs"]
#[allow(clippy::expect_used)]
mod traces;

mod balance;
mod limits;
mod metastable;
mod overload;
mod tiers;
mod world;
