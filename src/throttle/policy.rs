//! What a throttle allows.

use std::time::Duration;

use crate::kernel::gcra::{Quota, QuotaError};
use crate::kernel::lease::Leases;
use crate::policy::{PolicyError, positive};

/// What a throttle allows: valid by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) permits: u32,
    pub(super) per: Duration,
    pub(super) burst: u32,
    pub(super) max_wait: Duration,
    pub(super) max_keys: usize,
    pub(super) missing_key: MissingKey,
    pub(super) when_full: WhenFull,
    pub(super) headers: Headers,
    pub(super) mode: Mode,
}

/// How threads share the one bucket of a throttle without keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Mode {
    /// Every request draws from it: what is admitted is exact, and all cores write
    /// one word.
    #[default]
    Exact,
    /// A thread draws up to 64 requests at once and admits them by itself: no
    /// clock, and no word that two cores write. See [Leased](super#leased).
    Leased,
}

/// What happens to a request without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum MissingKey {
    /// All of them share one bucket: leaving the key out is no way around it.
    #[default]
    Share,
    /// It is refused.
    Refuse,
}

/// What happens to a new key when the table is full of keys in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum WhenFull {
    /// All who find no place share one bucket.
    #[default]
    Share,
    /// It is refused.
    Refuse,
}

/// Which responses carry `RateLimit` and `RateLimit-Policy`, if the stack is
/// wrapped in `http::respond`.
///
/// They call the quota by the layer's name. Give it one by
/// [`Setup::named`](crate::Setup::named): the name of an unnamed one is
/// `throttle-` and its [`LayerId`](crate::LayerId), which tells it from others, but
/// changes when layers are added or made in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Headers {
    /// None.
    Never,
    /// Refusals: a response of the service stays as it is.
    #[default]
    OnRefusal,
    /// All of them.
    Always,
}

const DEFAULT_WAIT: Duration = Duration::from_millis(100);
const DEFAULT_KEYS: usize = 10_000;

impl Policy {
    /// This many requests a second, all of them at once if need be.
    ///
    /// # Errors
    /// If it is 0 or above 1,000,000,000.
    pub fn per_second(permits: u32) -> Result<Self, PolicyError> {
        Self::builder()
            .rate(permits, Duration::from_secs(1))
            .build()
    }

    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            permits: Some(self.permits),
            per: Some(self.per),
            burst: Some(self.burst),
            max_wait: Some(self.max_wait),
            max_keys: Some(self.max_keys),
            missing_key: self.missing_key,
            when_full: self.when_full,
            headers: self.headers,
            mode: self.mode,
        }
    }

    /// The numbers of the algorithm. `patience`: the longest wait that any
    /// version of the policy has promised. What threads can hold is kept out of
    /// the burst.
    pub(super) fn quota(&self, patience: Duration, leases: &Leases) -> Result<Quota, PolicyError> {
        let burst = self.burst - leases.most(self.slice(leases)).min(self.burst);
        Quota::new(self.permits, self.per, burst, patience).map_err(|error| {
            let (permits, per, burst) = (self.permits, self.per, self.burst);
            let rate = format_args!("{permits} per {per:?}").to_string();
            match error {
                QuotaError::Zero if burst == 0 => {
                    PolicyError::new("burst", 0, "allowed are 1 to 4294967295")
                }
                QuotaError::Zero => PolicyError::new(
                    "rate",
                    rate,
                    "allowed are 1 to 4294967295 requests, per 1 ns to 36 years; to refuse everything, close the layer by its handle",
                ),
                QuotaError::TooFast => {
                    PolicyError::new("rate", rate, "allowed is up to one request a nanosecond")
                }
                QuotaError::TooSlow => PolicyError::new(
                    "burst",
                    format_args!("{burst} at {rate}"),
                    "a bucket must fill within 36 years: take a smaller burst or a higher rate",
                ),
            }
        })
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    permits: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    per: Option<Duration>,
    burst: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    max_wait: Option<Duration>,
    max_keys: Option<usize>,
    missing_key: MissingKey,
    when_full: WhenFull,
    headers: Headers,
    mode: Mode,
}

impl PolicyBuilder {
    /// So many requests per so much time: 1 to 4,294,967,295, per 1 ns to 36
    /// years, and at most one a nanosecond. It must be given. In a file:
    /// `permits = 100`, `per = "1s"` (the default).
    pub fn rate(mut self, permits: u32, per: Duration) -> Self {
        self.permits = Some(permits);
        self.per = Some(per);
        self
    }

    /// Requests that may come at once after a pause: 1 to 4,294,967,295, as long
    /// as an empty bucket fills within 36 years. By default those of one second,
    /// at least 1.
    pub fn burst(mut self, requests: u32) -> Self {
        self.burst = Some(requests);
        self
    }

    /// The longest wait, for [`Wait`](super::Wait) only (`.waiting()`): 1 ns to 10 years, by default
    /// 100 ms. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Keys that have a bucket at once, for keyed throttles: at least 1, by
    /// default 10,000. Each takes about 200 bytes once it is used. It is fixed
    /// when the layer is made: an update does not change it.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// What happens to a request without a key. By default all of them share one
    /// bucket.
    pub fn missing_key(mut self, rule: MissingKey) -> Self {
        self.missing_key = rule;
        self
    }

    /// What happens to a new key when the table is full of keys in use. By
    /// default all of them share one bucket.
    pub fn when_full(mut self, rule: WhenFull) -> Self {
        self.when_full = rule;
        self
    }

    /// Which responses tell the quota. By default refusals.
    pub fn headers(mut self, rule: Headers) -> Self {
        self.headers = rule;
        self
    }

    /// How threads share the one bucket of a throttle without keys. By default
    /// exactly. (A key's bucket is always exact.)
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is missing or out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let Some(permits) = self.permits else {
            return Err(PolicyError::missing(
                "rate",
                "allowed are 1 to 4294967295 requests, per 1 ns to 36 years (in a file: permits, and per)",
            ));
        };
        let per = self.per.unwrap_or(Duration::from_secs(1));
        let a_second = u128::from(permits) * 1_000_000_000 / per.as_nanos().max(1);
        let a_second = u32::try_from(a_second).unwrap_or(u32::MAX);
        let max_keys = self.max_keys.unwrap_or(DEFAULT_KEYS);
        if max_keys == 0 {
            return Err(PolicyError::new("max_keys", 0, "allowed is at least 1"));
        }
        let policy = Policy {
            permits,
            per,
            burst: self
                .burst
                .unwrap_or_else(|| a_second.clamp(1, permits.max(1))),
            max_wait: positive("max_wait", self.max_wait)?.unwrap_or(DEFAULT_WAIT),
            max_keys,
            missing_key: self.missing_key,
            when_full: self.when_full,
            headers: self.headers,
            mode: self.mode,
        };
        policy.quota(policy.max_wait, &Leases::with_slots(0))?;
        Ok(policy)
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
