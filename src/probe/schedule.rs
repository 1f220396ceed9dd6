//! How often a probe asks, and how many answers decide.

use std::time::Duration;

use crate::kernel::rng;
use crate::policy::{LONGEST, PolicyError, Ratio, positive};

/// How often a probe asks, how long it waits for an answer, and how many answers
/// in a row change what is believed: valid by construction.
///
/// The defaults are those of a Kubernetes probe (period 10 s, timeout 1 s, success
/// threshold 1, failure threshold 3), and a jitter, so that a thousand instances
/// that were started together do not ask together for ever.
///
/// ```
/// use std::time::Duration;
/// use tower_keep::probe::Schedule;
///
/// let schedule = Schedule::builder()
///     .interval(Duration::from_secs(2))
///     .timeout(Duration::from_millis(500))
///     .rise(2)
///     .build()?;
/// assert_eq!(schedule.timeout(), Duration::from_millis(500));
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "ScheduleBuilder"))]
pub struct Schedule {
    first: Duration,
    interval: Duration,
    jitter: Ratio,
    timeout: Duration,
    pub(super) rise: u32,
    pub(super) fall: u32,
}

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const JITTER: Ratio = Ratio::percent(10);

impl Schedule {
    /// A builder with the defaults.
    pub fn builder() -> ScheduleBuilder {
        ScheduleBuilder::default()
    }

    /// The schedule as a builder, to change parts of it.
    pub fn to_builder(self) -> ScheduleBuilder {
        ScheduleBuilder {
            first: Some(self.first),
            interval: Some(self.interval),
            jitter: Some(self.jitter),
            timeout: Some(self.timeout),
            rise: Some(self.rise),
            fall: Some(self.fall),
        }
    }

    /// How long the first run waits.
    #[must_use]
    pub const fn first(&self) -> Duration {
        self.first
    }

    /// From the beginning of one run to the beginning of the next one.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// The longest that one run may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The longest from the beginning of one run to the beginning of the next one.
    #[must_use]
    pub fn longest_interval(&self) -> Duration {
        self.interval.saturating_add(self.share(1.0))
    }

    fn share(&self, part: f64) -> Duration {
        self.interval.mul_f64(self.jitter.fraction() * part)
    }

    /// From the beginning of run number `run` to the beginning of the next one:
    /// the interval, more or less by up to the jitter, by a seeded draw.
    #[must_use]
    pub fn wait(&self, seed: u64, run: u64) -> Duration {
        let draw = rng::unit(seed, run);
        let least = self.interval.saturating_sub(self.share(1.0));
        least.saturating_add(self.share(2.0 * draw))
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: Duration::ZERO,
            interval: INTERVAL,
            jitter: JITTER,
            timeout: TIMEOUT,
            rise: 1,
            fall: 3,
        }
    }
}

/// Makes a [`Schedule`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct ScheduleBuilder {
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    first: Option<Duration>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    interval: Option<Duration>,
    jitter: Option<Ratio>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    timeout: Option<Duration>,
    rise: Option<u32>,
    fall: Option<u32>,
}

impl ScheduleBuilder {
    /// How long the first run waits: 0 to 10 years, by default not at all.
    pub fn first(mut self, wait: Duration) -> Self {
        self.first = Some(wait);
        self
    }

    /// From the beginning of one run to the beginning of the next one: 1 ns to 10
    /// years, by default 10 s. A run that takes longer delays the next one: there
    /// are never two of one probe at once.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// By which share of it an interval is longer or shorter, by chance: 0 to 1, by
    /// default 0.1. The mean stays the interval.
    pub fn jitter(mut self, jitter: Ratio) -> Self {
        self.jitter = Some(jitter);
        self
    }

    /// The longest that one run may take: 1 ns to 10 years, by default 1 s. One
    /// that takes longer has failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// So many better answers in a row are believed: 1 to 4,294,967,295, by default
    /// 1. The first answer of all is believed at once.
    pub fn rise(mut self, answers: u32) -> Self {
        self.rise = Some(answers);
        self
    }

    /// So many worse answers in a row are believed: 1 to 4,294,967,295, by default
    /// 3, so that one lost packet changes nothing.
    pub fn fall(mut self, answers: u32) -> Self {
        self.fall = Some(answers);
        self
    }

    /// The schedule.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Schedule, PolicyError> {
        let default = Schedule::default();
        let count = |field, given: Option<u32>, default| match given {
            Some(0) => Err(PolicyError::new(field, 0, "allowed are 1 to 4294967295")),
            given => Ok(given.unwrap_or(default)),
        };
        if let Some(first) = self.first.filter(|first| *first > LONGEST) {
            let given = format_args!("{first:?}");
            return Err(PolicyError::new(
                "first",
                given,
                "allowed are 0 to 10 years",
            ));
        }
        Ok(Schedule {
            first: self.first.unwrap_or(default.first),
            interval: positive("interval", self.interval)?.unwrap_or(default.interval),
            jitter: self.jitter.unwrap_or(default.jitter),
            timeout: positive("timeout", self.timeout)?.unwrap_or(default.timeout),
            rise: count("rise", self.rise, default.rise)?,
            fall: count("fall", self.fall, default.fall)?,
        })
    }
}

impl TryFrom<ScheduleBuilder> for Schedule {
    type Error = PolicyError;

    fn try_from(builder: ScheduleBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let bad = |builder: ScheduleBuilder| builder.build().unwrap_err().field();
        let new = Schedule::builder;
        let beyond = LONGEST + Duration::from_nanos(1);
        assert_eq!(bad(new().interval(Duration::ZERO)), "interval");
        assert_eq!(bad(new().interval(beyond)), "interval");
        assert_eq!(bad(new().timeout(Duration::ZERO)), "timeout");
        assert_eq!(bad(new().first(Duration::MAX)), "first");
        assert_eq!(bad(new().rise(0)), "rise");
        assert_eq!(bad(new().fall(0)), "fall");
        assert_eq!(new().build(), Ok(Schedule::default()));
    }

    proptest! {
        #[test]
        fn waits_stay_within_the_jitter(
            nanos in 1..=u64::MAX / 64, jitter in 0_u32..=100, seed: u64, run: u64,
        ) {
            let interval = Duration::from_nanos(nanos).min(LONGEST);
            let builder = Schedule::builder().interval(interval);
            let schedule = builder.jitter(Ratio::percent(jitter)).build().unwrap();
            let wait = schedule.wait(seed, run).as_secs_f64();
            let (whole, share) = (interval.as_secs_f64(), f64::from(jitter) / 100.0);
            // A nanosecond, or what a fraction of this size cannot tell.
            let slack = 2e-9 + whole * 1e-12;
            prop_assert!(wait >= whole * (1.0 - share) - slack);
            prop_assert!(wait <= whole * (1.0 + share) + slack);
            prop_assert!(wait <= schedule.longest_interval().as_secs_f64() + slack);
        }
    }

    #[test]
    fn waits_differ_and_keep_the_mean() {
        let schedule = Schedule::default();
        let waits: Vec<_> = (0..10_000).map(|run| schedule.wait(7, run)).collect();
        let mean = waits.iter().sum::<Duration>() / 10_000;
        assert!(mean.abs_diff(INTERVAL) < INTERVAL / 200, "{mean:?}");
        assert_ne!(schedule.wait(7, 0), schedule.wait(8, 0));
        let exact = schedule.to_builder().jitter(Ratio::ZERO).build().unwrap();
        assert_eq!(exact.wait(7, 0), INTERVAL);
    }
}
