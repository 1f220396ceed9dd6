//! The catalogue of faults, each as a test named by its number.

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod a_contract;
mod a_runtime;
mod a_wakers;
mod b_policy;
mod b_time;
mod c_contention;
mod d_limits;
mod e_bodies;
mod e_headers;
mod k_composition;
