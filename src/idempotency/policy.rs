//! For how long a key holds, and what duplicates are told.

use std::time::Duration;

use super::store::{Again, ROOM};
use crate::clock::nanos;
use crate::policy::{LONGEST, PolicyError};

/// What a duplicate is told while the first request is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum InFlight {
    /// That it is in conflict: 409 and `Retry-After` over HTTP.
    Conflict,
    /// That it is too early: 425 and `Retry-After`.
    TooEarly,
    /// That it is being worked on: 202 and `Retry-After`.
    Accepted,
    /// Nothing yet: it waits for the first one's answer, up to
    /// [`max_wait`](PolicyBuilder::max_wait), and is then told as by `Conflict`.
    Wait,
}

/// What becomes of a request that the store cannot guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Unguarded {
    /// It is refused, and has no effect: 503.
    Refuse,
    /// It runs, **with one effect for each time it is sent**, and the listeners are
    /// told so.
    Run,
}

/// What is remembered of an answer that is not recorded: too long, or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Unrecorded {
    /// That there was one: duplicates are told that the request is done, and have
    /// no effect.
    Mark,
    /// Nothing: **a duplicate has its effect again.**
    Forget,
}

/// What becomes of an answer whose length is not known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Streams {
    /// It is read until its end, or until it is too long, and given to the client
    /// then. `text/event-stream` and gRPC never are: they do not end for long.
    Collect,
    /// It goes to the client at once, and is not recorded.
    Pass,
}

/// How a key is guarded: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// lease = "90s"
/// retention = "24h"
/// again = "never"          # or "allowed"
/// in_flight = "conflict"   # or "too-early", "accepted", "wait"
/// max_wait = "10s"
/// store_timeout = "1s"
/// store_fails = "refuse"   # or "run"
/// store_full = "refuse"    # or "run"
/// unrecorded = "mark"      # or "forget"
/// streams = "collect"      # or "pass"
/// max_answer = 262144
/// max_request = 1048576
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy(PolicyBuilder);

impl Default for Policy {
    /// A builder's defaults.
    fn default() -> Self {
        Self(PolicyBuilder::default())
    }
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        self.0
    }

    pub(super) fn lease(&self) -> Duration {
        self.0.lease
    }

    pub(super) fn retention(&self) -> Duration {
        self.0.retention
    }

    pub(super) fn again(&self) -> Again {
        self.0.again
    }

    pub(super) fn in_flight(&self) -> InFlight {
        self.0.in_flight
    }

    pub(super) fn max_wait(&self) -> Duration {
        self.0.max_wait
    }

    pub(super) fn store_timeout(&self) -> Duration {
        self.0.store_timeout
    }

    pub(super) fn store_fails(&self) -> Unguarded {
        self.0.store_fails
    }

    pub(super) fn store_full(&self) -> Unguarded {
        self.0.store_full
    }

    pub(super) fn unrecorded(&self) -> Unrecorded {
        self.0.unrecorded
    }

    pub(super) fn streams(&self) -> Streams {
        self.0.streams
    }

    pub(super) fn max_answer(&self) -> usize {
        self.0.max_answer as usize
    }

    pub(super) fn max_request(&self) -> usize {
        self.0.max_request as usize
    }

    /// As words, which change together.
    pub(super) fn to_words(self) -> [u64; WORDS] {
        let p = self.0;
        let choices = [
            u64::from(p.again == Again::Allowed),
            u64::from(p.store_fails == Unguarded::Run),
            u64::from(p.store_full == Unguarded::Run),
            u64::from(p.unrecorded == Unrecorded::Forget),
            u64::from(p.streams == Streams::Pass),
            match p.in_flight {
                InFlight::Conflict => 0,
                InFlight::TooEarly => 1,
                InFlight::Accepted => 2,
                InFlight::Wait => 3,
            },
        ];
        let choices = choices
            .iter()
            .rev()
            .fold(0, |word, choice| word << 2 | choice);
        [
            nanos(p.lease),
            nanos(p.retention),
            nanos(p.max_wait),
            nanos(p.store_timeout),
            u64::from(p.max_answer) << 32 | u64::from(p.max_request),
            choices,
        ]
    }

    #[allow(clippy::cast_possible_truncation)] // halves
    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [lease, retention, max_wait, store_timeout, lengths, choices] = words;
        let choice = |at: u32| choices >> (2 * at) & 3;
        let unguarded = |at| match choice(at) {
            0 => Unguarded::Refuse,
            _ => Unguarded::Run,
        };
        Self(PolicyBuilder {
            lease: Duration::from_nanos(lease),
            retention: Duration::from_nanos(retention),
            again: match choice(0) {
                0 => Again::Never,
                _ => Again::Allowed,
            },
            in_flight: match choice(5) {
                0 => InFlight::Conflict,
                1 => InFlight::TooEarly,
                2 => InFlight::Accepted,
                _ => InFlight::Wait,
            },
            max_wait: Duration::from_nanos(max_wait),
            store_timeout: Duration::from_nanos(store_timeout),
            store_fails: unguarded(1),
            store_full: unguarded(2),
            unrecorded: match choice(3) {
                0 => Unrecorded::Mark,
                _ => Unrecorded::Forget,
            },
            streams: match choice(4) {
                0 => Streams::Collect,
                _ => Streams::Pass,
            },
            max_answer: (lengths >> 32) as u32,
            max_request: lengths as u32,
        })
    }
}

/// Words of a policy.
pub(super) const WORDS: usize = 6;

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
    lease: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    retention: Duration,
    again: Again,
    in_flight: InFlight,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    max_wait: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    store_timeout: Duration,
    store_fails: Unguarded,
    store_full: Unguarded,
    unrecorded: Unrecorded,
    streams: Streams,
    max_answer: u32,
    max_request: u32,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn builders()(
            times in prop::array::uniform4(1_000_000_000..86_400_000_000_000u64),
            choices in prop::array::uniform5(any::<bool>()),
            in_flight in 0..4usize,
            lengths in (64..67_108_865u32, 0..67_108_865u32),
        ) -> PolicyBuilder {
            let [lease, retention, wait, store] = times.map(Duration::from_nanos);
            let [again, fails, full, unrecorded, streams] = choices;
            let unguarded = |run| if run { Unguarded::Run } else { Unguarded::Refuse };
            let told = [
                InFlight::Conflict, InFlight::TooEarly, InFlight::Accepted, InFlight::Wait,
            ];
            Policy::builder()
                .lease(lease)
                .retention(retention)
                .max_wait(wait)
                .store_timeout(store)
                .again(if again { Again::Allowed } else { Again::Never })
                .store_fails(unguarded(fails))
                .store_full(unguarded(full))
                .unrecorded(if unrecorded { Unrecorded::Forget } else { Unrecorded::Mark })
                .streams(if streams { Streams::Pass } else { Streams::Collect })
                .in_flight(told[in_flight])
                .max_answer(lengths.0)
                .max_request(lengths.1)
        }
    }

    proptest! {
        #[test]
        fn every_policy_survives_its_words(builder in builders()) {
            let policy = builder.build().unwrap();
            prop_assert_eq!(Policy::from_words(policy.to_words()), policy);
        }
    }

    #[test]
    fn extremes_are_refused_by_their_names() {
        let zero = Duration::ZERO;
        let ever = Duration::MAX;
        let builder = Policy::builder;
        for (field, built) in [
            ("lease", builder().lease(zero)),
            ("lease", builder().lease(ever)),
            ("retention", builder().retention(zero)),
            ("retention", builder().retention(ever)),
            ("max_wait", builder().max_wait(zero)),
            ("max_wait", builder().max_wait(ever)),
            ("store_timeout", builder().store_timeout(zero)),
            ("store_timeout", builder().store_timeout(ever)),
            ("max_answer", builder().max_answer(0)),
            ("max_answer", builder().max_answer(u32::MAX)),
            ("max_request", builder().max_request(u32::MAX)),
        ] {
            assert_eq!(built.build().unwrap_err().field(), field);
        }
        assert_eq!(builder().build(), Ok(Policy::default()));
    }
}
