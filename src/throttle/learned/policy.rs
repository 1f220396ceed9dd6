//! What is not learnt.

use std::time::Duration;

use crate::policy::{PolicyError, positive};

/// What is not learnt: valid by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) max_wait: Duration,
    pub(super) max_keys: usize,
}

const DEFAULT_WAIT: Duration = Duration::from_secs(1);
const DEFAULT_KEYS: usize = 1_000;

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_wait: DEFAULT_WAIT,
            max_keys: DEFAULT_KEYS,
        }
    }
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            max_wait: Some(self.max_wait),
            max_keys: Some(self.max_keys),
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
    max_wait: Option<Duration>,
    max_keys: Option<usize>,
}

impl PolicyBuilder {
    /// The longest wait, for [`Wait`](crate::throttle::Wait) only (`.waiting()`): 1 ns to
    /// 10 years, by default 1 s, what a bucket holds. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// Servers that something is known of at once, for keyed ones: at least 1, by
    /// default 1,000. Each takes about 600 bytes once it is used. It is fixed when the
    /// layer is made: an update does not change it.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = Some(keys);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let max_keys = self.max_keys.unwrap_or(DEFAULT_KEYS);
        if max_keys == 0 {
            return Err(PolicyError::new("max_keys", 0, "allowed is at least 1"));
        }
        Ok(Policy {
            max_wait: positive("max_wait", self.max_wait)?.unwrap_or(DEFAULT_WAIT),
            max_keys,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
