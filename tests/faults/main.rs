//! The catalogue of faults, each as a test named by its number.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking, and takes handles as they come"
)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod a_contract;
mod a_runtime;
mod a_waiters;
mod a_wakers;
mod b_adaptive;
mod b_breaker;
mod b_kinds;
mod b_policy;
mod b_runtime;
mod b_time;
mod c_contention;
mod d_adaptive;
mod d_breaker;
mod d_keyless;
mod d_limits;
mod d_probes;
mod d_races;
mod d_updates;
mod e_bodies;
mod e_headers;
mod f_retry;
mod f_wishes;
mod g_idempotency;
mod g_stores;
mod i_health;
mod k_composition;
mod k_orders;
mod k_stack;
mod timers;
