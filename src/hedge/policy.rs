//! When a call is hedged.

use std::time::Duration;

use crate::policy::{LONGEST, PolicyError, Ratio};

/// After how long another attempt begins beside one that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Delay {
    /// Always the same.
    Fixed(
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        Duration,
    ),
    /// What this share of the recent first attempts did not take: of 95 %, one
    /// call in twenty is hedged, whatever the service's speed.
    Percentile(Ratio),
}

/// When a call is hedged: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// delay = { percentile = 0.95 }  # or { fixed = "80ms" }
/// least = "1ms"
/// hedges = 1
/// window = "10s"
/// minimum_calls = 50
/// failure_ratio = 0.1
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) delay: Delay,
    pub(super) least: Duration,
    pub(super) hedges: u32,
    pub(super) window: Duration,
    pub(super) minimum_calls: u32,
    pub(super) failure_ratio: Ratio,
}

const DEFAULT: Policy = Policy {
    delay: Delay::Percentile(Ratio::percent(95)),
    least: Duration::from_millis(1),
    hedges: 1,
    window: Duration::from_secs(10),
    minimum_calls: 50,
    failure_ratio: Ratio::percent(10),
};

impl Default for Policy {
    /// One more attempt after the 95th percentile.
    fn default() -> Self {
        DEFAULT
    }
}

impl Policy {
    /// One more attempt after this time.
    ///
    /// # Errors
    /// If it is zero or above ten years.
    pub fn after(delay: Duration) -> Result<Self, PolicyError> {
        Self::builder().delay(Delay::Fixed(delay)).build()
    }

    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        DEFAULT.to_builder()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            delay: self.delay,
            least: self.least,
            hedges: self.hedges,
            window: self.window,
            minimum_calls: self.minimum_calls,
            failure_ratio: self.failure_ratio,
        }
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    delay: Delay,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    least: Duration,
    hedges: u32,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    window: Duration,
    minimum_calls: u32,
    failure_ratio: Ratio,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Policy::builder()
    }
}

impl PolicyBuilder {
    /// After how long: a fixed time of 1 ns to 10 years, or a percentile above 0
    /// and below 1; by default the 95th (Dean and Barroso, "The Tail at Scale",
    /// CACM 2013: it adds one call in twenty, and takes most of the tail away).
    pub fn delay(mut self, delay: Delay) -> Self {
        self.delay = delay;
        self
    }

    /// A percentile is not obeyed below this: zero to 10 years, by default 1 ms,
    /// which is as fine as timers are.
    pub fn least(mut self, least: Duration) -> Self {
        self.least = least;
        self
    }

    /// Attempts beside the first one, the delay after one another: 1 to 4 (gRPC
    /// allows 5 attempts in all), by default 1.
    pub fn hedges(mut self, hedges: u32) -> Self {
        self.hedges = hedges;
        self
    }

    /// How long a call counts for percentiles and for the share of failures: 1 ms
    /// to 1 day, by default 10 s; the oldest quarter of it is forgotten at a time.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Of fewer calls in the window, nothing is concluded: 1 to 1,000,000, by
    /// default 50. Before that, a percentile hedges none, and no share of failures
    /// is too high.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = calls;
        self
    }

    /// From this share of failures in the window on, nothing is hedged: above 0,
    /// by default 10 %. What fails is not slow, and more of it does not help. A call
    /// that was dropped when it had been pending for longer than the delay counts as
    /// one: to the timeout outside it is.
    pub fn failure_ratio(mut self, ratio: Ratio) -> Self {
        self.failure_ratio = ratio;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let time = |field, given: Duration, least: Duration, most, allowed| {
            if (least..=most).contains(&given) {
                return Ok(());
            }
            Err(PolicyError::new(field, format_args!("{given:?}"), allowed))
        };
        match self.delay {
            Delay::Fixed(delay) => {
                let allowed = "allowed are 1 ns to 10 years";
                time("delay", delay, Duration::from_nanos(1), LONGEST, allowed)?;
            }
            // Thousandths are what is told apart.
            Delay::Percentile(share) if (1..1_000).contains(&share.of(1_000)) => {}
            Delay::Percentile(share) => {
                let allowed = "allowed are percentiles of 0.001 to 0.999";
                return Err(PolicyError::new("delay", share.fraction(), allowed));
            }
        }
        let allowed = "allowed are 0 to 10 years";
        time("least", self.least, Duration::ZERO, LONGEST, allowed)?;
        let (shortest, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
        time(
            "window",
            self.window,
            shortest,
            day,
            "allowed are 1 ms to 1 day",
        )?;
        if !(1..=4).contains(&self.hedges) {
            return Err(PolicyError::new(
                "hedges",
                self.hedges,
                "allowed are 1 to 4",
            ));
        }
        if !(1..=1_000_000).contains(&self.minimum_calls) {
            let allowed = "allowed are 1 to 1,000,000";
            return Err(PolicyError::new(
                "minimum_calls",
                self.minimum_calls,
                allowed,
            ));
        }
        if self.failure_ratio == Ratio::ZERO {
            return Err(PolicyError::new(
                "failure_ratio",
                0,
                "allowed is above 0 to 1",
            ));
        }
        Ok(Policy {
            delay: self.delay,
            least: self.least,
            hedges: self.hedges,
            window: self.window,
            minimum_calls: self.minimum_calls,
            failure_ratio: self.failure_ratio,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
