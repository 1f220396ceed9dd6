//! Slow start: an endpoint that is new, or has come back, gets its share little by
//! little. Its caches, pools and compiler are cold.

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::policy::{PolicyError, Ratio, positive};

/// How the share of an endpoint grows once it has come: Envoy's formula,
/// `max(floor, (t / window)^(1 / aggression))` of its weight after a time `t`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct SlowStart {
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::required")
    )]
    window: Duration,
    floor: Ratio,
    /// In percent.
    aggression: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            floor: Ratio::percent(10),
            aggression: 100,
        }
    }
}

impl SlowStart {
    /// Over this time (1 ns to 10 years; 30 s by default), with the defaults for the rest.
    pub fn over(window: Duration) -> Self {
        Self {
            window,
            ..Self::default()
        }
    }

    /// The share of its weight to begin with, so that there is something to learn
    /// from: by default a tenth, as Envoy's.
    pub fn floor(mut self, floor: Ratio) -> Self {
        self.floor = floor;
        self
    }

    /// How steep the beginning is, in percent: 1 to 10,000, by default 100, which is
    /// a straight line. With 200 an endpoint has half of its weight after a quarter
    /// of the window.
    pub fn aggression(mut self, percent: u32) -> Self {
        self.aggression = percent;
        self
    }

    pub(super) fn check(self) -> Result<Self, PolicyError> {
        positive("slow_start.window", Some(self.window))?;
        if !(1..=10_000).contains(&self.aggression) {
            let allowed = "allowed are 1 to 10000 percent";
            let field = "slow_start.aggression";
            return Err(PolicyError::new(field, self.aggression, allowed));
        }
        Ok(self)
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// What share of its weight an endpoint has that came at `since`.
    #[allow(clippy::cast_precision_loss)] // a ratio
    pub(super) fn share(&self, since: Tick, now: Tick) -> f64 {
        let passed = nanos(now.saturating_since(since));
        let window = nanos(self.window).max(1);
        if passed >= window {
            return 1.0;
        }
        let along = passed as f64 / window as f64;
        let share = match self.aggression {
            100 => along,
            percent => along.powf(100.0 / f64::from(percent)),
        };
        share.max(self.floor.fraction())
    }
}
