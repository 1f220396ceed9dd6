//! How long to wait before the next try.
//!
//! A [`Backoff`] is the rule, a [`Session`] one caller's way along it. Every
//! session draws from random numbers of its own, so callers that failed at the
//! same moment do not come back at the same moment.
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::backoff::{Backoff, Jitter};
//!
//! let backoff = Backoff::builder()
//!     .base(Duration::from_millis(100))
//!     .cap(Duration::from_secs(2))
//!     .jitter(Jitter::Equal)
//!     .build()?;
//! let mut session = backoff.session();
//! let first = session.next_delay();
//! assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(100));
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # What is drawn
//! With *w* the growth's delay, never above the cap, and *U* uniform in steps of
//! a nanosecond with both ends (Brooker, "Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015; proportional: gRPC proposal A6):
//!
//! | jitter | delay |
//! |---|---|
//! | none | *w* |
//! | full | *U*(0, *w*) |
//! | equal | *U*(*w*/2, *w*) |
//! | decorrelated | *U*(base, min(cap, 3 · the delay before)), the first one from the base |
//! | proportional *r* | *U*(*w* − *r·w*, min(cap, *w* + *r·w*)) |
//!
//! AWS's decorrelated jitter draws from the whole range and cuts what is above
//! the cap, gRPC's lets the delay pass it: near the cap the one sends most
//! sessions back at the same moment, and the other waits longer than was asked.
//! Here the cap bounds the range that is drawn from.

use std::time::Duration;

use crate::clock::nanos;
use crate::kernel::rng;
use crate::policy::{LONGEST, PolicyError, Ratio};

/// How the delay grows from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Growth {
    /// Not: always the base.
    Fixed,
    /// By the base each time.
    Linear,
    /// It doubles.
    #[default]
    Exponential,
}

/// How sessions are kept from waiting in step; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Jitter {
    /// Not at all: for a single caller only.
    None,
    /// Anything up to the delay: spreads a crowd best.
    #[default]
    Full,
    /// At least half of the delay.
    Equal,
    /// Grows from the last delay, not from the number of the attempt.
    Decorrelated,
    /// This share of the delay, up or down.
    Proportional(Ratio),
}

/// How long to wait before each attempt: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// base = "50ms"
/// cap = "20s"
/// longest_retry_after = "1m"
/// growth = "exponential"   # or "fixed", "linear"
/// jitter = "full"          # or "none", "equal", "decorrelated", { proportional = 0.2 }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "BackoffBuilder"))]
pub struct Backoff {
    /// Nanoseconds, as all that follow.
    base: u64,
    cap: u64,
    longest_retry_after: u64,
    growth: Growth,
    jitter: Jitter,
}

/// Makes a [`Backoff`].
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct BackoffBuilder {
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    base: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    cap: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    longest_retry_after: Duration,
    growth: Growth,
    jitter: Jitter,
}

impl Default for BackoffBuilder {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(50),
            cap: Duration::from_secs(20),
            longest_retry_after: Duration::from_secs(60),
            growth: Growth::default(),
            jitter: Jitter::default(),
        }
    }
}

impl BackoffBuilder {
    /// The delay that the growth starts from: 1 ns to the cap, by default 50 ms
    /// (that of AWS's clients, since 2026).
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// No delay is longer: the base to 10 years, by default 20 s (that of AWS's
    /// clients).
    pub fn cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// No server's `Retry-After` is obeyed for longer: zero, which ignores it, to
    /// 10 years, by default 1 minute. A server must not be able to stop a client
    /// for a day.
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.longest_retry_after = longest;
        self
    }

    /// How the delay grows: by default exponentially.
    pub fn growth(mut self, growth: Growth) -> Self {
        self.growth = growth;
        self
    }

    /// How it is spread: by default fully.
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The rule.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range. Decorrelated jitter
    /// has a growth of its own: with a fixed or linear one, it is refused.
    pub fn build(self) -> Result<Backoff, PolicyError> {
        let refuse = |field, given: Duration, allowed| {
            Err(PolicyError::new(field, format_args!("{given:?}"), allowed))
        };
        if self.cap.is_zero() || self.cap > LONGEST {
            return refuse("cap", self.cap, "allowed are the base to 10 years");
        }
        if self.base.is_zero() || self.base > self.cap {
            return refuse("base", self.base, "allowed are 1 ns to the cap");
        }
        if self.longest_retry_after > LONGEST {
            return refuse(
                "longest_retry_after",
                self.longest_retry_after,
                "allowed are 0 to 10 years",
            );
        }
        match self.jitter {
            Jitter::Decorrelated if self.growth != Growth::Exponential => Err(PolicyError::new(
                "jitter",
                format_args!("decorrelated with {:?} growth", self.growth),
                "it grows by itself: leave the growth exponential",
            )),
            Jitter::Decorrelated if self.base == self.cap => refuse(
                "base",
                self.base,
                "allowed are 1 ns to below the cap, or decorrelated jitter has no room",
            ),
            Jitter::Proportional(Ratio::ZERO) => Err(PolicyError::new(
                "jitter",
                "a share of nothing",
                "allowed are shares above 0 to 1, or none",
            )),
            _ => Ok(Backoff {
                base: nanos(self.base),
                cap: nanos(self.cap),
                longest_retry_after: nanos(self.longest_retry_after),
                growth: self.growth,
                jitter: self.jitter,
            }),
        }
    }
}

impl TryFrom<BackoffBuilder> for Backoff {
    type Error = PolicyError;

    fn try_from(builder: BackoffBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}

impl Default for Backoff {
    /// 50 ms, doubling up to 20 s, with full jitter.
    fn default() -> Self {
        let builder = BackoffBuilder::default();
        Self {
            base: nanos(builder.base),
            cap: nanos(builder.cap),
            longest_retry_after: nanos(builder.longest_retry_after),
            growth: builder.growth,
            jitter: builder.jitter,
        }
    }
}

impl Backoff {
    /// A builder with the defaults.
    pub fn builder() -> BackoffBuilder {
        BackoffBuilder::default()
    }

    /// The rule as a builder, to change parts of it.
    pub fn to_builder(self) -> BackoffBuilder {
        BackoffBuilder {
            base: Duration::from_nanos(self.base),
            cap: Duration::from_nanos(self.cap),
            longest_retry_after: Duration::from_nanos(self.longest_retry_after),
            growth: self.growth,
            jitter: self.jitter,
        }
    }

    /// A session of its own randomness.
    #[must_use]
    pub fn session(self) -> Session {
        self.seeded(rand::random())
    }

    /// The session of this seed: the same delays each time. Sessions that run at
    /// the same time must not share a seed.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Session {
        Session {
            backoff: self,
            seed,
            delays: 0,
            last: self.base,
        }
    }

    /// What the growth alone makes of it, before the delay of this number,
    /// counted from 0.
    fn grown(self, number: u64) -> u64 {
        let grown = match self.growth {
            Growth::Fixed => self.base,
            Growth::Linear => self.base.saturating_mul(number.saturating_add(1)),
            Growth::Exponential => {
                let factor = u32::try_from(number)
                    .ok()
                    .and_then(|n| 1_u64.checked_shl(n));
                self.base.saturating_mul(factor.unwrap_or(u64::MAX))
            }
        };
        grown.min(self.cap)
    }

    /// The least and the greatest delay that may be drawn.
    fn range(self, number: u64, last: u64) -> (u64, u64) {
        let grown = self.grown(number);
        match self.jitter {
            Jitter::None => (grown, grown),
            Jitter::Full => (0, grown),
            Jitter::Equal => (grown / 2, grown),
            Jitter::Decorrelated => (self.base, last.saturating_mul(3).min(self.cap)),
            Jitter::Proportional(ratio) => {
                let share = ratio.of(grown).max(1);
                (grown - share, grown.saturating_add(share).min(self.cap))
            }
        }
    }
}

/// One caller's way along a [`Backoff`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    backoff: Backoff,
    seed: u64,
    delays: u64,
    /// Nanoseconds.
    last: u64,
}

impl Session {
    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let (least, greatest) = self.backoff.range(self.delays, self.last);
        self.last = draw(rng::word(self.seed, self.delays), least, greatest);
        self.delays = self.delays.saturating_add(1);
        Duration::from_nanos(self.last)
    }

    /// The same after a server has asked for at least this long: what it asked
    /// for, as far as the rule obeys it, **and then** the session's own delay.
    /// All who were sent away at once were given the same time.
    pub fn next_delay_after(&mut self, retry_after: Duration) -> Duration {
        let longest = Duration::from_nanos(self.backoff.longest_retry_after);
        retry_after.min(longest).saturating_add(self.next_delay())
    }
}

/// A random word as one of the whole numbers from `least` to `greatest`.
#[allow(clippy::cast_possible_truncation)] // the product's upper half
fn draw(word: u64, least: u64, greatest: u64) -> u64 {
    let choices = u128::from(greatest.saturating_sub(least)) + 1;
    least + ((u128::from(word) * choices) >> 64) as u64
}

#[cfg(test)]
mod tests;
