//! A breaker that keeps a list of everything and counts it anew each time.

use tower_keep::circuit_breaker::{CircuitState, Mode};

use crate::figures::Entry;
use crate::places::{Places, Slice, width};

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
    pub(crate) id: u64,
    start: Nanos,
    /// Whether anybody looked at the clock when it began.
    started: bool,
    /// Its sixteenth of a threshold, if it is looked for.
    slice: Slice,
    watched: bool,
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
    /// Calls that the count window does not know.
    pub(crate) before: u64,
    pub(crate) failures: Vec<u64>,
    pub(crate) run: u64,
    pub(crate) slot: u64,
    /// Calls under way that a look may find too old: those of this generation.
    pub(crate) watched: Places,
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
            before: 0,
            failures: Vec::new(),
            run: 0,
            slot: 0,
            watched: Places::default(),
            look_at: 0,
            probes: Vec::new(),
            probed: Vec::new(),
        };
        new.restart(now);
        new
    }

    pub(crate) fn width(&self) -> Nanos {
        self.rules.time_window.map_or(1, |span| span.div_ceil(10))
    }

    fn is_timed(&self) -> bool {
        self.rules.slow_ratio.is_some()
    }

    fn restart(&mut self, now: Nanos) {
        self.generation += 1;
        self.entries.clear();
        (self.total, self.before, self.run) = (0, 0, 0);
        self.failures.clear();
        self.slot = now / self.width();
        self.watched.clear();
        self.probes.clear();
        self.probed.clear();
        self.ramp = None;
    }

    pub(crate) fn advance(&mut self, now: Nanos) {
        self.rewind(now);
        self.move_on(now / self.width());
        let over = self.rules.ramp.unwrap_or(0);
        if self.ramp.is_some() && now.saturating_sub(self.since) >= over {
            (self.ramp, self.trips) = (None, 0);
        }
    }

    /// Whether an operator keeps it closed; if it is not, it is from now on.
    fn keeps_closed(&mut self, now: Nanos) -> bool {
        let forced = self.mode == Mode::ForcedClosed;
        if forced && self.state != CircuitState::Closed {
            self.reset(now);
        }
        forced
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
            _ => _ = self.keeps_closed(now),
        }
        self.look(now);
        match self.decide_admission(now) {
            Ok(probe) => Ok(self.call(now, probe, false)),
            Err(_) if self.mode == Mode::Dark => Ok(self.call(now, false, true)),
            Err(_) if self.mode == Mode::ForcedClosed => Ok(self.call(now, false, false)),
            Err(wait) => Err(Some(wait)),
        }
    }

    fn call(&mut self, now: Nanos, probe: bool, outside: bool) -> Call {
        self.ids += 1;
        let slice = Slice::new(now, self.rules.threshold, self.generation);
        let mut watched = self.is_timed() && !probe && !outside;
        if watched {
            let soon = now + 2 * width(self.rules.threshold);
            self.look_at = if self.look_at > soon { 0 } else { self.look_at };
            watched = self.watched.enter(slice);
        }
        let call = Call {
            id: self.ids,
            start: now,
            started: self.is_timed() || self.rules.dropped == 0,
            slice,
            watched,
            generation: self.generation,
            probe,
            outside,
        };
        if probe {
            let lease = now + self.rules.probe_timeout;
            self.probes.push((call.id, lease));
        }
        call
    }

    /// Finds the calls whose slice of starts ended a threshold ago.
    fn look(&mut self, now: Nanos) {
        if self.state != CircuitState::Closed || !self.is_timed() || now < self.look_at {
            return;
        }
        self.look_at = now + width(self.rules.threshold);
        self.advance(now);
        for (slice, calls) in self.watched.look(now, self.rules.threshold) {
            (0..calls).for_each(|_| self.add(false, true, Some(slice)));
        }
        self.decide(now, None);
    }

    fn decide_admission(&mut self, now: Nanos) -> Result<bool, Nanos> {
        match self.state {
            CircuitState::Open if now < self.until => {
                self.rewind(now);
                return Err(self.until - now);
            }
            CircuitState::Open => self.enter(CircuitState::HalfOpen, now),
            CircuitState::HalfOpen => {}
            _ => return self.climb(now).map(|()| false),
        }
        let bound = self.rules.probe_timeout.max(self.rules.wait);
        match self.full_until().filter(|end| now < *end) {
            Some(end) if end - now > bound => self.rewind(now),
            Some(end) => return Err((end - now).min(self.rules.wait)),
            None => self.rewind(now),
        }
        self.probes.retain(|(_, lease)| now < *lease);
        match self.full_until() {
            Some(end) => Err((end - now).min(self.rules.wait)),
            None => Ok(true),
        }
    }

    fn climb(&mut self, now: Nanos) -> Result<(), Nanos> {
        let (Some(offered), Some(over)) = (self.ramp, self.rules.ramp) else {
            return Ok(());
        };
        self.advance(now);
        if self.ramp.is_none() {
            return Ok(());
        }
        let elapsed = now.saturating_sub(self.since);
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
        let old = call.started && now.saturating_sub(call.start) >= self.rules.threshold;
        let slow = self.is_timed() && old;
        let drop_fails = self.rules.dropped == 2 || (self.rules.dropped == 0 && old);
        let (failed, asked) = match end {
            End::Success => (Some(false), None),
            End::Failure(asked) => (Some(true), asked),
            End::Dropped if drop_fails => (Some(true), None),
            End::Neutral | End::Dropped => (None, None),
        };
        let taken = call.watched && !self.watched.leave(call.slice);
        let current = call.generation == self.generation;
        if !current || (failed.is_none() && !call.probe && !slow && !taken) {
            return;
        }
        if self.state != CircuitState::Closed && self.keeps_closed(now) {
            return;
        }
        self.advance(now);
        if call.probe {
            self.finish_probe(call, failed, slow, asked, now);
            return;
        }
        if !(taken && self.amend(call.slice, failed)) && (slow || failed.is_some()) {
            self.add(failed == Some(true), slow, None);
        }
        if failed == Some(false) {
            self.run = 0;
        }
        self.decide(now, asked);
    }

    fn finish_probe(
        &mut self,
        call: Call,
        failed: Option<bool>,
        slow: bool,
        asked: Option<Nanos>,
        now: Nanos,
    ) {
        let place = self.probes.iter().position(|(id, _)| *id == call.id);
        // Late is late, whether or not another one has its place.
        if place.is_none_or(|place| self.probes.swap_remove(place).1 <= now) {
            return;
        }
        let Some(failed) = failed else {
            return;
        };
        self.probed.push((failed, slow));
        let (bad, enough) = self.verdict();
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
        if !self.keeps_closed(now) && self.state == CircuitState::HalfOpen {
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
        let known = self.count_figures().map_or(0, |(calls, ..)| calls);
        self.before = self.total - known;
        let old = (self.rules.time_window, self.width(), self.slot);
        let kept = |recent: Option<(u64, u64)>| recent.map_or(0, |(failures, _)| failures);
        let kept = kept(self.rules.recent).min(kept(rules.recent));
        let past = (self.failures.len() as u64).saturating_sub(kept);
        self.failures.drain(..usize::try_from(past).unwrap());
        if self.rules.threshold != rules.threshold {
            // Their end will count.
            self.watched.clear();
            self.look_at = 0;
        }
        self.rules = rules;
        let width = self.width();
        let moved = |slot: u64| ((slot + 1) * old.1 - 1).min(now) / width;
        for entry in &mut self.entries {
            let known =
                |slot: &u64| old.0.is_some() && rules.time_window.is_some() && slot + 10 > old.2;
            entry.slot = entry.slot.filter(known).map(moved);
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
