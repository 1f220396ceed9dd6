//! How late a response comes.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::clock::nanos;
use crate::policy::{LONGEST, PolicyError};

/// The distribution of the time by which responses are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(tag = "shape", rename_all = "kebab-case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum Latency {
    /// Always the same: 0 to 10 years.
    Fixed {
        /// The time.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        time: Duration,
    },
    /// Any time in a range, each as likely as the other.
    Uniform {
        /// From here: 0 to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        least: Duration,
        /// To here: `least` to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        most: Duration,
    },
    /// The times between events that know nothing of each other: many short
    /// ones, few long ones.
    Exponential {
        /// Their mean, before the cap: 0 to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        mean: Duration,
        /// The cap: 0 to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        most: Duration,
    },
    /// The logarithms of the times are normal: the long tail that services have.
    LogNormal {
        /// Half of them are shorter: 1 ns to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        median: Duration,
        /// One in a hundred is longer: `median` to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        p99: Duration,
        /// The cap: 0 to 10 years.
        #[cfg_attr(
            feature = "serde",
            serde(deserialize_with = "crate::policy::durations::required")
        )]
        most: Duration,
    },
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

impl Latency {
    /// The latency itself, if it is in range.
    pub(super) fn checked(self) -> Result<Self, PolicyError> {
        let (times, ordered) = match self {
            Self::Fixed { time } => ([time; 3], true),
            Self::Uniform { least, most } => ([least, most, most], least <= most),
            Self::Exponential { mean, most } => ([mean, mean, most], true),
            Self::LogNormal { median, p99, most } => {
                let rises = !median.is_zero() && median <= p99;
                ([median, p99, most], rises)
            }
        };
        if ordered && times.iter().all(|time| *time <= LONGEST) {
            return Ok(self);
        }
        Err(PolicyError::new(
            "latency",
            format_args!("{self:?}"),
            "allowed are times up to 10 years, least <= most, and 0 < median <= p99",
        ))
    }

    /// The time for two numbers from 0 to below 1.
    pub(super) fn sample(self, one: f64, two: f64) -> Duration {
        let times = |time: Duration, factor: f64, most: Duration| {
            let time = Duration::try_from_secs_f64(time.as_secs_f64() * factor);
            time.map_or(most, |time| time.min(most))
        };
        match self {
            Self::Fixed { time } => time,
            Self::Uniform { least, most } => {
                let spread = most.saturating_sub(least);
                least.saturating_add(times(spread, one, spread))
            }
            Self::Exponential { mean, most } => times(mean, -(1.0 - one).ln(), most),
            Self::LogNormal { median, p99, most } => {
                // Box and Muller, 1958.
                let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (TAU * two).cos();
                let sigma = (p99.as_secs_f64() / median.as_secs_f64()).ln() / Z99;
                times(median, (sigma * normal).exp(), most)
            }
        }
    }

    /// The shape, and its times in nanoseconds.
    pub(super) fn to_words(self) -> [u64; 4] {
        match self {
            Self::Fixed { time } => [0, nanos(time), 0, 0],
            Self::Uniform { least, most } => [1, nanos(least), nanos(most), 0],
            Self::Exponential { mean, most } => [2, nanos(mean), nanos(most), 0],
            Self::LogNormal { median, p99, most } => [3, nanos(median), nanos(p99), nanos(most)],
        }
    }

    pub(super) fn from_words([shape, times @ ..]: [u64; 4]) -> Self {
        let [one, two, three] = times.map(Duration::from_nanos);
        match shape {
            0 => Self::Fixed { time: one },
            1 => Self::Uniform {
                least: one,
                most: two,
            },
            2 => Self::Exponential {
                mean: one,
                most: two,
            },
            _ => Self::LogNormal {
                median: one,
                p99: two,
                most: three,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::rng::unit;

    const MS: Duration = Duration::from_millis(1);

    fn samples(latency: Latency) -> Vec<Duration> {
        let latency = latency.checked().unwrap();
        assert_eq!(Latency::from_words(latency.to_words()), latency);
        let mut samples: Vec<_> = (0..20_000)
            .map(|n| latency.sample(unit(1, 2 * n), unit(1, 2 * n + 1)))
            .collect();
        samples.sort();
        samples
    }

    #[track_caller]
    fn near(found: Duration, expected: Duration) {
        let off = found.as_secs_f64() / expected.as_secs_f64() - 1.0;
        assert!(off.abs() < 0.04, "{found:?}, not {expected:?}");
    }

    #[test]
    fn each_shape_has_its_quantiles() {
        let most = MS * 1_000;
        let fixed = samples(Latency::Fixed { time: MS });
        assert!(fixed.iter().all(|time| *time == MS));

        let uniform = samples(Latency::Uniform {
            least: MS * 10,
            most: MS * 20,
        });
        assert!(uniform[0] >= MS * 10 && uniform[19_999] <= MS * 20);
        near(uniform[10_000], MS * 15);
        near(uniform[2_000], MS * 11);

        let exponential = samples(Latency::Exponential {
            mean: MS * 100,
            most,
        });
        near(exponential[10_000], Duration::from_micros(69_315));
        near(exponential.iter().sum::<Duration>() / 20_000, MS * 100);

        let tail = samples(Latency::LogNormal {
            median: MS * 20,
            p99: MS * 200,
            most,
        });
        near(tail[10_000], MS * 20);
        assert!(tail[19_800] > MS * 180 && tail[19_800] < MS * 220);
        assert!(tail[19_999] > MS * 500, "no tail");

        let capped = samples(Latency::Exponential {
            mean: MS * 100,
            most: MS * 100,
        });
        assert_eq!(capped[19_999], MS * 100);
        near(capped[10_000], Duration::from_micros(69_315));
    }

    #[test]
    fn extreme_times_are_refused_or_harmless() {
        let extremes = [
            Duration::ZERO,
            Duration::from_nanos(1),
            LONGEST,
            Duration::MAX,
        ];
        for a in extremes {
            for b in extremes {
                for most in extremes {
                    for latency in [
                        Latency::Fixed { time: a },
                        Latency::Uniform { least: a, most: b },
                        Latency::Exponential { mean: a, most },
                        Latency::LogNormal {
                            median: a,
                            p99: b,
                            most,
                        },
                    ] {
                        let Ok(latency) = latency.checked() else {
                            continue;
                        };
                        for one in [0.0, 0.5, 1.0 - f64::EPSILON] {
                            for two in [0.0, 0.5, 1.0 - f64::EPSILON] {
                                assert!(latency.sample(one, two) <= LONGEST, "{latency:?}");
                            }
                        }
                    }
                }
            }
        }
        for latency in [
            Latency::Uniform {
                least: MS * 2,
                most: MS,
            },
            Latency::LogNormal {
                median: Duration::ZERO,
                p99: MS,
                most: MS,
            },
            Latency::Fixed {
                time: Duration::MAX,
            },
        ] {
            assert_eq!(latency.checked().unwrap_err().field(), "latency");
        }
    }
}
