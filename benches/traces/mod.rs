//! Adaptive limits before services whose capacity is known, in virtual time.

pub(crate) mod fleet;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use tower_keep::Setup;
use tower_keep::adaptive::{AdaptiveLayer, Permit, Policy, Rule};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::clock::{ManualClock, Tick};

/// The rules that a policy can name.
pub(crate) const RULES: [(&str, Rule); 4] = [
    ("gradient2", Rule::Gradient2),
    ("gradient", Rule::Gradient),
    ("vegas", Rule::Vegas),
    ("aimd", Rule::Aimd),
];

/// What a window lasts at the least.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// How a service behaves, from a window on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) from: u64,
    /// Calls it serves at once; as many more wait inside, the rest is refused as
    /// an overload.
    pub(crate) workers: usize,
    pub(crate) service: Duration,
    /// Exponential service times instead of constant ones.
    pub(crate) noisy: Noise,
    /// Of a hundred calls so many fail at once, before they are served.
    pub(crate) failing: u64,
    /// Requests a second.
    pub(crate) offered: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noise {
    None,
    Exponential,
}

/// What happens in the course of time.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) phases: Vec<Phase>,
    pub(crate) windows: u64,
    /// The windows that count are those from here.
    pub(crate) counted_from: u64,
}

const FLAT: Phase = Phase {
    from: 0,
    workers: 50,
    service: Duration::from_millis(10),
    noisy: Noise::None,
    failing: 0,
    offered: 7_500,
};

pub(crate) fn traces() -> Vec<Trace> {
    let trace = |name, phases, windows, counted_from| Trace {
        name,
        phases,
        windows,
        counted_from,
    };
    let half = Phase {
        from: 100,
        workers: 25,
        ..FLAT
    };
    let slower = Phase {
        from: 100,
        service: Duration::from_millis(30),
        ..FLAT
    };
    let noisy = Phase {
        noisy: Noise::Exponential,
        ..FLAT
    };
    let failing = Phase {
        from: 100,
        failing: 40,
        offered: 12_500,
        ..FLAT
    };
    let idle = Phase {
        offered: 500,
        ..FLAT
    };
    vec![
        trace("flat", vec![FLAT], 200, 100),
        trace("step: half of the capacity", vec![FLAT, half], 300, 200),
        trace("step: three times as slow", vec![FLAT, slower], 300, 200),
        trace("noisy", vec![noisy], 200, 100),
        trace("failing fast", vec![FLAT, failing], 300, 200),
        trace("idle", vec![idle], 200, 100),
    ]
}

/// What a run has shown.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The limit at the end of each window.
    pub(crate) limits: Vec<u32>,
    /// Successes a second in the windows that count.
    pub(crate) goodput: f64,
    /// Their mean response time, as a multiple of the service time.
    pub(crate) slowdown: f64,
}

/// A stream of numbers that look random.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    /// Above 0, at most 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// A service with so many workers, which take their calls in order.
struct Service {
    /// When each worker is free.
    free: BinaryHeap<Reverse<u64>>,
}

impl Service {
    /// When a call that begins now ends, unless the service is full.
    fn call(&mut self, phase: &Phase, now: u64, random: &mut Random) -> (u64, Outcome) {
        if random.next() % 100 < phase.failing {
            return (now + 1, Outcome::Failure(Failure::Transient));
        }
        let Some(Reverse(free)) = self.free.pop() else {
            return (now + 1, Outcome::Failure(Failure::Permanent));
        };
        let wait = free.saturating_sub(now);
        if wait > nanos(phase.service) {
            self.free.push(Reverse(free));
            let full = Failure::Overload { retry_after: None };
            return (now + 1, Outcome::Failure(full));
        }
        let took = match phase.noisy {
            Noise::None => phase.service,
            Noise::Exponential => phase.service.mul_f64(-random.share().ln()),
        };
        let end = free.max(now) + nanos(took);
        self.free.push(Reverse(end));
        (end, Outcome::Success)
    }

    fn staff(&mut self, workers: usize) {
        let mut free = std::mem::take(&mut self.free).into_sorted_vec();
        free.reverse();
        free.resize(workers, Reverse(0));
        self.free = free.into();
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A call that is in the service.
struct InService {
    end: u64,
    start: u64,
    outcome: Outcome,
    permit: Permit,
}

/// The one that ends first is the greatest.
impl Ord for InService {
    fn cmp(&self, other: &Self) -> Ordering {
        other.end.cmp(&self.end)
    }
}

impl PartialOrd for InService {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for InService {
    fn eq(&self, other: &Self) -> bool {
        self.end == other.end
    }
}

impl Eq for InService {}

/// Runs a trace with this limit.
#[allow(clippy::cast_precision_loss)] // small numbers
pub(crate) fn run(trace: &Trace, policy: Policy) -> Run {
    let time = ManualClock::new();
    let handle = AdaptiveLayer::with(policy, Setup::new().with_clock(time.clock())).handle();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut service = Service {
        free: BinaryHeap::new(),
    };
    let mut calls: BinaryHeap<InService> = BinaryHeap::new();
    let (mut ended, mut took) = (0_u64, 0_u64);
    let mut shown = Run::default();
    let mut now = 1_u64;
    let mut staffed = 0;
    for window in 0..trace.windows {
        let Some(phase) = trace.phases.iter().rfind(|phase| phase.from <= window) else {
            continue;
        };
        if staffed != phase.workers {
            staffed = phase.workers;
            service.staff(staffed);
        }
        let end = now + nanos(WINDOW);
        let step = 1_000_000_000 / phase.offered;
        while now < end {
            while calls.peek().is_some_and(|call| call.end <= now) {
                let Some(call) = calls.pop() else { break };
                time.set(Tick::from_nanos(call.end));
                if call.outcome == Outcome::Success && window >= trace.counted_from {
                    ended += 1;
                    took += call.end - call.start;
                }
                call.permit.finish(call.outcome);
            }
            time.set(Tick::from_nanos(now));
            if let Ok(permit) = handle.admit() {
                let (end, outcome) = service.call(phase, now, &mut random);
                calls.push(InService {
                    end,
                    start: now,
                    outcome,
                    permit,
                });
            }
            now += step;
        }
        shown.limits.push(handle.snapshot().limit);
    }
    let counted = (trace.windows - trace.counted_from) as f64 * WINDOW.as_secs_f64();
    let service = trace.phases.last().map_or(WINDOW, |phase| phase.service);
    shown.goodput = ended as f64 / counted;
    shown.slowdown = took as f64 / ended.max(1) as f64 / nanos(service) as f64;
    shown
}

/// The most that calls may be slowed down by a limit that is any good.
pub(crate) const SLOWEST: f64 = 2.0;

/// The fixed limit that serves most, of those that do not make calls too slow.
pub(crate) fn best_fixed(trace: &Trace) -> (u32, f64) {
    let limits = [20, 25, 40, 50, 60, 75];
    let run_with = |limit| {
        let run = run(trace, fixed(limit));
        let goodput = if run.slowdown <= SLOWEST {
            run.goodput
        } else {
            0.0
        };
        (limit, goodput)
    };
    let runs = limits.map(run_with);
    let best = runs.into_iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
    best.unwrap_or((0, 0.0))
}

fn fixed(limit: u32) -> Policy {
    let policy = Policy::builder().min_limit(limit).max_limit(limit);
    policy.build().expect("a policy")
}

/// The policy of a rule, from the same start on every machine.
pub(crate) fn ruled(rule: Rule) -> Policy {
    let policy = Policy::builder().rule(rule).initial_limit(8).min_limit(1);
    policy.window(WINDOW).build().expect("a policy")
}
