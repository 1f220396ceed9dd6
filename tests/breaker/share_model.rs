//! The kinds that refuse a share, beside a list of all that was ever evidence.

use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, Handle, Kind, Mode, Permit, Policy, Snapshot,
};
use tower_keep::classify::Outcome;
use tower_keep::event::{Event, Source};
use tower_keep::key::{self, Key};
use tower_keep::test_util::ManualClock;
use tower_keep::{Ratio, Setup};

use crate::behaviour::BAD;
use crate::figures::time;
use crate::random::Random;
use crate::support::full_scale;

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
    keyed: bool,
    /// One for each circuit.
    lists: Vec<Vec<(u64, Evidence)>>,
    /// The latest that somebody has looked at.
    slot: u64,
    mode: Mode,
    generation: u64,
    calls: Vec<Call>,
}

struct Call {
    permit: Permit,
    which: usize,
    /// If its end is evidence.
    generation: Option<u64>,
    /// When it began.
    at: u64,
}

fn by() -> impl Key<usize> {
    key::value(|which: &usize| Some(*which))
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
        let clock = ManualClock::new();
        let mut setup = Setup::new().with_clock(clock.clock());
        if random.below(2) == 0 {
            setup = setup.with_listener(|_: &Source<'_>, _: &Event<'_>| {});
        }
        let keyed = random.below(3) == 0;
        let policy = policy(&rules).build().unwrap();
        let handle = match keyed {
            true => CircuitBreakerLayer::keyed_with(policy, by(), setup).handle(),
            false => CircuitBreakerLayer::with(policy, setup).handle(),
        };
        let circuits = if keyed { 3 } else { 1 };
        let mut life = Self {
            random,
            slot: clock.now().as_nanos() / rules.window.div_ceil(10),
            clock,
            handle,
            rules,
            keyed,
            lists: vec![Vec::new(); circuits],
            mode: Mode::Normal,
            generation: 0,
            calls: Vec::new(),
        };
        (0..circuits).for_each(|which| life.admit(which));
        life
    }

    fn now(&self) -> u64 {
        self.clock.now().as_nanos() / self.rules.window.div_ceil(10)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => {
                let which = self.pick(self.lists.len());
                self.admit(which);
            }
            45..84 if !self.calls.is_empty() => self.finish(),
            84..94 => {
                let by = self.random.below(self.rules.window / 4);
                self.clock.advance(time(by));
            }
            94 => {
                let by = self.random.below(self.rules.window * 2);
                self.clock.rewind(time(by));
            }
            95 => self.steer(),
            _ => {}
        }
        // A window further ahead than it is long forgets.
        if self.slot >= self.now() + 10 {
            self.forget();
        }
        self.slot = self.slot.max(self.now());
        (0..self.lists.len()).for_each(|which| self.look(which));
        assert_eq!(self.handle.snapshot().in_flight, self.calls.len() as u64);
    }

    fn pick(&mut self, of: usize) -> usize {
        usize::try_from(self.random.below(of as u64)).unwrap()
    }

    fn forget(&mut self) {
        self.lists.iter_mut().for_each(Vec::clear);
        self.slot = self.now();
    }

    fn begin_anew(&mut self) {
        self.forget();
        self.generation += 1;
    }

    fn admit(&mut self, which: usize) {
        let bypassed = self.handle.snapshot().bypassed;
        let asks = !matches!(self.mode, Mode::ForcedOpen | Mode::Disabled);
        let got = match self.keyed {
            true => self.handle.admit_for(&by(), &which),
            false => self.handle.admit(),
        };
        if asks {
            self.lists[which].push((self.slot, Evidence::Asked));
        }
        let outside = self.mode == Mode::Dark && self.handle.snapshot().bypassed > bypassed;
        let counts = asks && !outside;
        if let Ok(permit) = got {
            self.calls.push(Call {
                permit,
                which,
                generation: counts.then_some(self.generation),
                at: self.now(),
            });
        }
    }

    fn finish(&mut self) {
        let at = self.pick(self.calls.len());
        let call = self.calls.swap_remove(at);
        let (outcome, evidence) = match self.random.below(10) {
            0..4 => (Outcome::Success, Evidence::Good),
            4..8 => (BAD, Evidence::Lost),
            8 => (Outcome::Neutral, Evidence::Forgiven),
            // Young enough to say nothing.
            _ => (Outcome::Cancelled, Evidence::Forgiven),
        };
        call.permit.finish(outcome);
        if call.generation != Some(self.generation) {
            return;
        }
        let slot = match evidence {
            Evidence::Forgiven => call.at,
            _ => self.slot,
        };
        // What is yet to come was forgotten.
        if slot <= self.slot {
            self.lists[call.which].push((slot, evidence));
        }
    }

    fn steer(&mut self) {
        match self.random.below(4) {
            0 => {
                self.handle.reset();
                self.begin_anew();
            }
            1 => {
                let new = rules(&mut self.random, self.rules.window);
                self.handle.update(policy(&new).build().unwrap());
                if new.kind != self.rules.kind {
                    self.begin_anew();
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
                self.mode = modes[self.pick(5)];
                self.handle.set_mode(self.mode);
            }
        }
    }

    fn snapshot(&self, which: usize) -> Snapshot {
        match self.keyed {
            true => self.handle.circuit(&by(), &which).unwrap().snapshot(),
            false => self.handle.snapshot(),
        }
    }

    /// All that counts, and the good part of it.
    fn figures(&self, which: usize) -> (f64, f64) {
        let now = self.slot;
        let weight = |slot: u64| match self.rules.kind {
            Kind::Ewma => (-0.1 * f64::from(u32::try_from(now - slot).unwrap())).exp(),
            _ => f64::from(u8::from(slot + 10 > now)),
        };
        let sum = |kind: Evidence| -> f64 {
            let all = self.lists[which]
                .iter()
                .filter(|(_, evidence)| *evidence == kind);
            all.map(|(slot, _)| weight(*slot)).sum()
        };
        let good = sum(Evidence::Good);
        let all = match self.rules.kind {
            Kind::ClientThrottle => (sum(Evidence::Asked) - sum(Evidence::Forgiven)).max(0.0),
            _ => good + sum(Evidence::Lost),
        };
        (all, good)
    }

    fn look(&self, which: usize) {
        let seen = self.snapshot(which);
        let (all, good) = self.figures(which);
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
    }
}

/// Calls, ends, drops, jumps of the clock, an operator's whims.
#[test]
fn a_share_agrees_with_a_list_of_all_evidence() {
    let mut refused = 0;
    for seed in 1..=full_scale(20_000, 300) {
        let mut life = Life::new(seed);
        for step in 0..300 {
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
