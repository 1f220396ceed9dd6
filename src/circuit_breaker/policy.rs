//! When a circuit opens, and how it closes again.

use std::time::Duration;

#[cfg(doc)]
use super::PolicyBuilder;
use crate::clock::nanos;
use crate::policy::{PolicyError, Ratio};

/// When a circuit opens, and how it closes again: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// kind = "states"          # or "client-throttle", "ewma", { admission-control = { aggression = 2 } }
/// failure_ratio = 0.5
/// minimum_calls = 20
/// slow_ratio = 0.8
/// slow_minimum_calls = 20
/// slow_threshold = "2s"
/// consecutive = 5
/// recent = { failures = 3, of = 10 }
/// time_window = "10s"      # or, in its place: count_window = 100
/// dropped = "by-age"       # or "neutral", "failure"
/// open_wait = "5s"
/// max_open_wait = "1m"
/// jitter = 0.1
/// max_retry_after = "1m"
/// probes = 3
/// close_after = { successes = 3 }  # or { ratio = 3 }
/// probe_timeout = "10s"
/// ramp = "30s"
/// accept_share = 0.5
/// max_refused = 0.9
/// max_keys = 1000
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "super::PolicyBuilder"))]
pub struct Policy {
    pub(super) kind: Kind,
    pub(super) failure_ratio: Option<Ratio>,
    pub(super) minimum_calls: u32,
    pub(super) slow_ratio: Option<Ratio>,
    pub(super) slow_minimum_calls: u32,
    pub(super) slow_threshold: Duration,
    pub(super) consecutive: Option<u32>,
    pub(super) recent: Option<Recent>,
    pub(super) count_window: Option<u32>,
    pub(super) time_window: Option<Duration>,
    pub(super) dropped: Dropped,
    pub(super) open_wait: Duration,
    pub(super) max_open_wait: Duration,
    pub(super) jitter: Ratio,
    pub(super) max_retry_after: Duration,
    pub(super) probes: u32,
    pub(super) close_after: CloseAfter,
    pub(super) probe_timeout: Duration,
    pub(super) ramp: Option<Duration>,
    pub(super) accept_share: Ratio,
    pub(super) max_refused: Ratio,
    pub(super) max_keys: usize,
}

/// How a breaker decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Kind {
    /// By states: closed, open, half-open.
    #[default]
    States,
    /// Refuses a share of the requests, as Google's client-side throttling does
    /// (*Site Reliability Engineering*, "Handling overload"): with `n` requests in
    /// the window, counted before they are sent and also when they are refused,
    /// and `s` successes, the share is `(n − s / accept_share) / (n + 1)`. The
    /// book's factor K is `1 / accept_share`: 2 for the default of a half.
    ClientThrottle,
    /// Refuses a share of the requests, as Envoy's admission control does: with
    /// `n` calls that ended in the window, `s` of them well, the share is
    /// `((n − s / accept_share) / (n + 1)) ^ (1 / aggression)`. The default
    /// `accept_share` is 95 %.
    AdmissionControl {
        /// 1 to 100: the higher, the more is refused at a slight failure rate.
        aggression: u32,
    },
    /// Refuses a share of the requests by a moving average of the success rate
    /// with the time window as its time constant, as Finagle's nack filter does:
    /// the share is `1 − average / accept_share`. The default `accept_share` is a
    /// half.
    Ewma,
}

/// So many failures among so many calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub(super) struct Recent {
    pub(super) failures: u32,
    pub(super) of: u32,
}

/// What counts for a call that its caller drops before the end: an outer
/// timeout, or a user who went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Dropped {
    /// A failure if it has lasted for the slow threshold, else nothing. Without a
    /// slow ratio its time counts from the first time it was pending.
    #[default]
    ByAge,
    /// Nothing; with a slow ratio, as slow as it was.
    Neutral,
    /// A failure.
    Failure,
}

/// When the probes of the half-open state have said enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum CloseAfter {
    /// So many good probes in a row close it; a bad one opens it.
    Successes(u32),
    /// So many probes are judged by the ratios of the policy. It opens as soon as
    /// their verdict cannot be good any more.
    Ratio(u32),
}

impl Policy {
    /// This many failures in a row open it, with the other settings at their
    /// defaults.
    ///
    /// # Errors
    /// If it is 0.
    pub fn consecutive(failures: u32) -> Result<Self, PolicyError> {
        Self::builder().consecutive(failures).build()
    }

    /// It opens when at least this share of calls failed, with the other settings
    /// at their defaults.
    ///
    /// # Errors
    /// If it is 0.
    pub fn failure_ratio(share: Ratio) -> Result<Self, PolicyError> {
        Self::builder().failure_ratio(share).build()
    }

    /// How it decides.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// From when on a call is slow: the unit of
    /// [`Snapshot::slow_calls`](super::Snapshot::slow_calls).
    #[must_use]
    pub fn slow_threshold(&self) -> Duration {
        self.slow_threshold
    }

    /// How long it stays open the first time, and at most by itself; before jitter.
    #[must_use]
    pub fn open_waits(&self) -> [Duration; 2] {
        [self.open_wait, self.max_open_wait]
    }

    /// Probes at once.
    #[must_use]
    pub fn probes(&self) -> u32 {
        self.probes
    }

    /// Whether how long a call takes matters when it ends.
    pub(super) fn is_timed(&self) -> bool {
        self.kind == Kind::States && self.slow_ratio.is_some()
    }

    /// The count window, if it is looked at.
    pub(super) fn counted_calls(&self) -> Option<u32> {
        self.count_window.filter(|_| self.kind == Kind::States)
    }

    /// The time window, if single calls are counted in it.
    pub(super) fn counted_time(&self) -> Option<Duration> {
        self.time_window.filter(|_| self.kind == Kind::States)
    }

    /// How long something bad is remembered of a key that nobody uses.
    pub(super) fn memory(&self) -> Duration {
        self.max_open_wait
            .max(self.counted_time().unwrap_or_default())
    }

    /// How long it stays open the `trip`-th time in a row (from 1), before jitter:
    /// twice as long each time.
    pub(super) fn wait(&self, trip: u32) -> Duration {
        let doublings = trip.saturating_sub(1).min(63);
        let wait = nanos(self.open_wait).saturating_mul(1 << doublings);
        Duration::from_nanos(wait).min(self.max_open_wait)
    }

    /// That wait, less up to the share of `jitter`.
    pub(super) fn random_wait(&self, trip: u32) -> Duration {
        let wait = self.wait(trip);
        if self.jitter == Ratio::ZERO {
            return wait;
        }
        let kept = 1.0 - self.jitter.fraction() * rand::random::<f64>();
        wait.mul_f64(kept).max(Duration::from_nanos(1))
    }

    /// The window of the kinds that refuse a share.
    pub(super) fn share_window(&self) -> Duration {
        self.time_window.unwrap_or(match self.kind {
            Kind::AdmissionControl { .. } => Duration::from_secs(30),
            _ => Duration::from_secs(120),
        })
    }
}

impl Policy {
    /// Every field within its range.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let within = |field, value: u32, most: u32, allowed| match value {
            1.. if value <= most => Ok(()),
            _ => Err(PolicyError::new(field, value, allowed)),
        };
        let share = |field, share: Option<Ratio>| match share {
            Some(Ratio::ZERO) => Err(PolicyError::new(field, 0, "allowed are more than 0, to 1")),
            _ => Ok(()),
        };
        share("failure_ratio", self.failure_ratio)?;
        share("slow_ratio", self.slow_ratio)?;
        share("accept_share", Some(self.accept_share))?;
        let any = "allowed are 1 to 4294967295";
        within("minimum_calls", self.minimum_calls, u32::MAX, any)?;
        within("slow_minimum_calls", self.slow_minimum_calls, u32::MAX, any)?;
        within("consecutive", self.consecutive.unwrap_or(1), u32::MAX, any)?;
        let million = "allowed are 1 to 1000000";
        within(
            "count_window",
            self.count_window.unwrap_or(1),
            1_000_000,
            million,
        )?;
        if let Some(Recent { failures, of }) = self.recent {
            let allowed = "allowed are 1 to 10000 failures, of at least as many calls";
            within("recent", failures, of.min(10_000), allowed)?;
        }
        within("probes", self.probes, 10_000, "allowed are 1 to 10000")?;
        let (CloseAfter::Successes(probes) | CloseAfter::Ratio(probes)) = self.close_after;
        within("close_after", probes, 1_000_000, million)?;
        if let Kind::AdmissionControl { aggression } = self.kind {
            within("aggression", aggression, 100, "allowed are 1 to 100")?;
        }
        if self.max_open_wait < self.open_wait {
            let given = format_args!("{:?}", self.max_open_wait).to_string();
            let allowed = "allowed is at least open_wait";
            return Err(PolicyError::new("max_open_wait", given, allowed));
        }
        if self.max_keys == 0 {
            return Err(PolicyError::new("max_keys", 0, "allowed is at least 1"));
        }
        self.check_minimum("minimum_calls", self.failure_ratio, self.minimum_calls)?;
        self.check_minimum(
            "slow_minimum_calls",
            self.slow_ratio,
            self.slow_minimum_calls,
        )
    }

    /// A window of fewer calls than the minimum would never say anything.
    fn check_minimum(
        &self,
        field: &'static str,
        ratio: Option<Ratio>,
        minimum: u32,
    ) -> Result<(), PolicyError> {
        match (self.counted_calls(), self.time_window) {
            (Some(window), None) if ratio.is_some() && minimum > window => Err(PolicyError::new(
                field,
                minimum,
                "allowed is at most count_window, if there is no time_window",
            )),
            _ => Ok(()),
        }
    }
}
