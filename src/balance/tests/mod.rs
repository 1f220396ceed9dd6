//! The kernels against naive models and known vectors.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    clippy::type_complexity,
    reason = "tables of known numbers"
)]

#[cfg(not(keep_loom))]
mod care;
#[cfg(not(keep_loom))]
mod level;
#[cfg(keep_loom)]
mod loom;
#[cfg(not(keep_loom))]
mod outlier;
#[cfg(not(keep_loom))]
mod picks;
#[cfg(not(keep_loom))]
mod prequal;
#[cfg(not(keep_loom))]
mod times;
#[cfg(not(keep_loom))]
mod turns;

#[cfg(not(keep_loom))]
use std::sync::Arc;

#[cfg(not(keep_loom))]
use super::{endpoint::Endpoint, member::Member};
#[cfg(not(keep_loom))]
use crate::{attempt::EndpointId, clock::Tick};

/// Members of these weights.
#[cfg(not(keep_loom))]
fn members(weights: &[u32]) -> Vec<Arc<Member>> {
    let member = |(number, weight): (u32, &u32)| {
        let endpoint = Endpoint::new(number.to_string()).weight(*weight);
        Arc::new(Member::new(EndpointId::new(number), endpoint, Tick::ZERO))
    };
    (0..).zip(weights).map(member).collect()
}

#[cfg(not(keep_loom))]
fn seconds(seconds: f64) -> Tick {
    Tick::ZERO.saturating_add(std::time::Duration::from_secs_f64(seconds))
}

/// Fails if these counts do not come from these shares: Pearson's test at 0.1 %.
#[cfg(not(keep_loom))]
fn assert_shares(counts: &[u32], shares: &[f64]) {
    let all: f64 = counts.iter().copied().map(f64::from).sum();
    let whole: f64 = shares.iter().sum();
    let deviation = |(count, share): (&u32, &f64)| {
        let expected = all * share / whole;
        (f64::from(*count) - expected).powi(2) / expected
    };
    let sum: f64 = counts.iter().zip(shares).map(deviation).sum();
    // The quantile by Wilson and Hilferty.
    let degrees = f64::from(u32::try_from(counts.len() - 1).unwrap());
    let part = 2.0 / (9.0 * degrees);
    let critical = degrees * (1.0 - part + 3.090_2 * part.sqrt()).powi(3);
    assert!(sum < critical, "{sum} of {critical}: {counts:?}");
}
