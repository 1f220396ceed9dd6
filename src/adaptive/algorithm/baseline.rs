//! How long a call takes that does not wait inside the service.
//!
//! The response time alone does not tell whether a service is slow or has a
//! queue. What tells is how it follows the limit: with a queue, a lower limit
//! makes calls faster by the same share (Little's law: the throughput stays);
//! without one, it only costs throughput. So whenever the limit has gone down by
//! a quarter and calls have become faster by less than a tenth, there is no
//! queue, and what they take is the baseline.
//!
//! Limits go down by themselves when a service becomes slower. Where they do
//! not, a *probe* takes a quarter off, once in about 50 windows, and again as
//! long as that makes calls faster. So a probe costs at most a quarter of the
//! throughput for two windows, and never takes the limit to a handful; and a
//! baseline that was measured with a queue in it is found out by the next
//! probe: it cannot drift up for ever.

use super::{Estimate, Window, whole};

/// What a probe leaves of the limit.
const CUT: f64 = 0.75;
/// Calls that take this share of the time have become faster.
const FASTER: f64 = 0.9;
/// How fast the baseline follows shorter times: a tenth, since the shortest of
/// many noisy means is too short.
const DOWN: f64 = 0.1;
/// Windows between two probes, and a few that depend on the last digits of what
/// was measured: instances do not probe in step.
const APART: u32 = 44;
const JITTER: u64 = 13;
/// Windows before the first one: the limit it starts with is a guess.
const FIRST: u32 = 10;

/// A limit, the baseline it is judged by, and the probe that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline {
    estimate: Estimate,
    /// Seconds; none before the first window.
    base: Option<f64>,
    /// The limit and the mean that lower limits are compared with.
    seen: (f64, f64),
    until_probe: u32,
    probe: Probe,
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    None,
    /// Calls from before the cut are still ending.
    Settling {
        before: f64,
    },
    Measuring {
        before: f64,
    },
}

/// What one window asks of the limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) limit: f64,
    /// Seconds, as is the next.
    pub(super) base: f64,
    pub(super) mean: f64,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            estimate: Estimate::default(),
            base: None,
            seen: (0.0, 0.0),
            until_probe: FIRST,
            probe: Probe::None,
        }
    }
}

impl Baseline {
    /// The next limit: `less` of it after an overload, else `step`.
    pub(super) fn next(
        &mut self,
        window: &Window,
        less: impl FnOnce(f64) -> f64,
        step: impl FnOnce(At) -> f64,
    ) -> u32 {
        let limit = self.estimate.of(window.limit);
        let mean = window.seconds();
        let next = if window.is_overloaded() {
            less(self.end_probe(limit))
        } else if !window.is_limited() {
            self.lower(mean);
            self.seen = (limit, mean);
            self.end_probe(limit)
        } else {
            match self.probe {
                Probe::None => self.follow(limit, mean, step),
                Probe::Settling { before } => {
                    self.probe = Probe::Measuring { before };
                    limit
                }
                Probe::Measuring { before } => self.measured(limit, mean, before),
            }
        };
        self.estimate.set(next)
    }

    /// The limit to go back to.
    fn end_probe(&mut self, limit: f64) -> f64 {
        match std::mem::replace(&mut self.probe, Probe::None) {
            Probe::None => limit,
            Probe::Settling { before } | Probe::Measuring { before } => before,
        }
    }

    fn lower(&mut self, mean: f64) -> f64 {
        let base = self.base.unwrap_or(mean);
        let base = base + (mean - base).min(0.0) * DOWN;
        *self.base.insert(base)
    }

    fn follow(&mut self, limit: f64, mean: f64, step: impl FnOnce(At) -> f64) -> f64 {
        let mut base = self.lower(mean);
        let (highest, longest) = self.seen;
        if limit <= highest * CUT {
            if mean >= longest * FASTER {
                base = *self.base.insert(mean);
            }
            self.seen = (limit, mean);
        } else if limit >= highest || mean > longest {
            self.seen = (limit, mean);
        }
        self.until_probe = self.until_probe.saturating_sub(1);
        if self.until_probe == 0 && whole(limit * CUT) < whole(limit) {
            return self.cut(limit, mean, limit);
        }
        step(At { limit, base, mean })
    }

    fn cut(&mut self, limit: f64, mean: f64, before: f64) -> f64 {
        self.seen = (limit, mean);
        self.probe = Probe::Settling { before };
        limit * CUT
    }

    /// The first whole window after a cut.
    fn measured(&mut self, limit: f64, mean: f64, before: f64) -> f64 {
        if mean < self.seen.1 * FASTER && whole(limit * CUT) < whole(limit) {
            // There was a queue. What was given up of the limit has cost nothing.
            return self.cut(limit, mean, limit);
        }
        self.base = Some(mean);
        self.probe = Probe::None;
        self.until_probe = APART + u32::try_from(mean.to_bits() % JITTER).unwrap_or(0);
        self.seen = (before, mean);
        before
    }
}
