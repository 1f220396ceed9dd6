//! One of the limits of a policy.

use std::time::Duration;

use crate::clock::nanos;
use crate::kernel::gcra::{Quota, QuotaError};
use crate::kernel::log::Recent;
use crate::kernel::meter::Measure;
use crate::kernel::tally::Window;
use crate::kernel::warm::Ramp;
use crate::policy::PolicyError;

/// How a limit counts. With `P` permits per `W`, in any time `T`:
///
/// | kind | at most, in `T` | bytes a key | use it |
/// |---|---|---|---|
/// | [`TokenBucket`](Self::TokenBucket) | `P·T/W + burst` | 250 | unless there is a reason not to |
/// | [`Pacing`](Self::Pacing) | `P·T/W + 1` | 250 | with [`Wait`](super::Wait), before what bears no bursts |
/// | [`WarmUp`](Self::WarmUp) | `P·T/W +` the largest cost | + 170 | before what is slow after a pause: caches, pools |
/// | [`FixedWindow`](Self::FixedWindow) | `P·(⌈T/W⌉ + 1)` | + 170 | to keep to a quota that another counts so |
/// | [`SlidingWindow`](Self::SlidingWindow) | `P·T/W + P` | + 170 | as that, without two full windows side by side |
/// | [`SlidingLog`](Self::SlidingLog) | `P·(⌊T/W⌋ + 1)` | + 170 + 8·`P` | where no `W` may ever hold more than `P` |
///
/// All are exact in what they promise here, for one thread and for many; a request is
/// decided at the time that it reads, or that of a later one who came first. Beside a
/// clock reading, a decision takes one compare-and-swap (a log and a warm-up two), in a
/// time that depends neither on the permits nor on what has come.
///
/// Only the first two are served in order of arrival by [`Wait`](super::Wait): with the
/// others, and with several limits, a request that waits asks again when its time has
/// come, and whoever asks first then is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Kind {
    /// A token bucket, as the generic cell rate algorithm (ITU-T I.371).
    #[default]
    TokenBucket,
    /// A leaky bucket as a queue: one after the other, at even distances. It is a token
    /// bucket with a burst of 1.
    Pacing,
    /// At first a third of the rate, and the full one after
    /// [`warm_up`](Limit::warm_up) of steady use; idling makes it cold again. This is
    /// Guava's `SmoothWarmingUp` with its cold factor of 3. Intervals are rounded up to
    /// whole nanoseconds. The burst is the largest cost that a request may have.
    WarmUp,
    /// `P` in each window of the clock: they begin at the multiples of `W` since the
    /// clock's zero (which is not that of the wall clock: this one never jumps). Around
    /// such an instant, up to `2·P` may come at once.
    ///
    /// If `W` is at least `2^b` ns, `P` may be up to `2^(b-1) - 1`: 268,435,455 of a
    /// second.
    FixedWindow,
    /// What came in the last window counts in part: as much as it still overlaps with a
    /// window that ends now, as if it had come evenly. That is an approximation of the
    /// log, in both directions: within `W`, up to `2·P` can come in the worst case (all
    /// at the end of one window, and steadily in the next).
    ///
    /// If `W` is at least `2^b` ns, `P` may be up to `2^⌊(b-1)/2⌋ - 1`: 16,383 of a
    /// second, 131,071 of a minute, 1,048,575 of an hour.
    SlidingWindow,
    /// The times of the last `P`: exact, but for a 4096th of `W` that a permit may come
    /// back too late. A log takes nothing back, and charges no debt.
    ///
    /// `P` may be up to 65,535, and if `W` is at least `2^b` ns, up to `2^(b-13) - 1`:
    /// 1,023 of 10 ms. A live update can raise it for a key in use only to the next
    /// power of two.
    SlidingLog,
}

const WARM_UP: Duration = Duration::from_secs(10);

/// One limit among several: see [`PolicyBuilder::also`](super::PolicyBuilder::also) and
/// [`PolicyBuilder::total`](super::PolicyBuilder::total).
///
/// In a file it has the keys `permits`, `per` (default `"1s"`), `burst`, `kind` and
/// `warm_up`, which mean the same as in the policy itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[must_use]
pub struct Limit {
    pub(super) permits: u32,
    #[cfg_attr(
        feature = "serde",
        serde(
            default = "a_second",
            deserialize_with = "crate::policy::durations::required"
        )
    )]
    pub(super) per: Duration,
    #[cfg_attr(feature = "serde", serde(default))]
    burst: Option<u32>,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(super) kind: Kind,
    #[cfg_attr(
        feature = "serde",
        serde(default, deserialize_with = "crate::policy::durations::option")
    )]
    warm_up: Option<Duration>,
}

#[cfg(feature = "serde")]
fn a_second() -> Duration {
    Duration::from_secs(1)
}

impl Limit {
    /// So many requests per so much time, as
    /// [`PolicyBuilder::rate`](super::PolicyBuilder::rate): a token bucket, unless
    /// [`kind`](Self::kind) says otherwise.
    pub fn new(permits: u32, per: Duration) -> Self {
        Self {
            permits,
            per,
            burst: None,
            kind: Kind::TokenBucket,
            warm_up: None,
        }
    }

    /// As [`PolicyBuilder::burst`](super::PolicyBuilder::burst).
    pub fn burst(mut self, requests: u32) -> Self {
        self.burst = Some(requests);
        self
    }

    /// How it counts. By default a token bucket.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// How long [`Kind::WarmUp`] takes from cold to warm, at the pace it then has: 1 ns
    /// to 36 years, by default 10 s.
    pub fn warm_up(mut self, time: Duration) -> Self {
        self.warm_up = Some(time);
        self
    }

    pub(super) fn warm_up_given(&self) -> Option<Duration> {
        self.warm_up
    }

    /// Whether its burst may be any.
    pub(super) fn has_free_burst(&self) -> bool {
        matches!(self.kind, Kind::TokenBucket | Kind::WarmUp)
    }

    /// How far ahead of its time a bucket may be drawn: by those who wait, or by debt.
    pub(super) fn ahead(&self, patience: Duration, debt: u32) -> Duration {
        let owed = self.per.as_nanos() * u128::from(debt) / u128::from(self.permits.max(1));
        let owed = u64::try_from(owed).unwrap_or(u64::MAX);
        patience.max(Duration::from_nanos(owed))
    }

    pub(super) fn with(mut self, burst: Option<u32>, warm_up: Option<Duration>) -> Self {
        self.burst = burst;
        self.warm_up = warm_up;
        self
    }

    /// What may come at once.
    pub(super) fn burst_in_force(&self) -> u32 {
        match (self.kind, self.burst) {
            (Kind::Pacing, _) => 1,
            (Kind::TokenBucket | Kind::WarmUp, Some(burst)) => burst,
            (Kind::TokenBucket | Kind::WarmUp, None) => {
                let a_second = u128::from(self.permits) * 1_000_000_000;
                let a_second = a_second / self.per.as_nanos().max(1);
                let a_second = u32::try_from(a_second).unwrap_or(u32::MAX);
                a_second.clamp(1, self.permits.max(1))
            }
            _ => self.permits,
        }
    }

    /// Whether it is served in order of arrival, by the plain bucket.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::TokenBucket | Kind::Pacing)
    }

    /// As a token bucket, which may be drawn ahead by `patience`.
    pub(super) fn quota(&self, patience: Duration) -> Result<Quota, QuotaError> {
        Quota::new(self.permits, self.per, self.burst_in_force(), patience)
    }

    /// The numbers of its kind. `field`: what it is called in the policy.
    pub(super) fn measure(
        &self,
        field: &'static str,
        patience: Duration,
        debt: u32,
    ) -> Result<Measure, PolicyError> {
        // Whatever the kind, the rate must be one.
        let quota = self
            .quota(patience)
            .map_err(|error| self.explain(field, error))?;
        let (permits, per) = (self.permits, nanos(self.per));
        let burst = self.burst_in_force();
        if let (Some(burst), false) = (self.burst, self.has_free_burst()) {
            let allowed = "of this kind it is not free and must be left out";
            return Err(PolicyError::new("burst", burst, allowed));
        }
        let measure = match self.kind {
            Kind::TokenBucket | Kind::Pacing => Some(Measure::Bucket(quota)),
            Kind::FixedWindow => Window::new(permits, per, false, debt).map(Measure::Window),
            Kind::SlidingWindow => Window::new(permits, per, true, debt).map(Measure::Window),
            Kind::SlidingLog => Recent::new(permits, per).map(Measure::Log),
            Kind::WarmUp => {
                let warm_up = self.warm_up.unwrap_or(WARM_UP);
                let ramp = Ramp::new(permits, per, burst, nanos(warm_up), debt);
                if ramp.is_none() {
                    let given = format_args!("{warm_up:?} with a burst of {burst}").to_string();
                    let allowed = "allowed are 1 ns to 36 years, and a third of the rate must pay for a burst within that";
                    return Err(PolicyError::new("warm_up", given, allowed));
                }
                ramp.map(Measure::Warm)
            }
        };
        measure.ok_or_else(|| {
            let given = format_args!("{permits} per {:?}", self.per).to_string();
            let allowed = "more than this kind can count in so short a time (see throttle::Kind): it must be a token bucket";
            PolicyError::new(field, given, allowed)
        })
    }

    fn explain(&self, field: &'static str, error: QuotaError) -> PolicyError {
        let (permits, per, burst) = (self.permits, self.per, self.burst_in_force());
        let rate = format_args!("{permits} per {per:?}").to_string();
        match error {
            QuotaError::Zero if burst == 0 && permits > 0 => {
                PolicyError::new("burst", 0, "allowed are 1 to 4294967295")
            }
            QuotaError::Zero => PolicyError::new(
                field,
                rate,
                "allowed are 1 to 4294967295 requests, per 1 ns to 36 years; to refuse everything, close the layer by its handle",
            ),
            QuotaError::TooFast => {
                PolicyError::new(field, rate, "allowed is up to one request a nanosecond")
            }
            QuotaError::TooSlow => PolicyError::new(
                "burst",
                format_args!("{burst} at {rate}"),
                "a bucket must fill within 36 years: take a smaller burst or a higher rate",
            ),
        }
    }
}

/// A list of limits.
#[cfg(feature = "serde")]
pub(super) fn some<'de, D, const N: usize>(deserializer: D) -> Result<[Option<Limit>; N], D::Error>
where
    D: serde::Deserializer<'de>,
{
    use serde::de::{Deserialize, Error};
    let limits = Vec::<Limit>::deserialize(deserializer)?;
    if limits.len() > N {
        let (many, most) = (limits.len(), N);
        return Err(D::Error::custom(format_args!(
            "also: {many} limits are not allowed; allowed are up to {most}"
        )));
    }
    let mut some = [None; N];
    some.iter_mut()
        .zip(limits)
        .for_each(|(slot, limit)| *slot = Some(limit));
    Ok(some)
}

/// What it is if all keys together come too often: see
/// [`PolicyBuilder::over_total`](super::PolicyBuilder::over_total).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum OverTotal {
    /// The service's overload, for which a client can do nothing:
    /// [`TotalRate`](crate::RejectionKind::TotalRate), as a response 503.
    #[default]
    Overload,
    /// A quota that the clients share: [`Throttled`](crate::RejectionKind::Throttled), as
    /// a response 429.
    Quota,
}
