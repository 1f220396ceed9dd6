//! A breaker that keeps a list of everything and counts it anew each time.

use tower_keep::circuit_breaker::{CircuitState, Mode};

use crate::figures::Entry;

pub(crate) type Nanos = u64;

/// A policy in plain numbers; ratios are in hundredths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) failure_ratio: Option<u64>,
    pub(crate) minimum: u64,
    pub(crate) slow_ratio: Option<u64>,
    pub(crate) slow_minimum: u64,
    pub(crate) threshold: Nanos,
    pub(crate) consecutive: Option<u64>,
    pub(crate) recent: Option<(u64, u64)>,
    pub(crate) count_window: Option<u64>,
    pub(crate) time_window: Option<Nanos>,
    pub(crate) wait: Nanos,
    pub(crate) max_wait: Nanos,
    pub(crate) max_retry_after: Nanos,
    pub(crate) probes: usize,
    /// That many in a row, or so many judged by the ratios.
    pub(crate) close_after: Result<u64, u64>,
    pub(crate) probe_timeout: Nanos,
    pub(crate) ramp: Option<Nanos>,
    /// Calls that are dropped: by age, never, always.
    pub(crate) dropped: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    id: u64,
    start: Nanos,
    generation: u64,
    probe: bool,
    outside: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure(Option<Nanos>),
    Neutral,
    Dropped,
}

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) rules: Rules,
    pub(crate) mode: Mode,
    pub(crate) state: CircuitState,
    pub(crate) since: Nanos,
    pub(crate) until: Nanos,
    pub(crate) trips: u32,
    pub(crate) generation: u64,
    pub(crate) ids: u64,
    pub(crate) asked: Nanos,
    pub(crate) ramp: Option<u64>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) total: u64,
    pub(crate) numbered: u64,
    pub(crate) failures: Vec<u64>,
    pub(crate) run: u64,
    pub(crate) slot: u64,
    /// Calls under way that a look may find too old: those of this generation.
    pub(crate) watched: Vec<(Call, bool)>,
    pub(crate) look_at: Nanos,
    pub(crate) probes: Vec<(u64, Nanos)>,
    pub(crate) probed: Vec<(bool, bool)>,
}

impl Reference {
    pub(crate) fn new(rules: Rules, now: Nanos) -> Self {
        let mut new = Self {
            rules,
            mode: Mode::Normal,
            state: CircuitState::Closed,
            since: now,
            until: 0,
            trips: 0,
            generation: 0,
            ids: 0,
            asked: 0,
            ramp: None,
            entries: Vec::new(),
            total: 0,
            numbered: 0,
            failures: Vec::new(),
            run: 0,
            slot: 0,
            watched: Vec::new(),
            look_at: 0,
            probes: Vec::new(),
            probed: Vec::new(),
        };
        new.restart(now);
        new
    }

    fn width(&self) -> Nanos {
        self.rules.time_window.map_or(1, |span| span.div_ceil(10))
    }

    fn is_timed(&self) -> bool {
        self.rules.slow_ratio.is_some()
    }

    fn restart(&mut self, now: Nanos) {
        self.generation += 1;
        self.entries.clear();
        (self.total, self.numbered, self.run) = (0, 0, 0);
        self.failures.clear();
        self.slot = now / self.width();
        self.watched.clear();
        self.probes.clear();
        self.probed.clear();
        self.ramp = None;
    }

    pub(crate) fn advance(&mut self, now: Nanos) {
        self.slot = self.slot.max(now / self.width());
    }

    fn decide(&mut self, now: Nanos, asked: Option<Nanos>) {
        let may = self.mode != Mode::ForcedClosed && self.state == CircuitState::Closed;
        if may && self.trips_now() {
            self.open(now, asked);
        }
    }

    fn wait(&self, trip: u32) -> Nanos {
        let doubled = u128::from(self.rules.wait) << (trip - 1).min(60);
        u64::try_from(doubled)
            .unwrap_or(u64::MAX)
            .min(self.rules.max_wait)
    }

    fn open(&mut self, now: Nanos, asked: Option<Nanos>) {
        self.trips += 1;
        self.asked = asked.unwrap_or(0);
        let asked = self.asked.min(self.rules.max_retry_after);
        self.until = now + self.wait(self.trips).max(asked);
        self.enter(CircuitState::Open, now);
    }

    fn close(&mut self, now: Nanos) {
        self.enter(CircuitState::Closed, now);
        self.ramp = self.rules.ramp.map(|_| 0);
        if self.ramp.is_none() {
            self.trips = 0;
        }
    }

    fn enter(&mut self, state: CircuitState, now: Nanos) {
        self.state = state;
        self.since = now;
        self.restart(now);
    }

    /// One more call, or how long to wait; `None`: an operator says no.
    pub(crate) fn admit(&mut self, now: Nanos) -> Result<Call, Option<Nanos>> {
        match self.mode {
            Mode::ForcedOpen => return Err(None),
            Mode::Disabled => return Ok(self.call(now, false, true)),
            Mode::ForcedClosed if self.state != CircuitState::Closed => self.reset(now),
            _ => {}
        }
        self.look(now);
        match self.decide_admission(now) {
            Ok(probe) => Ok(self.call(now, probe, false)),
            Err(_) if matches!(self.mode, Mode::Dark | Mode::ForcedClosed) => {
                Ok(self.call(now, false, true))
            }
            Err(wait) => Err(Some(wait)),
        }
    }

    fn call(&mut self, now: Nanos, probe: bool, outside: bool) -> Call {
        self.ids += 1;
        let call = Call {
            id: self.ids,
            start: now,
            generation: self.generation,
            probe,
            outside,
        };
        if probe {
            let lease = now + self.rules.probe_timeout;
            self.probes.push((call.id, lease));
        } else if !outside && self.is_timed() {
            self.watched.push((call, false));
        }
        call
    }

    /// Finds the calls whose slice of starts ended a threshold ago.
    fn look(&mut self, now: Nanos) {
        if self.state != CircuitState::Closed || !self.is_timed() || now < self.look_at {
            return;
        }
        let width = (self.rules.threshold / 16).max(1);
        self.look_at = now + width;
        self.advance(now);
        let mut overdue = 0;
        for (call, counted) in &mut self.watched {
            let old = (call.start / width + 1) * width + self.rules.threshold <= now;
            overdue += u64::from(old && !*counted);
            *counted |= old;
        }
        let run = self.run;
        (0..overdue).for_each(|_| self.add(true, false, true));
        self.run = run;
        self.decide(now, None);
    }

    fn decide_admission(&mut self, now: Nanos) -> Result<bool, Nanos> {
        match self.state {
            CircuitState::Open if now < self.until => return Err(self.until - now),
            CircuitState::Open => self.enter(CircuitState::HalfOpen, now),
            CircuitState::HalfOpen => {}
            _ => return self.climb(now).map(|()| false),
        }
        self.probes.retain(|(_, lease)| now < *lease);
        match self.full_until() {
            Some(end) => Err(end - now),
            None => Ok(true),
        }
    }

    fn climb(&mut self, now: Nanos) -> Result<(), Nanos> {
        let (Some(offered), Some(over)) = (self.ramp, self.rules.ramp) else {
            return Ok(());
        };
        self.advance(now);
        let elapsed = now.saturating_sub(self.since);
        if elapsed >= over {
            self.ramp = None;
            self.trips = 0;
            return Ok(());
        }
        let width = over.div_ceil(10);
        let share = elapsed / width + 1;
        self.ramp = Some(offered + 1);
        // The first, and then as many as the share of those before.
        let tens = |offered: u64| offered % 10 * share / 10;
        match offered % 10 == 0 || tens(offered) > tens(offered - 1) {
            true => Ok(()),
            false => Err(share * width - elapsed),
        }
    }

    pub(crate) fn finish(&mut self, call: Call, end: End, now: Nanos) {
        if call.outside {
            return;
        }
        let age = now.saturating_sub(call.start);
        let old = age >= self.rules.threshold;
        let (failed, asked) = match end {
            End::Success => (false, None),
            End::Failure(asked) => (true, asked),
            End::Dropped if self.rules.dropped == 2 || (self.rules.dropped == 0 && old) => {
                (true, None)
            }
            End::Neutral | End::Dropped => {
                self.probes.retain(|(id, _)| *id != call.id);
                self.watched.retain(|(watched, _)| watched.id != call.id);
                return;
            }
        };
        if call.generation != self.generation {
            return;
        }
        let slow = self.is_timed() && old;
        if call.probe {
            self.finish_probe(call, failed, slow, asked, now);
            return;
        }
        let place = self.watched.iter().position(|(c, _)| c.id == call.id);
        let counted = place.is_some_and(|place| self.watched.swap_remove(place).1);
        self.advance(now);
        match (counted, failed) {
            (true, true) => self.add(false, true, false),
            (true, false) => self.run = 0,
            (false, _) => {
                self.add(true, failed, slow);
                if !failed {
                    self.run = 0;
                }
            }
        }
        self.decide(now, asked);
    }

    fn finish_probe(
        &mut self,
        call: Call,
        failed: bool,
        slow: bool,
        asked: Option<Nanos>,
        now: Nanos,
    ) {
        let place = self.probes.iter().position(|(id, _)| *id == call.id);
        // Late is late, whether or not another one has its place.
        if place.is_none_or(|place| self.probes.swap_remove(place).1 <= now) {
            return;
        }
        self.probed.push((failed, slow));
        let failures = self.probed.iter().filter(|probe| probe.0).count() as u64;
        let slows = self.probed.iter().filter(|probe| probe.1).count() as u64;
        let calls = self.probed.len() as u64;
        let (bad, enough) = match self.rules.close_after {
            Ok(successes) => (failures + slows > 0, calls >= successes),
            Err(of) => {
                let ratio = self.rules.failure_ratio.unwrap_or(50);
                let slower = self.rules.slow_ratio.is_some_and(|r| slows * 100 >= r * of);
                (failures * 100 >= ratio * of || slower, calls >= of)
            }
        };
        if bad {
            self.open(now, asked);
        } else if enough {
            self.close(now);
        }
    }

    pub(crate) fn reset(&mut self, now: Nanos) {
        match self.state {
            CircuitState::Closed => self.restart(now),
            _ => self.enter(CircuitState::Closed, now),
        }
        self.trips = 0;
    }

    pub(crate) fn drain(&mut self, now: Nanos) {
        self.advance(now);
        if self.state == CircuitState::HalfOpen {
            let good = self.probed.iter().all(|(failed, slow)| !failed && !slow);
            match good && !self.probed.is_empty() {
                true => self.close(now),
                false => self.open(now, None),
            }
        }
    }

    pub(crate) fn update(&mut self, rules: Rules, now: Nanos) {
        self.advance(now);
        // What the old windows do not know the new ones cannot.
        let calls = self.count_figures().map_or(0, |(calls, ..)| calls);
        let forgotten = self.total - calls;
        for entry in &mut self.entries {
            entry.number = entry.number.saturating_sub(forgotten);
        }
        self.total = calls;
        // More bad ends than calls: the window has let go of the oldest.
        let most = self.rules.count_window.unwrap_or(0);
        let bads = self
            .entries
            .iter_mut()
            .rev()
            .filter(|entry| entry.failed || entry.slow);
        for entry in bads.skip(usize::try_from(most).unwrap()) {
            entry.number = 0;
        }
        let old = (self.rules.time_window, self.width(), self.slot);
        let kept = |recent: Option<(u64, u64)>| recent.map_or(0, |(failures, _)| failures);
        let kept = kept(self.rules.recent).min(kept(rules.recent));
        let past = (self.failures.len() as u64).saturating_sub(kept);
        self.failures.drain(..usize::try_from(past).unwrap());
        self.rules = rules;
        let width = self.width();
        let moved = |slot: u64| ((slot + 1) * old.1 - 1) / width;
        for entry in &mut self.entries {
            let known = old.0.is_some() && entry.slot + 10 > old.2;
            entry.slot = if known { moved(entry.slot) } else { 0 };
        }
        self.slot = match old.0 {
            Some(_) => moved(old.2),
            None => now / width,
        };
        if rules.ramp.is_none() && self.ramp.take().is_some() {
            self.trips = 0;
        }
        let longest = self
            .wait(self.trips.max(1))
            .max(self.asked.min(rules.max_retry_after));
        self.until = self.until.min(self.since + longest);
    }
}
