//! What a retry allows.

use crate::backoff::Backoff;
use crate::policy::PolicyError;

/// What a retry allows: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// max_attempts = 3
/// backoff = { base = "50ms", cap = "20s", growth = "exponential", jitter = "full" }
/// ```
///
/// For the keys of `backoff` see [`Backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            max_attempts: self.max_attempts,
            backoff: self.backoff,
        }
    }
}

impl Default for Policy {
    /// Three attempts, and the default [`Backoff`].
    fn default() -> Self {
        let PolicyBuilder {
            max_attempts,
            backoff,
        } = PolicyBuilder::default();
        Self {
            max_attempts,
            backoff,
        }
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    max_attempts: u32,
    backoff: Backoff,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::default(),
        }
    }
}

impl PolicyBuilder {
    /// Attempts at a request, the first one among them: 1 (it is never retried) to
    /// 100, by default 3. What two retries with pauses did not help, a third one
    /// seldom does, and each multiplies the load of an outage (Beyer et al.,
    /// *Site Reliability Engineering*, chapter 21; AWS's clients make 3 too).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How long to wait before each retry: by default 50 ms, doubling up to 20 s,
    /// with full jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        if !(1..=100).contains(&self.max_attempts) {
            return Err(PolicyError::new(
                "max_attempts",
                self.max_attempts,
                "allowed are 1 to 100",
            ));
        }
        Ok(Policy {
            max_attempts: self.max_attempts,
            backoff: self.backoff,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
