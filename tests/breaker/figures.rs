//! What the reference has counted, and whether that opens it.

use std::time::Duration;

use tower_keep::circuit_breaker::CircuitState;

use crate::places::Slice;
use crate::reference::{Nanos, Reference};

/// A call that was counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    /// Unless it is in no time window.
    pub(crate) slot: Option<u64>,
    pub(crate) failed: bool,
    pub(crate) slow: bool,
    /// When it began, if it has not ended. Calls that began in the same sixteenth
    /// of a threshold are not told apart.
    pub(crate) open: Option<Slice>,
}

/// Calls, failures, slow calls.
pub(crate) type Figures = (u64, u64, u64);

fn figures<'a>(entries: impl Iterator<Item = &'a Entry>) -> Figures {
    entries.fold((0, 0, 0), |(calls, failed, slow), entry| {
        let (fails, slows) = (u64::from(entry.failed), u64::from(entry.slow));
        (calls + 1, failed + fails, slow + slows)
    })
}

impl Reference {
    pub(crate) fn count_figures(&self) -> Option<Figures> {
        let past = self.total.saturating_sub(self.rules.count_window?);
        let past = past.max(self.before);
        Some(figures(
            self.entries.iter().filter(|entry| entry.number > past),
        ))
    }

    pub(crate) fn time_figures(&self) -> Option<Figures> {
        self.rules.time_window?;
        let lately = |entry: &&Entry| entry.slot.is_some_and(|slot| slot + 10 > self.slot);
        Some(figures(self.entries.iter().filter(lately)))
    }

    /// The time window moves on; one further ahead than it is long forgets.
    pub(crate) fn move_on(&mut self, here: u64) {
        if self.slot >= here + 10 {
            self.entries.iter_mut().for_each(|entry| entry.slot = None);
            self.slot = here;
        }
        self.slot = self.slot.max(here);
    }

    /// One more call, that has ended or is still `open`.
    pub(crate) fn add(&mut self, failed: bool, slow: bool, open: Option<Slice>) {
        self.total += 1;
        self.entries.push(Entry {
            number: self.total,
            slot: self.rules.time_window.map(|_| self.slot),
            failed,
            slow,
            open,
        });
        if failed {
            self.failed(self.total);
        }
        if self.entries.len() > 400 {
            let (past, slot) = (self.total.saturating_sub(300), self.slot);
            let lately = |number: Option<u64>| number.is_some_and(|number| number + 10 > slot);
            self.entries
                .retain(|entry| entry.number > past || lately(entry.slot) || entry.open.is_some());
        }
    }

    fn failed(&mut self, number: u64) {
        self.run += 1;
        self.failures.push(number);
        self.failures.sort_unstable();
    }

    /// The end of a call that was counted before; `false` if none was.
    pub(crate) fn amend(&mut self, slice: Slice, failed: Option<bool>) -> bool {
        let mine = |entry: &Entry| entry.open == Some(slice);
        let Some(at) = self.entries.iter().rposition(mine) else {
            return false;
        };
        self.entries[at].open = None;
        if failed == Some(true) {
            self.entries[at].failed = true;
            self.failed(self.entries[at].number);
        }
        true
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
            let past = self.total.saturating_sub(of);
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

    /// Somebody looks, and the clock has gone back.
    pub(crate) fn rewind(&mut self, now: Nanos) {
        if now < self.since && (self.state != CircuitState::Closed || self.ramp.is_some()) {
            // Of the open state.
            self.until = now + self.until.saturating_sub(self.since);
            self.since = now;
        }
        for (_, lease) in &mut self.probes {
            *lease = (*lease).min(now + self.rules.probe_timeout);
        }
    }

    /// Whether the probes went badly, and whether there were enough.
    pub(crate) fn verdict(&self) -> (bool, bool) {
        let failures = self.probed.iter().filter(|probe| probe.0).count() as u64;
        let slows = self.probed.iter().filter(|probe| probe.1).count() as u64;
        let calls = self.probed.len() as u64;
        match self.rules.close_after {
            Ok(successes) => (failures + slows > 0, calls >= successes),
            Err(of) => {
                let ratio = self.rules.failure_ratio.unwrap_or(50);
                let slower = self.rules.slow_ratio.is_some_and(|r| slows * 100 >= r * of);
                (failures * 100 >= ratio * of || slower, calls >= of)
            }
        }
    }

    pub(crate) fn probes(&self, now: Nanos) -> u64 {
        self.probes.iter().filter(|(_, lease)| now < *lease).count() as u64
    }
}

/// Nanoseconds as a duration.
pub(crate) fn time(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos)
}
