//! What a body timeout allows.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::policy::{PolicyError, positive};

/// Bounds on a body: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// total = "30s"
/// idle = "5s"
/// min_bytes_per_second = 1024
/// grace = "5s"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "BodyPolicyBuilder"))]
pub struct BodyPolicy {
    pub(super) total: Option<Duration>,
    pub(super) idle: Option<Duration>,
    /// Bytes per second, and how long it may be slower.
    pub(super) slowest: Option<(NonZeroU64, Duration)>,
}

impl BodyPolicy {
    /// A builder with no bound at all.
    pub fn builder() -> BodyPolicyBuilder {
        BodyPolicyBuilder::default()
    }
}

/// Makes a [`BodyPolicy`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct BodyPolicyBuilder {
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    total: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    idle: Option<Duration>,
    min_bytes_per_second: Option<u64>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    grace: Option<Duration>,
}

/// A stall this short is normal on the way through a network.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

impl BodyPolicyBuilder {
    /// How long the whole body may take from its first poll: 1 ns to 10 years,
    /// by default without bound.
    pub fn total(mut self, limit: Duration) -> Self {
        self.total = Some(limit);
        self
    }

    /// How long the next frame may take: 1 ns to 10 years, by default without
    /// bound.
    pub fn idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// The lowest throughput, in bytes per second of waiting: at least 1, by
    /// default without bound. Time that the reader spends elsewhere does not
    /// count.
    pub fn min_bytes_per_second(mut self, bytes: u64) -> Self {
        self.min_bytes_per_second = Some(bytes);
        self
    }

    /// How much waiting is looked at together: a body may be slower than the
    /// lowest throughput for this long, and at most twice as long after a fast
    /// part. 1 ns to 10 years, by default 5 s.
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = Some(time);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<BodyPolicy, PolicyError> {
        let grace = positive("grace", self.grace)?.unwrap_or(DEFAULT_GRACE);
        let slowest = match self.min_bytes_per_second.map(NonZeroU64::new) {
            Some(None) => {
                return Err(PolicyError::new(
                    "min_bytes_per_second",
                    0,
                    "allowed is at least 1, or none",
                ));
            }
            Some(Some(rate)) => Some((rate, grace)),
            None => None,
        };
        Ok(BodyPolicy {
            total: positive("total", self.total)?,
            idle: positive("idle", self.idle)?,
            slowest,
        })
    }
}

impl TryFrom<BodyPolicyBuilder> for BodyPolicy {
    type Error = PolicyError;

    fn try_from(builder: BodyPolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
