//! What a watchdog's layer calls too long.

use std::time::Duration;

use crate::policy::{PolicyError, positive};

/// What becomes of a request that is stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum OnStuck {
    /// It is told, and goes on.
    #[default]
    Tell,
    /// It is told, its future is dropped, and the caller gets a
    /// [`Stuck`](crate::RejectionKind::Stuck).
    Reject,
}

/// What a watchdog's layer calls too long: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// stuck_after = "30s"
/// hung_after = "1m"
/// on_stuck = "tell"  # or "reject"
/// capacity = 1024
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) stuck_after: Duration,
    pub(super) hung_after: Option<Duration>,
    pub(super) on_stuck: OnStuck,
    pub(super) capacity: u32,
}

const DEFAULT_STUCK: Duration = Duration::from_secs(30);
const DEFAULT_CAPACITY: u32 = 1_024;
const MOST_CALLS: u32 = 1 << 20;

impl Default for Policy {
    fn default() -> Self {
        Self {
            stuck_after: DEFAULT_STUCK,
            hung_after: None,
            on_stuck: OnStuck::Tell,
            capacity: DEFAULT_CAPACITY,
        }
    }
}

impl Policy {
    /// Requests in flight for so long are told of, with the other settings at their
    /// defaults.
    ///
    /// # Errors
    /// If it is zero, or more than ten years.
    pub fn stuck_after(limit: Duration) -> Result<Self, PolicyError> {
        Self::builder().stuck_after(limit).build()
    }

    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            stuck_after: Some(self.stuck_after),
            hung_after: self.hung_after,
            on_stuck: self.on_stuck,
            capacity: Some(self.capacity),
        }
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    stuck_after: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    hung_after: Option<Duration>,
    on_stuck: OnStuck,
    capacity: Option<u32>,
}

impl PolicyBuilder {
    /// A request in flight for longer is stuck: 1 ns to 10 years, by default 30 s,
    /// which is longer than most callers wait. It is told of up to an eighth later.
    pub fn stuck_after(mut self, limit: Duration) -> Self {
        self.stuck_after = Some(limit);
        self
    }

    /// The service is hung as a whole if requests are in flight and none ends for so
    /// long: 1 ns to 10 years; by default that is not looked for, because where long
    /// requests are few, nothing is wrong when none of them ends for a while.
    pub fn hung_after(mut self, limit: Duration) -> Self {
        self.hung_after = Some(limit);
        self
    }

    /// What becomes of a stuck request; by default it is only told.
    pub fn on_stuck(mut self, then: OnStuck) -> Self {
        self.on_stuck = then;
        self
    }

    /// Requests in flight that can be watched at once, rounded up to a multiple of 64: 1
    /// to 1,048,576, by default 1,024, which takes about 100 KiB. More requests are let
    /// through, counted, and not watched. It is fixed when the layer is made.
    pub fn capacity(mut self, requests: u32) -> Self {
        self.capacity = Some(requests);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let capacity = self.capacity.unwrap_or(DEFAULT_CAPACITY);
        if !(1..=MOST_CALLS).contains(&capacity) {
            return Err(PolicyError::new(
                "capacity",
                capacity,
                "allowed are 1 to 1048576",
            ));
        }
        Ok(Policy {
            stuck_after: positive("stuck_after", self.stuck_after)?.unwrap_or(DEFAULT_STUCK),
            hung_after: positive("hung_after", self.hung_after)?,
            on_stuck: self.on_stuck,
            capacity,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
