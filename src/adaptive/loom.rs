//! The end of a window in every interleaving: one closes it, and every call is
//! in exactly one window, its time with it.

use std::time::Duration;

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::meter::{Ledger, Meter, Sums};
use super::policy::Policy;
use crate::clock::Tick;
use crate::kernel::counter::Counters;

const TOOK: Duration = Duration::from_micros(1_024);

struct Bench {
    meter: Meter,
    timed: Counters<1>,
    policy: Policy,
    /// With the windows that were closed: samples, and their time in all.
    ledger: Mutex<(Ledger, Vec<(u64, Duration)>)>,
}

impl Bench {
    fn new() -> Arc<Self> {
        let policy = Policy::builder().min_samples(1).build().unwrap();
        let start = Tick::ZERO;
        Arc::new(Self {
            meter: Meter::new(&policy, start),
            timed: Counters::with_owned(0),
            policy,
            ledger: Mutex::new((Ledger::new(start), Vec::new())),
        })
    }

    /// A call ends; whether it closed a window.
    fn end(&self, now: Tick) -> bool {
        let timed = self.meter.begin(|| now.saturating_sub(TOOK));
        self.timed
            .add(0, self.meter.word(timed, true, now).unwrap());
        let over = self.meter.is_over(now);
        if over {
            let mut ledger = self.ledger.lock().unwrap();
            let sums = Sums {
                timed: self.timed.sum(0),
                ..Sums::default()
            };
            let (ledger, windows) = &mut *ledger;
            if let Some(window) = ledger.close(&self.meter, &self.policy, 1, sums, now) {
                let time = window.mean * u32::try_from(window.samples).unwrap();
                windows.push((window.samples, time));
            }
        }
        over
    }
}

fn after(windows: u32) -> Tick {
    Tick::ZERO.saturating_add(Duration::from_millis(100) * windows)
}

fn explore(bound: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(f);
}

#[test]
fn loom_adaptive_one_closes_a_window() {
    explore(3, || {
        let bench = Bench::new();
        let other = {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.end(after(1)))
        };
        let mine = bench.end(after(1));
        assert!(
            mine != other.join().unwrap(),
            "one window, one who closes it"
        );
    });
}

#[test]
fn loom_adaptive_every_call_is_in_one_window() {
    explore(2, || {
        let bench = Bench::new();
        let others = [1, 2].map(|windows| {
            let bench = Arc::clone(&bench);
            thread::spawn(move || bench.end(after(windows)))
        });
        bench.end(after(1));
        for other in others {
            other.join().unwrap();
        }
        bench.end(after(9));
        let ledger = bench.ledger.lock().unwrap();
        let (calls, time) = ledger.1.iter().fold((0, Duration::ZERO), |sum, window| {
            (sum.0 + window.0, sum.1 + window.1)
        });
        assert_eq!((calls, time), (4, 4 * TOOK), "{:?}", ledger.1);
    });
}
