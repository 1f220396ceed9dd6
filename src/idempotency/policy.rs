//! For how long a key holds, and what duplicates are told.

use std::time::Duration;

use super::builder::PolicyBuilder;
use super::store::Again;
use crate::clock::nanos;

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
pub struct Policy(pub(super) PolicyBuilder);

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

#[cfg(test)]
mod tests;
