//! How a policy is made.

use std::time::Duration;

use super::policy::{InFlight, Policy, Streams, Unguarded, Unrecorded};
use super::store::{Again, ROOM};
use crate::policy::{LONGEST, PolicyError};

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    pub(super) lease: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    pub(super) retention: Duration,
    pub(super) again: Again,
    pub(super) in_flight: InFlight,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    pub(super) max_wait: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    pub(super) store_timeout: Duration,
    pub(super) store_fails: Unguarded,
    pub(super) store_full: Unguarded,
    pub(super) unrecorded: Unrecorded,
    pub(super) streams: Streams,
    pub(super) max_answer: u32,
    pub(super) max_request: u32,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(90),
            retention: Duration::from_secs(86_400),
            again: Again::Never,
            in_flight: InFlight::Conflict,
            max_wait: Duration::from_secs(10),
            store_timeout: Duration::from_secs(1),
            store_fails: Unguarded::Refuse,
            store_full: Unguarded::Refuse,
            unrecorded: Unrecorded::Mark,
            streams: Streams::Collect,
            max_answer: 256 * 1024,
            max_request: 1024 * 1024,
        }
    }
}

impl PolicyBuilder {
    /// How long one owner may take before its outcome counts as unknown: 1 ms to 1
    /// day, by default 90 s, after which a lock is taken for dead in "Implementing
    /// Stripe-like Idempotency Keys in Postgres" (B. Leach, 2017). Longer than the
    /// longest that a request may take, its timeouts and retries inside included: it is
    /// a deadline for the call, which layers and clients inside keep to.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long an answer is kept, and how long it is remembered that an outcome is
    /// unknown: 1 s to 10 years, by default 24 h, as Stripe does. After that, the
    /// same key is a new request: longer than clients, queues and people try again.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Whether what is unknown may run again: by default never.
    pub fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }

    /// What duplicates are told while the first one is under way: by default
    /// [`InFlight::Conflict`], as the draft of the IETF says.
    pub fn in_flight(mut self, told: InFlight) -> Self {
        self.in_flight = told;
        self
    }

    /// The longest wait of a duplicate, for [`InFlight::Wait`] only: 1 ms to 1 day, by
    /// default 10 s. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How long one step of the store may take: 1 ms to 1 day, by default 1 s. A
    /// deadline in force shortens it.
    pub fn store_timeout(mut self, time: Duration) -> Self {
        self.store_timeout = time;
        self
    }

    /// What becomes of a request that the store did not answer for: it failed, was
    /// late, panicked or made no sense. By default refused.
    pub fn store_fails(mut self, choice: Unguarded) -> Self {
        self.store_fails = choice;
        self
    }

    /// What becomes of a request for which the store has no room: by default
    /// refused. Reservations are never driven out.
    pub fn store_full(mut self, choice: Unguarded) -> Self {
        self.store_full = choice;
        self
    }

    /// What is remembered of answers that are not recorded: by default that there
    /// was one.
    pub fn unrecorded(mut self, choice: Unrecorded) -> Self {
        self.unrecorded = choice;
        self
    }

    /// What becomes of answers whose length is not known beforehand: by default they
    /// are collected.
    pub fn streams(mut self, choice: Streams) -> Self {
        self.streams = choice;
        self
    }

    /// The longest record, in bytes, headers and body together: 64 to 64 MiB, by
    /// default 256 KiB.
    pub fn max_answer(mut self, bytes: u32) -> Self {
        self.max_answer = bytes;
        self
    }

    /// The longest request body, in bytes, that is read for its fingerprint: 0 to 64
    /// MiB, by default 1 MiB. A longer one is refused: what it says could not be told
    /// from another payload.
    pub fn max_request(mut self, bytes: u32) -> Self {
        self.max_request = bytes;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        const MOST: u32 = 64 * 1024 * 1024;
        let millisecond = Duration::from_millis(1);
        let day = Duration::from_secs(86_400);
        let spans = [
            (
                "lease",
                self.lease,
                millisecond..=day,
                "allowed are 1 ms to 1 day",
            ),
            (
                "retention",
                self.retention,
                Duration::from_secs(1)..=LONGEST,
                "allowed are 1 s to 10 years",
            ),
            (
                "max_wait",
                self.max_wait,
                millisecond..=day,
                "allowed are 1 ms to 1 day",
            ),
            (
                "store_timeout",
                self.store_timeout,
                millisecond..=day,
                "allowed are 1 ms to 1 day",
            ),
        ];
        for (field, value, range, allowed) in spans {
            if !range.contains(&value) {
                return Err(PolicyError::new(field, format_args!("{value:?}"), allowed));
            }
        }
        if self.max_answer > MOST || (self.max_answer as usize) < ROOM {
            return Err(PolicyError::new(
                "max_answer",
                self.max_answer,
                "allowed are 64 to 67108864",
            ));
        }
        if self.max_request > MOST {
            return Err(PolicyError::new(
                "max_request",
                self.max_request,
                "allowed are 0 to 67108864",
            ));
        }
        Ok(Policy(self))
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
