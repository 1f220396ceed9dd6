//! Random lives of a breaker, beside one that keeps a list of everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, CloseAfter, Counts, Dropped, Handle, Mode, Permit, Policy,
    Snapshot,
};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::key::{self, Key};
use tower_keep::test_util::ManualClock;
use tower_keep::{Ratio, Setup};

use crate::figures::{Figures, time};
use crate::random::Random;
use crate::reference::{Call, End, Reference, Rules};
use crate::support::full_scale;

const MS: u64 = 1_000_000;

/// Slow calls matter to some of them, now and then.
fn rules(random: &mut Random, slow: bool) -> Rules {
    let count_window = random.maybe(60, |r| r.between(1, 24));
    let most = count_window.unwrap_or(24);
    let wait = random.between(1, 50) * MS;
    let mut rules = Rules {
        failure_ratio: random.maybe(60, |r| r.between(1, 100)),
        minimum: random.between(1, most),
        slow_ratio: random.maybe(if slow { 75 } else { 0 }, |r| r.between(1, 100)),
        slow_minimum: random.between(1, most),
        threshold: random.between(1, 3000) * 10_000,
        consecutive: random.maybe(30, |r| r.between(1, 6)),
        recent: random.maybe(30, |r| {
            let failures = r.between(1, 5);
            (failures, failures + r.below(6))
        }),
        count_window,
        time_window: random.maybe(60, |r| r.between(20, 4000) * 100_000 + r.below(77)),
        wait,
        max_wait: wait * random.between(1, 9),
        max_retry_after: random.between(1, 200) * MS,
        probes: usize::try_from(random.between(1, 4)).unwrap(),
        close_after: match random.below(2) {
            0 => Ok(random.between(1, 4)),
            _ => Err(random.between(1, 6)),
        },
        probe_timeout: random.between(1, 40) * MS,
        ramp: random.maybe(30, |r| r.between(1, 60) * MS),
        dropped: u8::try_from(random.below(3)).unwrap(),
    };
    complete(&mut rules);
    rules
}

/// What is missing would be a default.
fn complete(rules: &mut Rules) {
    let ratios = rules.failure_ratio.is_some() || rules.slow_ratio.is_some();
    if !ratios && rules.consecutive.is_none() && rules.recent.is_none() {
        rules.consecutive = Some(3);
    }
    if ratios && rules.count_window.is_none() && rules.time_window.is_none() {
        rules.time_window = Some(100 * MS);
    }
}

fn policy(rules: &Rules) -> Policy {
    let small = |n: u64| u32::try_from(n).unwrap();
    let share = |hundredths: u64| Ratio::percent(small(hundredths));
    let mut builder = Policy::builder()
        .minimum_calls(small(rules.minimum))
        .slow_minimum_calls(small(rules.slow_minimum))
        .slow_threshold(time(rules.threshold))
        .open_wait(time(rules.wait))
        .max_open_wait(time(rules.max_wait))
        .max_retry_after(time(rules.max_retry_after))
        .jitter(Ratio::ZERO)
        .probes(u32::try_from(rules.probes).unwrap())
        .probe_timeout(time(rules.probe_timeout))
        .dropped([Dropped::ByAge, Dropped::Neutral, Dropped::Failure][usize::from(rules.dropped)])
        .close_after(match rules.close_after {
            Ok(successes) => CloseAfter::Successes(small(successes)),
            Err(of) => CloseAfter::Ratio(small(of)),
        });
    if let Some(hundredths) = rules.failure_ratio {
        builder = builder.failure_ratio(share(hundredths));
    }
    if let Some(hundredths) = rules.slow_ratio {
        builder = builder.slow_ratio(share(hundredths));
    }
    if let Some(failures) = rules.consecutive {
        builder = builder.consecutive(small(failures));
    }
    if let Some((failures, of)) = rules.recent {
        builder = builder.recent(small(failures), small(of));
    }
    if let Some(calls) = rules.count_window {
        builder = builder.count_window(small(calls));
    }
    if let Some(span) = rules.time_window {
        builder = builder.time_window(time(span));
    }
    if let Some(over) = rules.ramp {
        builder = builder.ramp(time(over));
    }
    builder.build().unwrap()
}

struct Life {
    random: Random,
    clock: ManualClock,
    handle: Handle,
    /// One for each circuit.
    references: Vec<Reference>,
    /// Keys whose policy is their own.
    own: Vec<bool>,
    keyed: bool,
    slow: bool,
    calls: Vec<(Permit, usize, Call)>,
    events: Option<Arc<AtomicU64>>,
    transitions: u64,
    /// By how much the clock has gone back, to be there again one day.
    back: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let slow = random.below(2) == 0;
        let rules = rules(&mut random, slow);
        let clock = ManualClock::new();
        let mut setup = Setup::new().with_clock(clock.clock());
        // Who is not heard may take a shorter way.
        let events = random.maybe(50, |_| Arc::new(AtomicU64::new(0)));
        if let Some(events) = events.clone() {
            setup = setup.with_listener(move |_: &Source<'_>, event: &Event<'_>| {
                if let Event::Transition(change) = event {
                    assert_ne!(change.from, change.to);
                    events.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let keyed = random.below(3) == 0;
        let layer = match keyed {
            true => CircuitBreakerLayer::keyed_with(policy(&rules), by(), setup).handle(),
            false => CircuitBreakerLayer::with(policy(&rules), setup).handle(),
        };
        let circuits = if keyed { 3 } else { 1 };
        let now = clock.now().as_nanos();
        let begin = |which: usize| {
            let mut reference = Reference::new(rules, now);
            // A circuit begins when its key is first seen.
            if keyed {
                let permit = layer.admit_for(&by(), &which).unwrap();
                let call = reference.admit(now).unwrap();
                permit.finish(Outcome::Neutral);
                reference.finish(call, End::Neutral, now);
            }
            reference
        };
        Self {
            references: (0..circuits).map(begin).collect(),
            handle: layer,
            own: vec![false; circuits],
            keyed,
            slow,
            random,
            clock,
            calls: Vec::new(),
            events,
            transitions: 0,
            back: 0,
        }
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos()
    }

    fn step(&mut self) {
        let states = |life: &Self| life.references.iter().map(|r| r.state).collect::<Vec<_>>();
        let before = states(self);
        match self.random.below(100) {
            0..40 => self.admit(),
            40..78 => self.finish(),
            78..93 => {
                let by = self.random.between(1, 20) * [1_000, MS, 3 * MS][self.pick(3)];
                self.clock.advance(time(by));
            }
            93 => {
                let far = self.random.between(1, 1000) * [MS, 1000 * MS][self.pick(2)];
                let by = [far, self.back][self.pick(2)];
                self.clock.advance(time(by));
            }
            94 => {
                let by = self.random.between(1, 200) * [1_000, MS, 30 * MS][self.pick(3)];
                // A good end may read no clock, and leave a ramp that is over: the list
                // would know better.
                for which in 0..self.references.len() {
                    if self.references[which].rules.ramp.is_some() {
                        self.look_at(which);
                    }
                }
                self.back = by;
                self.clock.rewind(time(by));
                // It is noticed when somebody looks.
                self.look();
            }
            95 => self.steer(),
            _ => self.look(),
        }
        // Half-open and back within one step: both are told.
        let changed = before.into_iter().zip(states(self));
        self.transitions += changed.filter(|(before, after)| before != after).count() as u64;
    }

    fn pick(&mut self, of: u64) -> usize {
        usize::try_from(self.random.below(of)).unwrap()
    }

    fn pick_circuit(&mut self) -> usize {
        self.pick(self.references.len() as u64)
    }

    fn admit(&mut self) {
        let (now, which) = (self.now(), self.pick_circuit());
        let got = match self.keyed {
            true => self.handle.admit_for(&by(), &which),
            false => self.handle.admit(),
        };
        match (got, self.references[which].admit(now)) {
            (Ok(permit), Ok(call)) => self.calls.push((permit, which, call)),
            (Err(refused), Err(wait)) => assert_eq!(refused.retry_after(), wait.map(time)),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }

    fn finish(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let at = self.pick(self.calls.len() as u64);
        let (permit, which, call) = self.calls.swap_remove(at);
        let now = self.now();
        let end = match self.random.below(10) {
            0..5 => End::Success,
            5..7 => End::Failure(None),
            7 => End::Failure(Some(self.random.between(0, 300) * MS)),
            8 => End::Neutral,
            _ => End::Dropped,
        };
        match end {
            End::Success => permit.finish(Outcome::Success),
            End::Failure(None) => permit.finish(Outcome::Failure(Failure::Transient)),
            End::Failure(asked) => {
                let retry_after = asked.map(time);
                permit.finish(Outcome::Failure(Failure::Overload { retry_after }));
            }
            End::Neutral => permit.finish(Outcome::Neutral),
            End::Dropped => drop(permit),
        }
        self.references[which].finish(call, end, now);
    }

    fn steer(&mut self) {
        let now = self.now();
        match self.random.below(9) {
            0 => {
                self.handle.reset();
                self.references
                    .iter_mut()
                    .for_each(|reference| reference.reset(now));
            }
            1 | 2 => {
                self.handle.drain_probes();
                self.references
                    .iter_mut()
                    .for_each(|reference| reference.drain(now));
            }
            3 | 4 => {
                let new = rules(&mut self.random, self.slow);
                self.handle.update(policy(&new));
                let followers = self.references.iter_mut().zip(&self.own);
                for (reference, _) in followers.filter(|(_, own)| !**own) {
                    reference.update(new, now);
                }
            }
            5 if self.keyed => {
                let which = self.pick_circuit();
                let new = rules(&mut self.random, self.slow);
                let set = self.handle.update_for(&by(), &which, Some(policy(&new)));
                assert!(set.is_ok());
                self.own[which] = true;
                self.references[which].update(new, now);
            }
            _ => {
                let modes = [
                    Mode::Normal,
                    Mode::Normal,
                    Mode::Dark,
                    Mode::ForcedOpen,
                    Mode::ForcedClosed,
                    Mode::Disabled,
                ];
                let mode = modes[self.pick(6)];
                self.handle.set_mode(mode);
                self.references
                    .iter_mut()
                    .for_each(|reference| reference.mode = mode);
            }
        }
        // Circuits of keys follow when somebody looks.
        for which in 0..self.references.len() {
            assert!(self.snapshot(which).is_some());
            self.references[which].advance(now);
        }
    }

    fn snapshot(&self, which: usize) -> Option<Snapshot> {
        match self.keyed {
            true => Some(self.handle.circuit(&by(), &which)?.snapshot()),
            false => Some(self.handle.snapshot()),
        }
    }

    /// Everything that can be seen is the same.
    fn look(&mut self) {
        for which in 0..self.references.len() {
            self.look_at(which);
        }
        let all = self.handle.snapshot();
        assert_eq!(all.in_flight, self.calls.len() as u64);
        if let Some(events) = &self.events {
            assert!(events.load(Ordering::Relaxed) >= self.transitions);
        }
        if self.keyed {
            let open = |reference: &&Reference| reference.state != CircuitState::Closed;
            let open = self.references.iter().filter(open).count();
            assert_eq!(self.handle.open_circuits().len(), open);
            assert_eq!(all.not_closed, open as u64);
        }
    }

    fn look_at(&mut self, which: usize) {
        let now = self.now();
        let Some(seen) = self.snapshot(which) else {
            return;
        };
        self.references[which].advance(now);
        let reference = &self.references[which];
        let figures = |counts: Counts| (counts.calls, counts.failures, counts.slow);
        assert_eq!(seen.state, reference.state);
        assert_eq!(seen.mode, reference.mode);
        assert_eq!(seen.trips_in_a_row, reference.trips);
        assert_eq!(seen.ramping, reference.ramp.is_some());
        assert_eq!(seen.since, time(now.saturating_sub(reference.since)));
        let left = |at: u64| time(at.saturating_sub(now));
        assert_eq!(seen.next_probe, reference.next_probe().map(left));
        assert_eq!(seen.probes, reference.probes(now));
        if seen.next_probe.is_none() {
            let expected: [Option<Figures>; 2] =
                [reference.count_figures(), reference.time_figures()];
            assert_eq!(seen.count_window.map(figures), expected[0]);
            assert_eq!(seen.time_window.map(figures), expected[1]);
            assert_eq!(seen.consecutive, reference.run);
        }
    }
}

fn by() -> impl Key<usize> {
    key::value(|which: &usize| Some(*which))
}

/// A million steps: calls, ends, drops, jumps of the clock, an operator's whims.
#[test]
fn it_agrees_with_a_list_of_everything() {
    let (mut opened, mut closed) = (0, 0);
    for seed in 1..=full_scale(1_000_000, 10_000) {
        let mut life = Life::new(seed);
        for step in 0..100 {
            let last = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.step()));
            if let Err(panic) = last {
                println!("seed {seed}, step {step}: {:#?}", life.references);
                std::panic::resume_unwind(panic);
            }
        }
        life.look();
        opened += life.handle.snapshot().trips;
        let ends = (0..life.references.len()).filter_map(|which| life.snapshot(which));
        closed += ends
            .filter(|end| end.opened.is_some() && end.next_probe.is_none())
            .count();
    }
    // It must not agree by doing nothing.
    assert!(opened > 5_000 && closed > 50, "{opened} {closed}");
}
