//! What a bulkhead allows.

use std::time::Duration;

use crate::policy::{PolicyError, positive};
use crate::queue::Discipline;

/// What a bulkhead allows: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// max_concurrent = 100
/// queue_length = 50
/// max_wait = "1s"
/// discipline = "fifo"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) max_concurrent: u32,
    pub(super) queue_length: u32,
    pub(super) max_wait: Duration,
    pub(super) discipline: Discipline,
}

/// The longest wait in a queue unless the policy says otherwise: a caller that
/// has waited this long has often gone.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

impl Policy {
    /// This many calls at once, with the other settings at their defaults.
    ///
    /// # Errors
    /// If it is 0.
    pub fn max_concurrent(calls: u32) -> Result<Self, PolicyError> {
        Self::builder().max_concurrent(calls).build()
    }

    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            max_concurrent: Some(self.max_concurrent),
            queue_length: Some(self.queue_length),
            max_wait: Some(self.max_wait),
            discipline: self.discipline,
        }
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    max_concurrent: Option<u32>,
    queue_length: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    max_wait: Option<Duration>,
    discipline: Discipline,
}

impl PolicyBuilder {
    /// Calls in flight at once: 1 to 4,294,967,295. It has no default, since it
    /// depends on what is protected: the rate it serves times its latency is a
    /// good start (Little's law).
    pub fn max_concurrent(mut self, calls: u32) -> Self {
        self.max_concurrent = Some(calls);
        self
    }

    /// Callers that may wait, for [`Queue`](super::Queue) only (`.queued()`): 0 to 4,294,967,294;
    /// by default as many as may be in flight: the last one then waits about as long
    /// as a call takes. A queue that is longer than what is served within the callers'
    /// patience, `limit · patience / latency`, only makes answers late, and keeps down
    /// a service that would have recovered.
    pub fn queue_length(mut self, callers: u32) -> Self {
        self.queue_length = Some(callers);
        self
    }

    /// The longest wait, for [`Queue`](super::Queue) only (`.queued()`): 1 ns to 10 years, by
    /// default 1 s. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// In which order the queue serves, and what it gives up; by default first
    /// come first served.
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is missing or out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let max_concurrent = match self.max_concurrent {
            Some(0) => {
                return Err(PolicyError::new(
                    "max_concurrent",
                    0,
                    "allowed are 1 to 4294967295; to refuse everything, close the layer by its handle",
                ));
            }
            Some(calls) => calls,
            None => {
                return Err(PolicyError::missing(
                    "max_concurrent",
                    "allowed are 1 to 4294967295",
                ));
            }
        };
        let queue_length = self
            .queue_length
            .unwrap_or(max_concurrent.min(u32::MAX - 1));
        if queue_length == u32::MAX {
            return Err(PolicyError::new(
                "queue_length",
                queue_length,
                "allowed are 0 to 4294967294",
            ));
        }
        let max_wait = positive("max_wait", self.max_wait)?.unwrap_or(DEFAULT_WAIT);
        Ok(Policy {
            max_concurrent,
            queue_length,
            max_wait,
            discipline: self.discipline.check()?,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
