//! What is counted about requests, and how it becomes numbers.
//!
//! Every request counts, also one that failed: `p99_ms` is over all of them, at the time their
//! client knew the outcome. Because a fast refusal makes that number small, `p99_strict_ms` counts
//! every failure at the deadline, and `ok_p99_ms` counts good answers only. What a fallback has
//! answered is `degraded`: neither `ok` nor an error.

use crate::scenario::{DEADLINE, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How one request ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    pub(crate) latency: Duration,
    pub(crate) answer: Answer,
}

/// What a client was told.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Good,
    /// By a fallback: better than an error, but not what was asked for.
    Degraded,
    /// Why it failed.
    Failed(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Stats {
    good: Vec<Duration>,
    bad: Vec<Duration>,
    degraded: u64,
    errors: BTreeMap<String, u64>,
}

impl Stats {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match &outcome.answer {
            Answer::Good => return self.good.push(outcome.latency),
            Answer::Degraded => self.degraded += 1,
            Answer::Failed(cause) => *self.errors.entry(cause.clone()).or_default() += 1,
        }
        self.bad.push(outcome.latency);
    }

    pub(crate) fn offered(&self) -> usize {
        self.good.len() + self.bad.len()
    }

    pub(crate) fn ok(&self) -> usize {
        self.good.len()
    }

    /// A percentile of all requests in milliseconds.
    pub(crate) fn percentile(&self, per_mille: usize) -> f64 {
        percentile(&self.sorted(), per_mille)
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut all = [self.good.as_slice(), self.bad.as_slice()].concat();
        all.sort_unstable();
        all
    }

    pub(crate) fn to_json(&self, duration: Duration) -> Value {
        let all = self.sorted();
        let mut good = self.good.clone();
        good.sort_unstable();
        let mut strict = good.clone();
        strict.resize(all.len(), DEADLINE);
        json!({
            "offered": self.offered(),
            "ok": self.ok(),
            "goodput_per_s": rounded(number(self.ok()) / duration.as_secs_f64()),
            "p50_ms": percentile(&all, 500),
            "p99_ms": percentile(&all, 990),
            "p999_ms": percentile(&all, 999),
            "ok_p50_ms": percentile(&good, 500),
            "ok_p99_ms": percentile(&good, 990),
            "p99_strict_ms": percentile(&strict, 990),
            "degraded": self.degraded,
            "errors": self.errors,
        })
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Two digits are more than a run repeats.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The nearest-rank percentile of sorted values, in milliseconds.
fn percentile(sorted: &[Duration], per_mille: usize) -> f64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted
        .get(rank - 1)
        .map_or(0.0, |latency| rounded(latency.as_secs_f64() * 1000.0))
}
