//! Makes policies.

use std::time::Duration;

use super::policy::{CloseAfter, Dropped, Kind, Policy, Recent};
use crate::policy::{PolicyError, Ratio, positive};

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    kind: Kind,
    failure_ratio: Option<Ratio>,
    minimum_calls: Option<u32>,
    slow_ratio: Option<Ratio>,
    slow_minimum_calls: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    slow_threshold: Option<Duration>,
    consecutive: Option<u32>,
    recent: Option<Recent>,
    count_window: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    time_window: Option<Duration>,
    dropped: Dropped,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    open_wait: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    max_open_wait: Option<Duration>,
    jitter: Option<Ratio>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    max_retry_after: Option<Duration>,
    probes: Option<u32>,
    close_after: Option<CloseAfter>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    probe_timeout: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    ramp: Option<Duration>,
    accept_share: Option<Ratio>,
    max_refused: Option<Ratio>,
    max_keys: Option<usize>,
}

/// A setting of a [`Policy`] that may be absent: see [`PolicyBuilder::without`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// [`PolicyBuilder::failure_ratio`].
    FailureRatio,
    /// [`PolicyBuilder::slow_ratio`].
    SlowRatio,
    /// [`PolicyBuilder::consecutive`].
    Consecutive,
    /// [`PolicyBuilder::recent`].
    Recent,
    /// [`PolicyBuilder::count_window`].
    CountWindow,
    /// [`PolicyBuilder::time_window`].
    TimeWindow,
    /// [`PolicyBuilder::ramp`].
    Ramp,
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            kind: self.kind,
            failure_ratio: self.failure_ratio,
            minimum_calls: Some(self.minimum_calls),
            slow_ratio: self.slow_ratio,
            slow_minimum_calls: Some(self.slow_minimum_calls),
            slow_threshold: Some(self.slow_threshold),
            consecutive: self.consecutive,
            recent: self.recent,
            count_window: self.count_window,
            time_window: self.time_window,
            dropped: self.dropped,
            open_wait: Some(self.open_wait),
            max_open_wait: Some(self.max_open_wait),
            jitter: Some(self.jitter),
            max_retry_after: Some(self.max_retry_after),
            probes: Some(self.probes),
            close_after: Some(self.close_after),
            probe_timeout: Some(self.probe_timeout),
            ramp: self.ramp,
            accept_share: Some(self.accept_share),
            max_refused: Some(self.max_refused),
            max_keys: Some(self.max_keys),
        }
    }
}

impl PolicyBuilder {
    /// How it decides, by default by states. The other kinds use only
    /// `minimum_calls`, `time_window`, `accept_share`, `max_refused`, `dropped`,
    /// `slow_threshold` and `max_keys`.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Opens when at least this share of the calls in a window failed: above 0, up
    /// to 1. By default a half (resilience4j: 50 %; Polly: 10 %), and none if another
    /// condition is given.
    pub fn failure_ratio(mut self, share: Ratio) -> Self {
        self.failure_ratio = Some(share);
        self
    }

    /// Calls in a window before the failure ratio says anything: at least 1, by
    /// default 20, since a ratio of fewer calls flaps (resilience4j and Polly:
    /// 100, so that a service with little traffic is never protected).
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = Some(calls);
        self
    }

    /// Opens when at least this share of the calls in a window was slow: above 0,
    /// up to 1, by default none. A 95th percentile above the objective is a slow
    /// ratio of more than 5 % at that threshold. With it, every call reads the
    /// clock at its begin and its end.
    pub fn slow_ratio(mut self, share: Ratio) -> Self {
        self.slow_ratio = Some(share);
        self
    }

    /// Calls in a window before the slow ratio says anything: at least 1, by
    /// default as many as for the failure ratio.
    pub fn slow_minimum_calls(mut self, calls: u32) -> Self {
        self.slow_minimum_calls = Some(calls);
        self
    }

    /// A call is slow once it has lasted this long: 1 ns to 10 years, by default
    /// 1 s. It also tells which dropped calls were failures.
    pub fn slow_threshold(mut self, time: Duration) -> Self {
        self.slow_threshold = Some(time);
        self
    }

    /// Opens after this many failures in a row: at least 1, by default none.
    pub fn consecutive(mut self, failures: u32) -> Self {
        self.consecutive = Some(failures);
        self
    }

    /// Opens when at least `failures` of the last `of` calls failed: 1 to 10,000
    /// failures, of at least as many calls; by default none. In a file:
    /// `recent = { failures = 5, of = 10 }`.
    pub fn recent(mut self, failures: u32, of: u32) -> Self {
        self.recent = Some(Recent { failures, of });
        self
    }

    /// The ratios look at this many calls that ended last: 1 to 1,000,000. By
    /// default 100, as in resilience4j, and none if a time window is given; if
    /// both are given, either can open it. It takes 16 bytes a call.
    pub fn count_window(mut self, calls: u32) -> Self {
        self.count_window = Some(calls);
        self
    }

    /// The ratios look at the calls that ended within this time: 1 ns to 10 years,
    /// by default none; for the kinds that refuse a share 2 minutes, and 30 s for
    /// admission control, as in their models. It moves on in tenths of it. With
    /// it, every call reads the clock at its end.
    pub fn time_window(mut self, time: Duration) -> Self {
        self.time_window = Some(time);
        self
    }

    /// Takes a setting back: it is at its default again. Without any condition, the
    /// failure ratio of a half is the condition.
    pub fn without(mut self, setting: Setting) -> Self {
        match setting {
            Setting::FailureRatio => self.failure_ratio = None,
            Setting::SlowRatio => self.slow_ratio = None,
            Setting::Consecutive => self.consecutive = None,
            Setting::Recent => self.recent = None,
            Setting::CountWindow => self.count_window = None,
            Setting::TimeWindow => self.time_window = None,
            Setting::Ramp => self.ramp = None,
        }
        self
    }

    /// What counts for a call that its caller drops, by default its age.
    pub fn dropped(mut self, rule: Dropped) -> Self {
        self.dropped = rule;
        self
    }

    /// How long it stays open the first time: 1 ns to 10 years, by default 5 s, as
    /// in Polly (resilience4j: 60 s, long after most faults are over). Each time
    /// that the probes fail doubles it, up to
    /// [`max_open_wait`](Self::max_open_wait).
    pub fn open_wait(mut self, wait: Duration) -> Self {
        self.open_wait = Some(wait);
        self
    }

    /// The longest that it stays open by itself: at least the first wait, up to 10
    /// years; by default 60 s, or the first wait if that is longer. The same as
    /// the first wait makes a fixed one.
    pub fn max_open_wait(mut self, wait: Duration) -> Self {
        self.max_open_wait = Some(wait);
        self
    }

    /// Up to this share of a wait is taken off at random, so that many clients do
    /// not probe at the same moment; by default 10 %.
    pub fn jitter(mut self, share: Ratio) -> Self {
        self.jitter = Some(share);
        self
    }

    /// It stays open for as long as the failure that opened it asked for by
    /// `Retry-After`, if that is longer, up to this time: 1 ns to 10 years, by
    /// default 5 min.
    pub fn max_retry_after(mut self, wait: Duration) -> Self {
        self.max_retry_after = Some(wait);
        self
    }

    /// Probes at once in the half-open state: 1 to 10,000, by default 3
    /// (resilience4j: 10; Polly: 1, so that one unlucky call decides).
    pub fn probes(mut self, calls: u32) -> Self {
        self.probes = Some(calls);
        self
    }

    /// What closes it: 1 to 1,000,000 probes, by default as many good ones in a
    /// row as there are probes at once.
    pub fn close_after(mut self, rule: CloseAfter) -> Self {
        self.close_after = Some(rule);
        self
    }

    /// A probe that has not ended after this time gives its place to another, and
    /// its end changes nothing: 1 ns to 10 years, by default 10 s.
    pub fn probe_timeout(mut self, time: Duration) -> Self {
        self.probe_timeout = Some(time);
        self
    }

    /// After it has closed, lets a share of the calls through that grows by a tenth
    /// ten times in this time: 1 ns to 10 years, by default none.
    pub fn ramp(mut self, time: Duration) -> Self {
        self.ramp = Some(time);
        self
    }

    /// For the kinds that refuse a share: the share of successes from which on
    /// nothing is refused, above 0. By default a half; for admission control 95 %.
    pub fn accept_share(mut self, share: Ratio) -> Self {
        self.accept_share = Some(share);
        self
    }

    /// For the kinds that refuse a share: the most that is refused, by default 75
    /// %, as in Finagle. Without a cap they refuse nearly everything and take very
    /// long to see that the service has recovered.
    pub fn max_refused(mut self, share: Ratio) -> Self {
        self.max_refused = Some(share);
        self
    }

    /// Keys that have a circuit at once, for keyed breakers: at least 1, by default
    /// 10,000. It is fixed when the layer is made: an update does not change it.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let conditions = [
            self.failure_ratio.is_some(),
            self.slow_ratio.is_some(),
            self.consecutive.is_some(),
            self.recent.is_some(),
        ];
        let failure_ratio = match conditions.contains(&true) {
            true => self.failure_ratio,
            false => Some(Ratio::percent(50)),
        };
        let ratios = failure_ratio.is_some() || self.slow_ratio.is_some();
        let default_count = (ratios && self.time_window.is_none()).then_some(100);
        let count_window = self.count_window.or(default_count);
        let minimum_calls = self.minimum_calls.unwrap_or_else(|| {
            // A window that is smaller than the minimum would never decide.
            count_window.unwrap_or(20).min(20)
        });
        let probes = self.probes.unwrap_or(3);
        let open_wait = positive("open_wait", self.open_wait)?.unwrap_or(Duration::from_secs(5));
        let max_open_wait = positive("max_open_wait", self.max_open_wait)?;
        let or = |field, value, default| Ok(positive(field, value)?.unwrap_or(default));
        let policy = Policy {
            kind: self.kind,
            failure_ratio,
            minimum_calls,
            slow_ratio: self.slow_ratio,
            slow_minimum_calls: self.slow_minimum_calls.unwrap_or(minimum_calls),
            slow_threshold: or(
                "slow_threshold",
                self.slow_threshold,
                Duration::from_secs(1),
            )?,
            consecutive: self.consecutive,
            recent: self.recent,
            count_window,
            time_window: positive("time_window", self.time_window)?,
            dropped: self.dropped,
            open_wait,
            max_open_wait: max_open_wait.unwrap_or(open_wait.max(Duration::from_secs(60))),
            jitter: self.jitter.unwrap_or(Ratio::percent(10)),
            max_retry_after: or(
                "max_retry_after",
                self.max_retry_after,
                Duration::from_secs(300),
            )?,
            probes,
            close_after: self.close_after.unwrap_or(CloseAfter::Successes(probes)),
            probe_timeout: or("probe_timeout", self.probe_timeout, Duration::from_secs(10))?,
            ramp: positive("ramp", self.ramp)?,
            accept_share: self.accept_share.unwrap_or(match self.kind {
                Kind::AdmissionControl { .. } => Ratio::percent(95),
                _ => Ratio::percent(50),
            }),
            max_refused: self.max_refused.unwrap_or(Ratio::percent(75)),
            max_keys: self.max_keys.unwrap_or(10_000),
        };
        policy.check()?;
        Ok(policy)
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
