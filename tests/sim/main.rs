//! Whole systems on virtual time: clients and servers made of the crate's layers,
//! under a load that does not wait for answers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it has seen"
)]

mod metastable;
mod tiers;
mod world;
