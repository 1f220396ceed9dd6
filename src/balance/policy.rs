//! How a balancer chooses, waits and connects.

use std::sync::Arc;
use std::time::Duration;

use super::outlier::Outliers;
use super::pick::{LeastRequest, Picker};
use super::slow_start::SlowStart;
use crate::backoff::Backoff;
use crate::policy::{LONGEST, PolicyError, Ratio, positive};

/// How a balancer chooses, waits and connects: valid by construction.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy(PolicyBuilder);

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(&self) -> PolicyBuilder {
        self.0.clone()
    }

    /// Its settings, which have been checked.
    pub(super) fn rules(&self) -> &PolicyBuilder {
        &self.0
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    #[cfg_attr(feature = "serde", serde(skip, default = "least_request"))]
    pub(super) picker: Arc<dyn Picker>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    pub(super) max_wait: Duration,
    pub(super) max_waiting: u32,
    pub(super) max_picks: u32,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    pub(super) connect_timeout: Duration,
    pub(super) max_connecting: u32,
    pub(super) max_endpoints: u32,
    pub(super) backoff: Backoff,
    pub(super) zone: Option<String>,
    pub(super) panic_threshold: Ratio,
    pub(super) outliers: Option<Outliers>,
    pub(super) slow_start: Option<SlowStart>,
}

fn least_request() -> Arc<dyn Picker> {
    Arc::new(LeastRequest::default())
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Self {
            picker: least_request(),
            max_wait: Duration::from_secs(1),
            max_waiting: 1_000,
            max_picks: 16,
            connect_timeout: Duration::from_secs(5),
            max_connecting: 32,
            max_endpoints: 100_000,
            backoff: Backoff::default(),
            zone: None,
            panic_threshold: Ratio::percent(50),
            outliers: Some(Outliers::default()),
            slow_start: None,
        }
    }
}

impl PolicyBuilder {
    /// Who gets the next request: by default [`LeastRequest`], which needs no clock
    /// and is as good as any where the endpoints are alike.
    pub fn picker(mut self, picker: impl Picker) -> Self {
        self.picker = Arc::new(picker);
        self
    }

    /// The longest wait for an endpoint that can take the request: 0 to 10 years, by
    /// default 1 s, which outlasts the restart of a connection. With 0 a request is
    /// refused at once. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How many requests may wait so at once: 0 to 4,294,967,295, by default 1,000.
    pub fn max_waiting(mut self, requests: u32) -> Self {
        self.max_waiting = requests;
        self
    }

    /// How many endpoints are looked at, after the first three choices, for one that
    /// is ready: 1 to 1,024, by default 16.
    pub fn max_picks(mut self, endpoints: u32) -> Self {
        self.max_picks = endpoints;
        self
    }

    /// How long the factory may take for one service: 1 ns to 10 years, by default
    /// 5 s.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = time;
        self
    }

    /// How many services the factory makes at once: 1 to 1,024, by default 32.
    pub fn max_connecting(mut self, services: u32) -> Self {
        self.max_connecting = services;
        self
    }

    /// How many endpoints there may be: 1 to 16,777,216, by default 100,000. Those
    /// beyond are refused.
    pub fn max_endpoints(mut self, endpoints: u32) -> Self {
        self.max_endpoints = endpoints;
        self
    }

    /// The pauses before the factory is asked once more for the same endpoint: by
    /// default 50 ms, doubling up to 20 s, with full jitter. They begin anew after a
    /// call has succeeded.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Prefers endpoints of this zone, as if the others of their priority were one
    /// priority further away.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// If fewer than this share of the endpoints are healthy, health is ignored and
    /// all are used: the few would not survive what the others do not take
    /// (Envoy's panic threshold). By default half; 0 turns it off.
    pub fn panic_threshold(mut self, share: Ratio) -> Self {
        self.panic_threshold = share;
        self
    }

    /// Whom to eject for failures, and for how long: by default as Envoy and gRPC do,
    /// five failures in a row or far fewer successes than the others have, a tenth of
    /// the endpoints at the most and never the last one. `None` ejects nobody.
    pub fn outliers(mut self, outliers: impl Into<Option<Outliers>>) -> Self {
        self.outliers = outliers.into();
        self
    }

    /// How an endpoint that is new, or has come back, gets its share; by default all of
    /// it at once.
    pub fn slow_start(mut self, slow_start: impl Into<Option<SlowStart>>) -> Self {
        self.slow_start = slow_start.into();
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        if self.max_wait > LONGEST {
            let given = format_args!("{:?}", self.max_wait);
            return Err(PolicyError::new(
                "max_wait",
                given,
                "allowed are 0 to 10 years",
            ));
        }
        positive("connect_timeout", Some(self.connect_timeout))?;
        let ranges = [
            ("max_picks", self.max_picks, 1_024, "allowed are 1 to 1024"),
            (
                "max_connecting",
                self.max_connecting,
                1_024,
                "allowed are 1 to 1024",
            ),
            (
                "max_endpoints",
                self.max_endpoints,
                1 << 24,
                "allowed are 1 to 16777216",
            ),
        ];
        for (field, given, most, allowed) in ranges {
            if given == 0 || given > most {
                return Err(PolicyError::new(field, given, allowed));
            }
        }
        self.outliers.map(Outliers::check).transpose()?;
        self.slow_start.map(SlowStart::check).transpose()?;
        Ok(Policy(self))
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
