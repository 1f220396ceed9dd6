//! A breaker that keeps a list of everything and counts it anew each time.

use std::time::Duration;

use tower_keep::circuit_breaker::{CircuitState, Mode};

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

/// Something that was counted.
#[derive(Debug, Clone, Copy)]
struct Entry {
    number: u64,
    slot: u64,
    call: bool,
    failed: bool,
    slow: bool,
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

/// Calls, failures, slow calls.
pub(crate) type Figures = (u64, u64, u64);

#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) rules: Rules,
    pub(crate) mode: Mode,
    pub(crate) state: CircuitState,
    pub(crate) since: Nanos,
    pub(crate) until: Nanos,
    pub(crate) trips: u32,
    generation: u64,
    ids: u64,
    asked: Nanos,
    ramp: Option<u64>,
    entries: Vec<Entry>,
    total: u64,
    numbered: u64,
    failures: Vec<u64>,
    pub(crate) run: u64,
    slot: u64,
    /// Calls under way that a look may find too old: those of this generation.
    watched: Vec<(Call, bool)>,
    look_at: Nanos,
    probes: Vec<(u64, Nanos)>,
    probed: Vec<(bool, bool)>,
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

    fn add(&mut self, call: bool, failed: bool, slow: bool) {
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

    fn trips_now(&self) -> bool {
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

    /// The earliest end of a lease, if no probe has a place.
    fn full_until(&self) -> Option<Nanos> {
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
        let ramping = self.ramp.is_some();
        if self.state != CircuitState::Closed || ramping || !self.is_timed() || now < self.look_at {
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
        let before = self.probes.len();
        self.probes.retain(|(id, _)| *id != call.id);
        if self.probes.len() == before {
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

/// Nanoseconds as a duration.
pub(crate) fn time(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos)
}
