//! A clock that goes back.

use super::Phases;
use crate::clock::Tick;
use crate::event::CircuitState;

impl Phases {
    /// Whether something has happened that is yet to come: the clock has gone back,
    /// or whoever has read it came late.
    pub(in super::super) fn is_ahead(&self, now: Tick) -> bool {
        now < self.since || (now < self.last_bad && self.state != CircuitState::Open)
    }

    /// What lies further ahead of `now` than it ever could begins anew: so no wait,
    /// lease or ramp is shorter, nor much longer, than it was to be.
    pub(in super::super) fn rewind(&mut self, now: Tick) {
        let is_open = self.state == CircuitState::Open;
        // Nothing depends on the beginning of another closed state.
        let counts_from = self.state != CircuitState::Closed || self.ramp.is_some();
        if now < self.since && counts_from {
            if is_open {
                self.until = now.saturating_add(self.longest_wait());
            }
            self.since = now;
        }
        let latest = if is_open { self.until } else { now };
        self.last_bad = self.last_bad.min(latest);
        let lease = now.saturating_add(self.policy.probe_timeout);
        self.probes.end_by(lease);
    }
}
