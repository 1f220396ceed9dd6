//! What a timeout allows.

use std::time::Duration;

use crate::policy::{PolicyError, positive};

/// What a timeout allows: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// attempt = "500ms"
/// deadline = "2s"
/// readiness = "1s"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) attempt: Option<Duration>,
    pub(super) deadline: Option<Duration>,
    pub(super) readiness: Option<Duration>,
}

impl Policy {
    /// A limit for each call, and no other.
    ///
    /// # Errors
    /// If it is zero or above ten years.
    pub fn attempt(limit: Duration) -> Result<Self, PolicyError> {
        Self::builder().attempt(limit).build()
    }

    /// A deadline for the call and all that is called from there, and no other
    /// limit.
    ///
    /// # Errors
    /// If it is zero or above ten years.
    pub fn deadline(limit: Duration) -> Result<Self, PolicyError> {
        Self::builder().deadline(limit).build()
    }

    /// A builder with no limit at all.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            attempt: self.attempt,
            deadline: self.deadline,
            readiness: self.readiness,
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
    attempt: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    deadline: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    readiness: Option<Duration>,
}

impl PolicyBuilder {
    /// How long a response may take: 1 ns to 10 years, by default without bound.
    pub fn attempt(mut self, limit: Duration) -> Self {
        self.attempt = Some(limit);
        self
    }

    /// How long the call may take, with everything that is called from there:
    /// 1 ns to 10 years, by default without bound.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit);
        self
    }

    /// How long the inner service may take to become ready: 1 ns to 10 years, by
    /// default without bound.
    pub fn readiness(mut self, limit: Duration) -> Self {
        self.readiness = Some(limit);
        self
    }

    /// The policy. A deadline that is in force is obeyed even by one that has no
    /// limit itself.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        Ok(Policy {
            attempt: positive("attempt", self.attempt)?,
            deadline: positive("deadline", self.deadline)?,
            readiness: positive("readiness", self.readiness)?,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
