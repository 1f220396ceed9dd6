//! What retries tell.

use std::time::Duration;

use crate::classify::Cause;

/// An attempt has failed, and another one will be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retrying {
    /// The number of the attempt that has failed, from 1.
    pub attempt: u32,
    /// How long it is until the next one.
    pub delay: Duration,
    /// How it ended.
    pub cause: Cause,
}

/// A request has ended that was tried more than once, or was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Concluded {
    /// How many attempts were made.
    pub attempts: u32,
    /// Why there were no more.
    pub conclusion: Conclusion,
}

/// Why there was no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Conclusion {
    /// The last one succeeded.
    Succeeded,
    /// The last one ended in what is not tried again.
    Final,
    /// As many were made as the policy allows.
    Exhausted,
    /// The budget allows no more.
    Budget,
    /// The next one could not end before the caller's deadline.
    Deadline,
    /// The request cannot be sent again: its body is over the cap, has failed, or
    /// cannot be cloned.
    Unrepeatable,
    /// The server, or a tier inside, said not to.
    Unwanted,
    /// The service did not become ready again.
    NotReady,
    /// A wait needs a timer, and no tokio runtime with time drives one.
    NoRuntime,
}

impl Conclusion {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Final => "final",
            Self::Exhausted => "exhausted",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Unrepeatable => "unrepeatable",
            Self::Unwanted => "unwanted",
            Self::NotReady => "not_ready",
            Self::NoRuntime => "no_runtime",
        }
    }
}
