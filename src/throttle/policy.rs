//! What a throttle allows.

use std::iter;
use std::time::Duration;

use super::limit::{Kind, Limit, OverTotal};
use crate::kernel::gcra::{Quota, QuotaError};
use crate::kernel::lease::Leases;
use crate::kernel::meter::Measure;
use crate::policy::{PolicyError, positive};

/// What a throttle allows: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// permits = 100
/// per = "1s"
/// burst = 200
/// max_wait = "100ms"
/// max_keys = 10000
/// missing_key = "share"    # or "refuse"
/// when_full = "share"      # or "refuse"
/// headers = "on-refusal"   # or "never", "always"
/// mode = "exact"           # or "leased"
/// kind = "token-bucket"    # or as `Kind` says; "warm-up" wants warm_up = "10s"
/// max_debt = 0
/// also = [{ permits = 1000, per = "1h" }]
/// total = { permits = 5000, burst = 100 }
/// over_total = "overload"  # or "quota"
/// ```
///
/// The builder sets `permits` and `per` together, by
/// [`rate`](PolicyBuilder::rate): so are they called in errors.
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
    /// The limit of the fields above.
    pub(super) first: Limit,
    pub(super) also: [Option<Limit>; MORE],
    pub(super) total: Option<Limit>,
    pub(super) over_total: OverTotal,
    pub(super) max_debt: u32,
}

/// Limits of a key beside the first.
const MORE: usize = 3;
/// All limits: the last is that of all keys together.
pub(super) const PLACES: usize = MORE + 2;

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
            burst: self.first.has_free_burst().then_some(self.burst),
            kind: self.first.kind,
            warm_up: self.first.warm_up_given(),
            also: self.also,
            total: self.total,
            over_total: self.over_total,
            max_debt: self.max_debt,
            max_wait: Some(self.max_wait),
            max_keys: Some(self.max_keys),
            missing_key: self.missing_key,
            when_full: self.when_full,
            headers: self.headers,
            mode: self.mode,
        }
    }

    /// The numbers of the plain bucket. `patience`: the longest wait that any
    /// version of the policy has promised. What threads can hold is kept out of
    /// the burst.
    pub(super) fn quota(&self, patience: Duration, leases: &Leases) -> Result<Quota, QuotaError> {
        let burst = self.burst - leases.most(self.slice(leases)).min(self.burst);
        Quota::new(self.permits, self.per, burst, self.ahead(patience))
    }

    /// The limits, those of each key first and then that of all keys together, and what
    /// they measure.
    pub(super) fn measures(
        &self,
        patience: Duration,
    ) -> Result<[Option<(Limit, Measure)>; PLACES], PolicyError> {
        let mut measures = [None; PLACES];
        let others = self.also.iter().map(|limit| ("also", *limit));
        let limits = iter::once(("rate", Some(self.first)))
            .chain(others)
            .chain([("total", self.total)]);
        for (slot, (field, limit)) in measures.iter_mut().zip(limits) {
            if let Some(limit) = limit {
                let patience = limit.ahead(patience, self.max_debt);
                *slot = Some((limit, limit.measure(field, patience, self.max_debt)?));
            }
        }
        Ok(measures)
    }

    /// How far ahead of its time the plain bucket may be drawn.
    fn ahead(&self, patience: Duration) -> Duration {
        self.first.ahead(patience, self.max_debt)
    }

    /// Whether it takes more than one plain bucket.
    pub(super) fn is_several(&self) -> bool {
        !self.first.is_plain() || self.also.iter().any(Option::is_some) || self.total.is_some()
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
    kind: Kind,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    warm_up: Option<Duration>,
    #[cfg_attr(feature = "serde", serde(deserialize_with = "super::limit::some"))]
    also: [Option<Limit>; MORE],
    total: Option<Limit>,
    over_total: OverTotal,
    max_debt: u32,
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

    /// How requests are counted. By default in a token bucket. A burst that was set
    /// before is forgotten: not every kind has a free one.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self.burst = None;
        self
    }

    /// How long [`Kind::WarmUp`] takes: see [`Limit::warm_up`].
    pub fn warm_up(mut self, time: Duration) -> Self {
        self.warm_up = Some(time);
        self
    }

    /// Another limit for the same requests, such as 1000 an hour beside 10 a second:
    /// up to three. A request must fit all of them, and takes from all or from none.
    /// In a file a list: `also = [{ permits = 1000, per = "1h" }]`.
    ///
    /// A fourth one takes the place of the third.
    pub fn also(mut self, limit: Limit) -> Self {
        let free = self.also.iter().position(Option::is_none);
        self.also[free.unwrap_or(MORE - 1)] = Some(limit);
        self
    }

    /// A limit for all keys together, beside those of each. A request takes from both,
    /// or from none. By default none. In a file:
    /// `total = { permits = 5000, burst = 100 }`.
    pub fn total(mut self, limit: Limit) -> Self {
        self.total = Some(limit);
        self
    }

    /// What it is if all keys together come too often. By default the service's
    /// overload. Where the limit of a key refuses too, it is that one.
    pub fn over_total(mut self, meaning: OverTotal) -> Self {
        self.over_total = meaning;
        self
    }

    /// How many requests below nothing a bucket may be charged: see
    /// [`Handle::charge`](super::Handle::charge). By default none.
    pub fn max_debt(mut self, requests: u32) -> Self {
        self.max_debt = requests;
        self
    }

    /// The longest wait, for [`Wait`](super::Wait) only (`.waiting()`): 1 ns to 10 years, by default
    /// 100 ms. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Keys that have a bucket at once, for keyed throttles: at least 1, by
    /// default 10,000; more than 16,777,216 count as that many. Each takes 150 to
    /// 200 bytes once it is used, and more with limits that are no token buckets (see
    /// [`Kind`]). It is fixed
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
        let first = Limit::new(permits, per)
            .kind(self.kind)
            .with(self.burst, self.warm_up);
        let burst = first.burst_in_force();
        let free = first.has_free_burst().then_some(burst);
        let max_keys = self.max_keys.unwrap_or(DEFAULT_KEYS);
        if max_keys == 0 {
            return Err(PolicyError::new("max_keys", 0, "allowed is at least 1"));
        }
        let policy = Policy {
            permits,
            per,
            burst,
            max_wait: positive("max_wait", self.max_wait)?.unwrap_or(DEFAULT_WAIT),
            max_keys,
            missing_key: self.missing_key,
            when_full: self.when_full,
            headers: self.headers,
            mode: self.mode,
            first: first.with(free.or(self.burst), self.warm_up),
            also: self.also,
            total: self.total,
            over_total: self.over_total,
            max_debt: self.max_debt,
        };
        policy.measures(policy.max_wait)?;
        Ok(policy)
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
