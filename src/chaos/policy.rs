//! What goes wrong, and how often.

use std::time::Duration;

use super::latency::Latency;
use crate::clock::nanos;
use crate::policy::{PolicyError, Ratio, positive};

/// What goes wrong, and how often: valid by construction. The default is that
/// nothing does.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// seed = 42
/// late = 0.05
/// latency = { shape = "uniform", least = "100ms", most = "2s" }
/// error = 0.01
/// abort = 0.01
/// hang = 0.001
/// cut = 0.01
/// stall = 0.01
/// reset = 0.01
/// after_bytes = 1024
/// longest_hang = "1h"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) seed: u64,
    pub(super) late: Ratio,
    pub(super) latency: Latency,
    pub(super) error: Ratio,
    pub(super) abort: Ratio,
    pub(super) hang: Ratio,
    pub(super) cut: Ratio,
    pub(super) stall: Ratio,
    pub(super) reset: Ratio,
    pub(super) after_bytes: u64,
    pub(super) longest_hang: Duration,
}

/// Words of a packed policy.
pub(super) const WORDS: usize = 14;

/// What hangs is given up on after this time unless the policy says otherwise:
/// nobody waits that long, and a mistake does not fill the memory for good.
const DEFAULT_HANG: Duration = Duration::from_secs(3600);

impl Default for Policy {
    fn default() -> Self {
        Self {
            seed: 0,
            late: Ratio::ZERO,
            latency: Latency::Fixed {
                time: Duration::ZERO,
            },
            error: Ratio::ZERO,
            abort: Ratio::ZERO,
            hang: Ratio::ZERO,
            cut: Ratio::ZERO,
            stall: Ratio::ZERO,
            reset: Ratio::ZERO,
            after_bytes: 0,
            longest_hang: DEFAULT_HANG,
        }
    }
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        Self::default().to_builder()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            seed: self.seed,
            late: self.late,
            latency: self.latency,
            error: self.error,
            abort: self.abort,
            hang: self.hang,
            cut: self.cut,
            stall: self.stall,
            reset: self.reset,
            after_bytes: self.after_bytes,
            longest_hang: Some(self.longest_hang),
        }
    }

    pub(super) fn to_words(self) -> [u64; WORDS] {
        let bits = |ratio: Ratio| ratio.fraction().to_bits();
        let [a, b, c, d] = self.latency.to_words();
        [
            self.seed,
            bits(self.late),
            bits(self.error),
            bits(self.abort),
            bits(self.hang),
            bits(self.cut),
            bits(self.stall),
            bits(self.reset),
            self.after_bytes,
            nanos(self.longest_hang),
            a,
            b,
            c,
            d,
        ]
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [
            seed,
            late,
            error,
            abort,
            hang,
            cut,
            stall,
            reset,
            after_bytes,
            longest,
            latency @ ..,
        ] = words;
        let ratio = |bits| Ratio::new(f64::from_bits(bits)).unwrap_or(Ratio::ZERO);
        Self {
            seed,
            late: ratio(late),
            latency: Latency::from_words(latency),
            error: ratio(error),
            abort: ratio(abort),
            hang: ratio(hang),
            cut: ratio(cut),
            stall: ratio(stall),
            reset: ratio(reset),
            after_bytes,
            longest_hang: Duration::from_nanos(longest),
        }
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    seed: u64,
    late: Ratio,
    latency: Latency,
    error: Ratio,
    abort: Ratio,
    hang: Ratio,
    cut: Ratio,
    stall: Ratio,
    reset: Ratio,
    after_bytes: u64,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    longest_hang: Option<Duration>,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Policy::builder()
    }
}

impl PolicyBuilder {
    /// What the fates are drawn from, by default 0: the same seed gives the n-th
    /// request the same fate, in every run and in all versions of this crate.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The share of responses that come late, and how late. In a file: `late`,
    /// and a table `latency`. It goes together with any other fault.
    pub fn latency(mut self, share: Ratio, latency: Latency) -> Self {
        self.late = share;
        self.latency = latency;
        self
    }

    /// The share of requests that fail: the inner service is not called, and the
    /// caller gets [`Injected`](crate::RejectionKind::Injected) or the error
    /// that [`faults`](super::ChaosLayer::faults) makes.
    pub fn error(mut self, share: Ratio) -> Self {
        self.error = share;
        self
    }

    /// The share of requests that get the response that
    /// [`faults`](super::ChaosLayer::faults) makes, such as a status. Without
    /// that they fail as by [`error`](Self::error).
    pub fn abort(mut self, share: Ratio) -> Self {
        self.abort = share;
        self
    }

    /// The share of requests that get no answer: the inner service is not called.
    /// It ends when the caller goes away, or by an error after
    /// [`longest_hang`](Self::longest_hang).
    pub fn hang(mut self, share: Ratio) -> Self {
        self.hang = share;
        self
    }

    /// The share of responses whose body ends after
    /// [`after_bytes`](Self::after_bytes) as if that were all of it. Body faults
    /// need `ChaosLayer::with_bodies`.
    pub fn cut(mut self, share: Ratio) -> Self {
        self.cut = share;
        self
    }

    /// The share of responses whose body stops there, until
    /// [`longest_hang`](Self::longest_hang).
    pub fn stall(mut self, share: Ratio) -> Self {
        self.stall = share;
        self
    }

    /// The share of responses whose body breaks there with an error.
    pub fn reset(mut self, share: Ratio) -> Self {
        self.reset = share;
        self
    }

    /// After how many bytes of a body its fault is met, by default 0: at once. A
    /// shorter body passes whole.
    pub fn after_bytes(mut self, bytes: u64) -> Self {
        self.after_bytes = bytes;
        self
    }

    /// How long hangs and stalls last at most: 1 ns to 10 years, by default one
    /// hour. Then they become errors.
    pub fn longest_hang(mut self, time: Duration) -> Self {
        self.longest_hang = Some(time);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range: a time, or the
    /// shares of faults that exclude each other (`error`, `abort`, `hang`; `cut`,
    /// `stall`, `reset`) if they are more than 1 together.
    pub fn build(self) -> Result<Policy, PolicyError> {
        // A sum of shares may miss 1 by the last bits.
        const SLACK: f64 = 1e-10;
        let within = |field, shares: [Ratio; 3]| {
            let sum: f64 = shares.iter().map(|share| share.fraction()).sum();
            if sum <= 1.0 + SLACK {
                return Ok(());
            }
            let allowed = "allowed are shares that sum up to at most 1";
            Err(PolicyError::new(field, sum, allowed))
        };
        within("error, abort, hang", [self.error, self.abort, self.hang])?;
        within("cut, stall, reset", [self.cut, self.stall, self.reset])?;
        Ok(Policy {
            seed: self.seed,
            late: self.late,
            latency: self.latency.checked()?,
            error: self.error,
            abort: self.abort,
            hang: self.hang,
            cut: self.cut,
            stall: self.stall,
            reset: self.reset,
            after_bytes: self.after_bytes,
            longest_hang: positive("longest_hang", self.longest_hang)?.unwrap_or(DEFAULT_HANG),
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
