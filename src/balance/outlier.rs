//! Outlier ejection: who fails more than the others is left out for a while.
//!
//! Envoy's and gRPC's (proposal A50) rules.

use std::time::Duration;

use crate::clock::Tick;
use crate::policy::{PolicyError, Ratio, positive};

/// Whom to eject, and for how long: nobody but one that does worse than others, and
/// never all.
///
/// The rules are those of Envoy's and gRPC's outlier detection, and so are the
/// defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct Outliers {
    consecutive: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    interval: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    base_time: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    max_time: Duration,
    max_share: Ratio,
    cap: Cap,
    success_rate: Option<SuccessRate>,
    failure_share: Option<FailureShare>,
}

/// How the greatest share that may be ejected is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Cap {
    /// gRPC's reading: one more goes while less than the share is out. So one of a
    /// few can always go, and the share may be exceeded by one.
    #[default]
    UntilReached,
    /// Envoy's reading since 1.29: one more goes if with it no more than the share is
    /// out. A tenth of fewer than ten is nobody.
    Never,
}

/// Ejects who succeeds less often than the others by so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct SuccessRate {
    deviations: u32,
    min_endpoints: u32,
    min_calls: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            deviations: 1_900,
            min_endpoints: 5,
            min_calls: 100,
        }
    }
}

impl SuccessRate {
    /// By how many thousandths of a standard deviation (that of the whole population)
    /// it must be below the mean: 1 to 100,000, by default 1,900.
    pub fn deviations(mut self, per_mille: u32) -> Self {
        self.deviations = per_mille;
        self
    }

    /// How many endpoints must have had enough calls: 1 to 1,000,000, by default 5.
    /// The mean of fewer says little.
    pub fn min_endpoints(mut self, endpoints: u32) -> Self {
        self.min_endpoints = endpoints;
        self
    }

    /// How many calls an endpoint must have had in the interval: 1 to 1,000,000, by
    /// default 100.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }
}

/// Ejects who fails more often than a fixed share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct FailureShare {
    threshold: Ratio,
    min_endpoints: u32,
    min_calls: u32,
}

impl Default for FailureShare {
    fn default() -> Self {
        Self {
            threshold: Ratio::percent(85),
            min_endpoints: 5,
            min_calls: 50,
        }
    }
}

impl FailureShare {
    /// The share of failures from which on an endpoint is out; by default 85 %.
    pub fn threshold(mut self, share: Ratio) -> Self {
        self.threshold = share;
        self
    }

    /// As [`SuccessRate::min_endpoints`].
    pub fn min_endpoints(mut self, endpoints: u32) -> Self {
        self.min_endpoints = endpoints;
        self
    }

    /// As [`SuccessRate::min_calls`], by default 50.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }
}

impl Default for Outliers {
    fn default() -> Self {
        Self {
            consecutive: Some(5),
            interval: Duration::from_secs(10),
            base_time: Duration::from_secs(30),
            max_time: Duration::from_secs(300),
            max_share: Ratio::percent(10),
            cap: Cap::default(),
            success_rate: Some(SuccessRate::default()),
            failure_share: None,
        }
    }
}

impl Outliers {
    /// Ejects after so many failures in a row, at once: 1 to 1,000,000, or `None` for
    /// never; by default 5.
    pub fn consecutive(mut self, failures: impl Into<Option<u32>>) -> Self {
        self.consecutive = failures.into();
        self
    }

    /// How often the other rules are applied: 1 ns to 10 years, by default 10 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long the first ejection lasts: 1 ns to 10 years, by default 30 s. Each
    /// further one is longer by that, and each interval without one makes the next
    /// shorter by that.
    pub fn base_time(mut self, time: Duration) -> Self {
        self.base_time = time;
        self
    }

    /// How long an ejection lasts at the most: 1 ns to 10 years, by default 300 s;
    /// [`base_time`](Self::base_time) if that is longer.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    /// The greatest share of the endpoints that is out at the same time; by default a
    /// tenth. However great it is, the last one stays.
    pub fn max_share(mut self, share: Ratio) -> Self {
        self.max_share = share;
        self
    }

    /// How that share is to be read; by default [`Cap::UntilReached`].
    pub fn cap(mut self, cap: Cap) -> Self {
        self.cap = cap;
        self
    }

    /// The rule by standard deviations, on by default.
    pub fn success_rate(mut self, rule: impl Into<Option<SuccessRate>>) -> Self {
        self.success_rate = rule.into();
        self
    }

    /// The rule by a fixed share, off by default.
    pub fn failure_share(mut self, rule: impl Into<Option<FailureShare>>) -> Self {
        self.failure_share = rule.into();
        self
    }

    pub(super) fn check(self) -> Result<Self, PolicyError> {
        let count = |field, value: u32| match value {
            1..=1_000_000 => Ok(()),
            _ => {
                let allowed = "allowed are 1 to 1000000";
                Err(PolicyError::new(field, value, allowed))
            }
        };
        if let Some(failures) = self.consecutive {
            count("outliers.consecutive", failures)?;
        }
        if let Some(rule) = self.success_rate {
            count("outliers.success_rate.min_endpoints", rule.min_endpoints)?;
            count("outliers.success_rate.min_calls", rule.min_calls)?;
            if !(1..=100_000).contains(&rule.deviations) {
                let field = "outliers.success_rate.deviations";
                let allowed = "allowed are 1 to 100000 thousandths";
                return Err(PolicyError::new(field, rule.deviations, allowed));
            }
        }
        if let Some(rule) = self.failure_share {
            count("outliers.failure_share.min_endpoints", rule.min_endpoints)?;
            count("outliers.failure_share.min_calls", rule.min_calls)?;
        }
        positive("outliers.interval", Some(self.interval))?;
        positive("outliers.base_time", Some(self.base_time))?;
        positive("outliers.max_time", Some(self.max_time))?;
        Ok(self)
    }

    pub(super) fn interval_end(&self, now: Tick) -> Tick {
        now.saturating_add(self.interval)
    }

    /// How many failures in a row are answered by an ejection.
    pub(super) fn row(&self) -> Option<u32> {
        self.consecutive
    }

    /// Whether one more may go of `all`, of whom so many are out.
    pub(super) fn may_eject(&self, out: usize, all: usize) -> bool {
        let (out, all) = (out as u64, all as u64);
        if out.saturating_add(1) >= all {
            return false;
        }
        match self.cap {
            Cap::UntilReached => !self.max_share.is_reached(out, all),
            Cap::Never => out < self.max_share.of(all),
        }
    }

    /// How long the ejection lasts that is the `times`th, from 1.
    pub(super) fn time(&self, times: u32) -> Duration {
        let longest = self.max_time.max(self.base_time);
        self.base_time.saturating_mul(times).min(longest)
    }

    /// Who of these is an outlier, each with how many of its calls succeeded and
    /// failed in the interval. In this order they are to be ejected, as far as may be.
    pub(super) fn judge(&self, calls: &[Calls]) -> Vec<usize> {
        let mut found = Vec::new();
        if let Some(rule) = self.success_rate {
            by_rate(rule, calls, &mut found);
        }
        if let Some(rule) = self.failure_share {
            by_share(rule, calls, &mut found);
        }
        found
    }
}

/// How the calls of an endpoint ended within an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Calls {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
}

impl Calls {
    fn all(self) -> u64 {
        self.succeeded.saturating_add(self.failed)
    }

    #[allow(clippy::cast_precision_loss)] // a ratio
    fn rate(self) -> f64 {
        self.succeeded as f64 / self.all().max(1) as f64
    }
}

/// Those with enough calls, if they are enough.
fn enough(calls: &[Calls], min_calls: u32, min_endpoints: u32) -> Vec<(usize, Calls)> {
    let known = calls.iter().copied().enumerate();
    let known = known.filter(|(_, calls)| calls.all() >= u64::from(min_calls));
    let known: Vec<_> = known.collect();
    match known.len() >= min_endpoints as usize {
        true => known,
        false => Vec::new(),
    }
}

/// Rates that differ by less are the same: a mean of equal numbers may be off by a
/// rounding, and then all would be below it.
const NOISE: f64 = 1e-9;

#[allow(clippy::cast_precision_loss)] // few endpoints
fn by_rate(rule: SuccessRate, calls: &[Calls], found: &mut Vec<usize>) {
    let known = enough(calls, rule.min_calls, rule.min_endpoints);
    let mean_of = |sum: f64| sum / known.len().max(1) as f64;
    let mean = mean_of(known.iter().map(|(_, calls)| calls.rate()).sum());
    let squares = known.iter().map(|(_, calls)| (calls.rate() - mean).powi(2));
    let deviation = mean_of(squares.sum()).sqrt();
    let threshold = mean - deviation * f64::from(rule.deviations) / 1_000.0 - NOISE;
    let below = known.iter().filter(|(_, calls)| calls.rate() < threshold);
    found.extend(below.map(|(index, _)| index));
}

fn by_share(rule: FailureShare, calls: &[Calls], found: &mut Vec<usize>) {
    for (index, calls) in enough(calls, rule.min_calls, rule.min_endpoints) {
        if rule.threshold.is_reached(calls.failed, calls.all()) && !found.contains(&index) {
            found.push(index);
        }
    }
}
