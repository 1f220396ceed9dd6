//! What the reference has counted, and whether that opens it.

use std::time::Duration;

use tower_keep::circuit_breaker::CircuitState;

use crate::reference::{Nanos, Reference};

/// Something that was counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) slot: u64,
    pub(crate) call: bool,
    pub(crate) failed: bool,
    pub(crate) slow: bool,
}

/// Calls, failures, slow calls.
pub(crate) type Figures = (u64, u64, u64);

impl Reference {
    pub(crate) fn count_figures(&self) -> Option<Figures> {
        let size = self.rules.count_window?;
        let past = self.total.saturating_sub(size);
        let bad = |entry: &&Entry| entry.failed || entry.slow;
        let bads: Vec<_> = self.entries.iter().filter(bad).collect();
        let latest = bads.len().saturating_sub(usize::try_from(size).unwrap());
        let within = bads[latest..].iter().filter(|entry| entry.number > past);
        let (mut failures, mut slow) = (0, 0);
        for entry in within {
            failures += u64::from(entry.failed);
            slow += u64::from(entry.slow);
        }
        Some((self.total.min(size), failures, slow))
    }

    pub(crate) fn time_figures(&self) -> Option<Figures> {
        self.rules.time_window?;
        let mut figures = (0, 0, 0);
        for entry in &self.entries {
            if entry.slot + 10 > self.slot {
                figures.0 += u64::from(entry.call);
                figures.1 += u64::from(entry.failed);
                figures.2 += u64::from(entry.slow);
            }
        }
        Some(figures)
    }

    pub(crate) fn add(&mut self, call: bool, failed: bool, slow: bool) {
        self.total += u64::from(call);
        self.numbered += u64::from(call);
        self.entries.push(Entry {
            number: self.total,
            slot: self.slot,
            call,
            failed,
            slow,
        });
        if failed {
            self.run += 1;
            self.failures.push(self.numbered);
        }
        if self.entries.len() > 400 {
            let (past, slot) = (self.total.saturating_sub(300), self.slot);
            self.entries
                .retain(|entry| entry.number > past || entry.slot + 10 > slot);
        }
    }

    pub(crate) fn trips_now(&self) -> bool {
        let rules = &self.rules;
        let over = |ratio: Option<u64>, minimum, bad, calls| {
            calls >= minimum && ratio.is_some_and(|ratio| bad * 100 >= ratio * calls)
        };
        let windows = [self.count_figures(), self.time_figures()];
        let by_ratio = windows.into_iter().flatten().any(|(calls, failed, slow)| {
            over(rules.failure_ratio, rules.minimum, failed, calls)
                || over(rules.slow_ratio, rules.slow_minimum, slow, calls)
        });
        let by_run = rules.consecutive.is_some_and(|most| self.run >= most);
        let by_recent = rules.recent.is_some_and(|(failures, of)| {
            let past = self.numbered.saturating_sub(of);
            let lately = self.failures.iter().filter(|number| **number > past);
            lately.count() as u64 >= failures
        });
        by_ratio || by_run || by_recent
    }

    /// The earliest end of a lease, if no probe has a place.
    pub(crate) fn full_until(&self) -> Option<Nanos> {
        let first = self.probes.iter().map(|(_, lease)| *lease).min();
        first.filter(|_| self.probes.len() >= self.rules.probes)
    }

    pub(crate) fn next_probe(&self) -> Option<Nanos> {
        match self.state {
            CircuitState::Open => Some(self.until),
            CircuitState::HalfOpen => Some(self.full_until().unwrap_or(0)),
            _ => None,
        }
    }

    pub(crate) fn probes(&self) -> u64 {
        self.probes.len() as u64
    }
}

/// Nanoseconds as a duration.
pub(crate) fn time(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos)
}
