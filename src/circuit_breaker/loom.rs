//! Circuits in every interleaving: one event for each transition, no more probes
//! than permitted, no end lost between a slot and the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use super::circuit::{Circuit, TRIPS, Token};
use super::policy::{CloseAfter, Policy};
use super::state::Common;
use crate::classify::{Failure, Outcome};
use crate::clock::ManualClock;
use crate::event::{CircuitState, Event, Source};
use crate::kernel::guard::Settle;
use crate::policy::Ratio;
use crate::registry::Setup;

const BAD: Outcome = Outcome::Failure(Failure::Transient);

fn explore(bound: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(f);
}

struct Bench {
    circuit: Circuit,
    time: ManualClock,
    told: std::sync::Arc<AtomicU64>,
}

impl Bench {
    fn new(policy: super::PolicyBuilder) -> Arc<Self> {
        let time = ManualClock::new();
        let told = std::sync::Arc::new(AtomicU64::new(0));
        let count = std::sync::Arc::clone(&told);
        let listener = move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Transition(_) = event {
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let setup = Setup::new()
            .with_clock(time.clock())
            .with_listener(listener);
        let policy = policy.jitter(Ratio::ZERO).build().unwrap();
        let common = Common::single(policy, setup);
        let circuit = Circuit::new(&common, || policy, None, time.now());
        Arc::new(Self {
            circuit,
            time,
            told,
        })
    }

    fn admit(&self) -> Option<Token> {
        let now = Some(self.time.now());
        self.circuit.admit(self.circuit.word(), now).ok()
    }

    fn finish(&self, token: Token, outcome: Outcome) {
        self.circuit.settle(&token, outcome);
    }

    fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    fn state(&self) -> CircuitState {
        self.circuit.status(self.time.now()).state
    }
}

fn policy() -> super::PolicyBuilder {
    Policy::builder()
        .consecutive(1)
        .open_wait(Duration::from_secs(1))
}

fn with_threads(bench: &Arc<Bench>, threads: usize, work: impl Fn(&Bench) + Copy + Send + 'static) {
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let bench = Arc::clone(bench);
            thread::spawn(move || work(&bench))
        })
        .collect();
    work(bench);
    for other in others {
        other.join().unwrap();
    }
}

/// Fault 34: three that fail at once open it once.
#[test]
fn loom_breaker_trip_once() {
    explore(2, || {
        let bench = Bench::new(policy());
        with_threads(&bench, 3, |bench| {
            if let Some(token) = bench.admit() {
                bench.finish(token, BAD);
            }
        });
        assert_eq!((bench.told(), bench.state()), (1, CircuitState::Open));
        assert_eq!(bench.circuit.counters.sum(TRIPS), 1);
    });
}

/// Fault 34: three find that the wait is over; one transition, one probe.
#[test]
fn loom_breaker_half_open_once() {
    explore(2, || {
        let bench = Bench::new(policy().probes(1));
        let token = bench.admit().unwrap();
        bench.finish(token, BAD);
        bench.time.advance(Duration::from_secs(1));
        let probes = std::sync::Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (bench, probes) = (Arc::clone(&bench), std::sync::Arc::clone(&probes));
                thread::spawn(move || {
                    probes.fetch_add(bench.admit().is_some().into(), Ordering::Relaxed);
                })
            })
            .collect();
        probes.fetch_add(bench.admit().is_some().into(), Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(probes.load(Ordering::Relaxed), 1);
        assert_eq!((bench.told(), bench.state()), (2, CircuitState::HalfOpen));
    });
}

/// Fault 39: a probe that is dropped while others ask gives its place back once.
#[test]
fn loom_breaker_probe_cancel_vs_settle() {
    explore(2, || {
        let policy = policy().probes(1).close_after(CloseAfter::Successes(2));
        let bench = Bench::new(policy);
        let token = bench.admit().unwrap();
        bench.finish(token, BAD);
        bench.time.advance(Duration::from_secs(1));
        let probe = bench.admit().unwrap();
        let other = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || {
                let token = bench.admit();
                if let Some(token) = token {
                    bench.finish(token, Outcome::Success);
                }
            })
        };
        bench.finish(probe, Outcome::Cancelled);
        other.join().unwrap();
        assert_eq!(bench.state(), CircuitState::HalfOpen);
        let probe = bench.admit().expect("a place is free");
        assert!(bench.admit().is_none(), "and no second one");
        bench.finish(probe, Outcome::Neutral);
    });
}

/// Fault 42: a late end, while it opens, closes and counts again.
#[test]
fn loom_breaker_late_result() {
    explore(2, || {
        let bench = Bench::new(policy().probes(1).close_after(CloseAfter::Successes(1)));
        let (late, token) = (bench.admit().unwrap(), bench.admit().unwrap());
        let other = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.finish(late, BAD))
        };
        bench.finish(token, BAD);
        bench.time.advance(Duration::from_secs(1));
        if let Some(probe) = bench.admit() {
            bench.finish(probe, Outcome::Success);
        }
        other.join().unwrap();
        assert_eq!((bench.told(), bench.state()), (3, CircuitState::Closed));
        assert_eq!(bench.circuit.status(bench.time.now()).run, 0);
    });
}

/// Fault 51: an eviction against somebody who comes, fails and goes.
#[test]
fn loom_breaker_evict_vs_use() {
    explore(3, || {
        let uses = Arc::new(super::keys::Uses::new(true));
        let failures = Arc::new(loom::sync::atomic::AtomicU64::new(0));
        let other = {
            let (uses, failures) = (Arc::clone(&uses), Arc::clone(&failures));
            thread::spawn(move || {
                let entered = uses.enter();
                if entered {
                    failures.fetch_add(1, Ordering::AcqRel);
                    uses.leave();
                }
                entered
            })
        };
        let retired = uses.retire(|| failures.load(Ordering::Acquire) == 0);
        let entered = other.join().unwrap();
        assert!(!(retired && entered), "what it did is lost");
        assert_eq!(uses.enter(), !retired);
    });
}

/// Fault 33: good ends on their own stripes, while a bad one moves the slots on.
#[test]
fn loom_window_rotate_vs_record() {
    explore(2, || {
        let window = Duration::from_secs(10);
        let policy = Policy::builder()
            .time_window(window)
            .failure_ratio(Ratio::ONE);
        let bench = Bench::new(policy.minimum_calls(100));
        let tokens = [(); 4].map(|()| bench.admit().unwrap());
        bench.finish(tokens[0], Outcome::Success);
        bench.time.advance(Duration::from_secs(1));
        let others = [(tokens[1], Outcome::Success), (tokens[2], BAD)].map(|(token, end)| {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.finish(token, end))
        });
        bench.finish(tokens[3], Outcome::Success);
        for other in others {
            other.join().unwrap();
        }
        let counts = bench.circuit.status(bench.time.now()).time.unwrap();
        assert_eq!((counts.calls, counts.failures), (4, 1));
    });
}

/// Another threshold, while somebody looks for calls that last too long and one of them
/// ends: each call is one entry, and whoever comes then is looked for by the new one.
#[test]
fn loom_breaker_update_vs_sweep() {
    explore(2, || {
        let timed = |threshold| {
            let policy = Policy::builder().time_window(Duration::from_secs(100));
            let policy = policy.slow_ratio(Ratio::ONE).slow_minimum_calls(100);
            policy.slow_threshold(Duration::from_secs(threshold))
        };
        let bench = Bench::new(timed(16));
        let pend = |mut token: Token| {
            bench.circuit.pend(&mut token);
            token
        };
        let old = pend(bench.admit().unwrap());
        bench.time.advance(Duration::from_secs(30));
        let others = [
            {
                let bench = Arc::clone(&bench);
                thread::spawn(move || {
                    let policy = timed(32).jitter(Ratio::ZERO).build().unwrap();
                    bench.circuit.follow(|| policy);
                })
            },
            {
                let bench = Arc::clone(&bench);
                thread::spawn(move || {
                    let mut young = bench.admit().unwrap();
                    bench.circuit.pend(&mut young);
                    bench.finish(young, Outcome::Success);
                })
            },
        ];
        bench.finish(old, BAD);
        for other in others {
            other.join().unwrap();
        }
        let counts = bench.circuit.status(bench.time.now()).time.unwrap();
        assert_eq!((counts.calls, counts.failures), (2, 1));
        assert!(counts.slow <= 1);
        let _hangs = pend(bench.admit().unwrap());
        bench.time.advance(Duration::from_secs(40));
        let now = bench.admit().unwrap();
        bench.finish(now, Outcome::Success);
        let after = bench.circuit.status(bench.time.now()).time.unwrap();
        assert_eq!((after.calls, after.slow), (4, counts.slow + 1));
    });
}
