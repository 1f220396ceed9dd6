//! What is cached of a group, in every interleaving of who decides and who asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use super::about::About;
use super::policy::{Check, Group};
use super::state::{Entry, State};
use crate::clock::ManualClock;
use crate::event::{Event, Source};
use crate::kernel::core::Core;
use crate::probe::{End, Finding, Observation, Schedule, Status};
use crate::registry::Setup;

fn explore(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(f);
}

/// One check, of which the first answer is believed.
struct Bench {
    state: State,
    time: ManualClock,
    /// Of changes, how many, and the sum of their numbers.
    told: std::sync::Arc<[AtomicU64; 2]>,
}

impl Bench {
    fn new() -> Arc<Self> {
        let time = ManualClock::new();
        let told = std::sync::Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let count = std::sync::Arc::clone(&told);
        let listener = move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Checked(change) = event {
                count[0].fetch_add(1, Ordering::Relaxed);
                count[1].fetch_add(change.number, Ordering::Relaxed);
            }
        };
        let setup = Setup::new()
            .with_clock(time.clock())
            .with_listener(listener);
        let (core, _) = Core::new("health", setup);
        let schedule = Schedule::builder().rise(1).fall(1).build().unwrap();
        let check = Check::new("db", std::future::pending::<()>).schedule(schedule);
        let entry = Entry::new(&check, time.now()).unwrap();
        let state = State::new(core, About::default(), Box::new([entry]));
        Arc::new(Self { state, time, told })
    }

    fn record(&self, finding: Finding) {
        let now = self.time.now();
        self.state.record(
            0,
            Observation {
                finding,
                end: End::Answered,
                started: now,
                finished: now,
            },
        );
    }

    fn readiness(&self) -> Status {
        self.state.status(Some(Group::Readiness))
    }

    /// As it is decided now, of everything.
    fn afresh(&self) -> Status {
        self.state.status_without(Some(Group::Readiness), |_| false)
    }

    /// Every change has been told once: their numbers leave none out.
    fn assert_all_told(&self) {
        let [times, sum] = [0, 1].map(|of| self.told[of].load(Ordering::Relaxed));
        assert_eq!(sum, times * (times + 1) / 2, "{times}");
    }
}

/// Two decide at once: what is cached is what the last of them has decided, of both.
#[test]
fn loom_what_is_cached_is_what_was_decided_last() {
    explore(|| {
        let bench = Bench::new();
        bench.record(Finding::pass());
        assert_eq!(bench.readiness(), Status::Pass);
        let other = Arc::clone(&bench);
        let checks = thread::spawn(move || other.record(Finding::fail("down")));
        bench.state.withdraw(Some("scripted".into()));
        assert_eq!(bench.readiness(), Status::Fail);
        bench.state.withdraw(None);
        checks.join().unwrap();
        assert_eq!(bench.readiness(), Status::Fail);
        assert_eq!(bench.afresh(), Status::Fail);
        bench.assert_all_told();
    });
}

/// Who asks while something becomes stale or is heard of gets the one or the other, and
/// the next one what holds.
#[test]
fn loom_what_is_stale_and_heard_of_again_is_not_stale() {
    explore(|| {
        let bench = Bench::new();
        bench.record(Finding::pass());
        bench.time.advance(Duration::from_secs(3_600));
        let other = Arc::clone(&bench);
        let checks = thread::spawn(move || other.record(Finding::pass()));
        let _ = bench.readiness();
        checks.join().unwrap();
        assert_eq!(bench.readiness(), Status::Pass);
        assert_eq!(bench.readiness(), bench.afresh());
        bench.assert_all_told();
    });
}
