//! The kinds that refuse a share, beside a list of all that was ever evidence.

use tower_keep::Ratio;
use tower_keep::circuit_breaker::{Handle, Kind, Mode, Permit, Policy};
use tower_keep::classify::Outcome;
use tower_keep::test_util::ManualClock;

use crate::behaviour::{BAD, breaker};
use crate::figures::time;
use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Asked,
    Forgiven,
    Good,
    Lost,
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    kind: Kind,
    minimum: u32,
    accept: f64,
    cap: f64,
    window: u64,
}

struct Life {
    random: Random,
    clock: ManualClock,
    handle: Handle,
    rules: Rules,
    list: Vec<(u64, Evidence)>,
    mode: Mode,
    generation: u64,
    /// With the generation of those that are evidence when they end, and the slot of
    /// their beginning.
    calls: Vec<(Permit, Option<u64>, u64)>,
}

fn policy(rules: &Rules) -> tower_keep::circuit_breaker::PolicyBuilder {
    let share = |share| Ratio::new(share).unwrap();
    Policy::builder()
        .kind(rules.kind)
        .minimum_calls(rules.minimum)
        .accept_share(share(rules.accept))
        .max_refused(share(rules.cap))
        .time_window(time(rules.window))
}

fn rules(random: &mut Random, window: u64) -> Rules {
    let kinds = [
        Kind::ClientThrottle,
        Kind::AdmissionControl { aggression: 3 },
        Kind::Ewma,
    ];
    let hundredths = |n: u64| f64::from(u32::try_from(n).unwrap()) / 100.0;
    Rules {
        kind: kinds[usize::try_from(random.below(3)).unwrap()],
        minimum: u32::try_from(random.between(1, 30)).unwrap(),
        accept: hundredths(random.between(1, 100)),
        cap: hundredths(random.between(0, 100)),
        window,
    }
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let window = random.between(10, 5_000) * 1_000;
        let rules = rules(&mut random, window);
        let (clock, handle) = breaker(policy(&rules));
        Self {
            random,
            clock,
            handle,
            rules,
            list: Vec::new(),
            mode: Mode::Normal,
            generation: 0,
            calls: Vec::new(),
        }
    }

    fn slot(&self) -> u64 {
        self.clock.now().as_nanos() / self.rules.window.div_ceil(10)
    }

    fn add(&mut self, evidence: Evidence) {
        self.list.push((self.slot(), evidence));
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.admit(),
            45..85 => self.finish(),
            85..95 => {
                let by = self.random.below(self.rules.window / 4);
                self.clock.advance(time(by));
            }
            95 => self.steer(),
            _ => {}
        }
        self.look();
    }

    fn admit(&mut self) {
        let bypassed = self.handle.snapshot().bypassed;
        let asks = !matches!(self.mode, Mode::ForcedOpen | Mode::Disabled);
        let got = self.handle.admit();
        if asks {
            self.add(Evidence::Asked);
        }
        let outside = self.mode == Mode::Dark && self.handle.snapshot().bypassed > bypassed;
        let counts = asks && !outside;
        if let Ok(permit) = got {
            let generation = counts.then_some(self.generation);
            self.calls.push((permit, generation, self.slot()));
        }
    }

    fn finish(&mut self) {
        let Some(at) = (self.calls.len() as u64).checked_sub(1) else {
            return;
        };
        let at = usize::try_from(self.random.below(at + 1)).unwrap();
        let (permit, generation, begun) = self.calls.swap_remove(at);
        let (outcome, evidence) = match self.random.below(10) {
            0..4 => (Outcome::Success, Evidence::Good),
            4..8 => (BAD, Evidence::Lost),
            8 => (Outcome::Neutral, Evidence::Forgiven),
            // Young enough to say nothing.
            _ => (Outcome::Cancelled, Evidence::Forgiven),
        };
        permit.finish(outcome);
        if generation == Some(self.generation) {
            let slot = match evidence {
                Evidence::Forgiven => begun,
                _ => self.slot(),
            };
            self.list.push((slot, evidence));
        }
    }

    fn steer(&mut self) {
        match self.random.below(4) {
            0 => {
                self.handle.reset();
                self.list.clear();
                self.generation += 1;
            }
            1 => {
                let new = rules(&mut self.random, self.rules.window);
                self.handle.update(policy(&new).build().unwrap());
                if new.kind != self.rules.kind {
                    self.list.clear();
                    self.generation += 1;
                }
                self.rules = new;
            }
            _ => {
                let modes = [
                    Mode::Normal,
                    Mode::Dark,
                    Mode::ForcedOpen,
                    Mode::ForcedClosed,
                    Mode::Disabled,
                ];
                self.mode = modes[usize::try_from(self.random.below(5)).unwrap()];
                self.handle.set_mode(self.mode);
            }
        }
    }

    /// All that counts, and the good part of it.
    fn figures(&self) -> (f64, f64) {
        let now = self.slot();
        let weight = |slot: u64| match self.rules.kind {
            Kind::Ewma => (-0.1 * f64::from(u32::try_from(now - slot).unwrap())).exp(),
            _ => f64::from(u8::from(slot + 10 > now)),
        };
        let sum = |which: Evidence| -> f64 {
            let all = self.list.iter().filter(|(_, evidence)| *evidence == which);
            all.map(|(slot, _)| weight(*slot)).sum()
        };
        let good = sum(Evidence::Good);
        let all = match self.rules.kind {
            Kind::ClientThrottle => (sum(Evidence::Asked) - sum(Evidence::Forgiven)).max(0.0),
            _ => good + sum(Evidence::Lost),
        };
        (all, good)
    }

    fn look(&mut self) {
        let seen = self.handle.snapshot();
        let (all, good) = self.figures();
        let Rules {
            accept,
            cap,
            minimum,
            ..
        } = self.rules;
        let excess = ((all - good / accept) / (all + 1.0)).max(0.0);
        let share = match self.rules.kind {
            Kind::Ewma if all > 0.0 => (1.0 - good / all / accept).max(0.0),
            Kind::AdmissionControl { .. } => excess.cbrt(),
            _ => excess,
        };
        // At the very minimum the last bit of a sum decides.
        if (all - f64::from(minimum)).abs() > 1e-6 {
            let share = if all < f64::from(minimum) {
                0.0
            } else {
                share.min(cap)
            };
            let off = (seen.refused_share - share).abs();
            assert!(off < 1e-6, "{} is not {share}", seen.refused_share);
        }
        let window = seen.window();
        let near = |count: u64, figure: f64| {
            (f64::from(u32::try_from(count).unwrap()) - figure.max(0.0)).abs() < 0.5 + 1e-6
        };
        assert!(near(window.calls, all), "{window:?}, not {all}");
        assert!(
            near(window.failures, all - good),
            "{window:?}, {all} {good}"
        );
        assert_eq!(seen.in_flight, self.calls.len() as u64);
    }
}

/// Calls, ends, drops, an operator's whims.
#[test]
fn a_share_agrees_with_a_list_of_all_evidence() {
    let mut refused = 0;
    for seed in 1..=150 {
        let mut life = Life::new(seed);
        for step in 0..600 {
            let last = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.step()));
            if let Err(panic) = last {
                println!("seed {seed}, step {step}: {:?} {:?}", life.rules, life.mode);
                std::panic::resume_unwind(panic);
            }
        }
        let seen = life.handle.snapshot();
        refused += seen.rejected;
    }
    assert!(refused > 1_000, "{refused}");
}
