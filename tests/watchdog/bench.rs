//! A watchdog under manual time, and what it tells.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tower_keep::Setup;
use tower_keep::clock::{Clock, Tick};
use tower_keep::event::{Event, Source};
use tower_keep::test_util::ManualClock;
use tower_keep::watchdog::{Builder, Stall, Watchdog};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// What was told, in words, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<(String, Duration)>>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        heard.iter().map(|(line, _)| line.clone()).collect()
    }

    /// When this was told, counted from the start.
    pub(crate) fn when(&self, line: &str) -> Option<Duration> {
        let heard = self.0.lock().unwrap();
        let found = heard.iter().find(|(told, _)| told == line);
        found.map(|(_, when)| *when)
    }

    pub(crate) fn note(&self, line: String, when: Duration) {
        self.0.lock().unwrap().push((line, when));
    }
}

/// Time, and what is told in it.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    pub(crate) time: ManualClock,
    start: Tick,
    pub(crate) heard: Heard,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let time = ManualClock::new();
        Self {
            start: time.now(),
            time,
            heard: Heard::default(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.time.now().saturating_since(self.start)
    }

    /// Tells what happens, in words; not how old kicks are.
    pub(crate) fn setup(&self, name: &'static str) -> Setup {
        let bench = self.clone();
        let listener = move |_: &Source<'_>, event: &Event<'_>| {
            let line = match event {
                Event::Expired(expired) => {
                    format!("{}: {}", expired.subject, expired.cause.label())
                }
                Event::Recovered(subject) => format!("{subject}: recovered"),
                Event::Stuck(stuck) => format!("stuck in {:?}", stuck.stage),
                _ => return,
            };
            bench.heard.note(line, bench.elapsed());
        };
        Setup::named(name)
            .with_clock(self.time.clock())
            .with_listener(listener)
    }

    pub(crate) fn builder(&self) -> Builder {
        Watchdog::builder(self.setup("dog"))
    }

    /// Waits until the watchdog has taken in so many tasks.
    pub(crate) fn until_tasks(&self, watchdog: &Watchdog, tasks: usize) {
        wait(|| watchdog.snapshot().tasks.len() == tasks);
    }

    /// Lets this time pass at once, and waits until the watchdog naps again.
    pub(crate) fn step(&self, by: Duration) {
        self.time.advance(by);
        wait(|| {
            self.time
                .next_due()
                .is_some_and(|due| due > self.time.now())
        });
    }

    /// Lets this time pass, so that the watchdog looks as often as it wants to.
    pub(crate) fn pass(&self, time: Duration) {
        self.pass_with(time, ms(10), || {});
    }

    /// As [`pass`](Self::pass), in steps of a length, with something done at each.
    pub(crate) fn pass_with(&self, time: Duration, step: Duration, mut each: impl FnMut()) {
        let end = self.time.now().saturating_add(time);
        while self.time.now() < end {
            each();
            self.step(step.min(end.saturating_since(self.time.now())));
        }
    }
}

/// Waits for another thread; what it waits for takes no time of its own.
#[track_caller]
pub(crate) fn wait(mut until: impl FnMut() -> bool) {
    let clock = Clock::system();
    let begun = clock.now();
    while !until() {
        let waited = clock.now().saturating_since(begun);
        assert!(waited < secs(20), "it never comes");
        thread::yield_now();
    }
}

pub(crate) const UNKNOWN: &str = Stall::Unknown.label();
