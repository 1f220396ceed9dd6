//! What a watchdog does at an expiry.

use std::io;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::builder::{Hooks, Readiness, Then};
use super::dog::Dog;
use super::expiry::Expiry;
use super::hand::Hand;
use crate::clock::Tick;

/// Expiries whose hooks may wait for those of others.
const ROOM: usize = 16;

/// What the hooks are told.
pub(super) enum Job {
    Expired(Box<Expiry>),
    Recovered,
}

/// The end of the process, as it is planned.
#[derive(Debug, Clone, Copy)]
struct Ending {
    /// When it comes, whatever the hooks do.
    latest: Tick,
    /// When it comes, now that the hooks are done.
    due: Option<Tick>,
}

/// The hooks on their thread, and what comes after them.
#[derive(Debug)]
pub(super) struct Acts {
    hand: Hand<Job>,
    then: Then,
    grace: Duration,
    patience: Duration,
    /// Since something has expired, until all moves again.
    ending: Option<Ending>,
    missed: u64,
}

impl Acts {
    pub(super) fn new(
        dog: &Arc<Dog>,
        mut hooks: Hooks,
        then: Then,
        grace: Duration,
        patience: Duration,
    ) -> io::Result<Self> {
        let name = format!("{}-hooks", dog.core.name());
        let dog = Arc::clone(dog);
        let hand = Hand::start(&name, ROOM, move |job| hooks.run(&dog, job))?;
        Ok(Self {
            hand,
            then,
            grace,
            patience,
            ending: None,
            missed: 0,
        })
    }

    /// Hands a job to the hooks.
    pub(super) fn offer(&mut self, job: Job, now: Tick) {
        self.ending = match job {
            Job::Expired(_) => self.ending.or(Some(Ending {
                latest: now.saturating_add(self.patience).saturating_add(self.grace),
                due: None,
            })),
            Job::Recovered => None,
        };
        if !self.hand.offer(job) {
            self.missed += 1;
        }
    }

    /// Whether something has expired, and not all moves again.
    pub(super) fn has_begun(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    /// When there is something to do, if nothing else happens.
    pub(super) fn next(&self, now: Tick) -> Option<Tick> {
        let ending = self.ending.filter(|_| self.then != Then::Nothing)?;
        // Soon, to see whether the hooks are done.
        let soon = now.saturating_add(Duration::from_millis(10));
        Some(ending.due.unwrap_or(ending.latest.min(soon)))
    }

    /// Ends the process, if it is time.
    pub(super) fn end(&mut self, now: Tick) {
        let Some(ending) = &mut self.ending else {
            return;
        };
        if ending.due.is_none() && self.hand.is_idle() {
            let due = now.saturating_add(self.grace);
            ending.due = Some(due.min(ending.latest));
        }
        if ending.due.unwrap_or(ending.latest) > now {
            return;
        }
        match self.then {
            Then::Nothing => {}
            Then::Exit(code) => std::process::exit(code),
            Then::Abort => std::process::abort(),
        }
    }
}

impl Hooks {
    fn run(&mut self, dog: &Dog, job: Job) {
        let core = &dog.core;
        let Job::Expired(mut expiry) = job else {
            for hook in &mut self.readiness {
                core.contain("readiness", || hook(Readiness::Ready));
            }
            return;
        };
        // Here and not on the watchdog's thread: a layer's report may take a lock that
        // whoever stands still holds.
        if let Some(registry) = &self.registry {
            let reports = core.contain("report", || registry.reports());
            expiry.diagnostics.reports = reports.unwrap_or_default();
        }
        if let Some(recorder) = &self.recorder {
            expiry.diagnostics.events = recorder.events();
        }
        if self.stderr {
            // Nobody is left to hear of an error here.
            let _ = io::stderr().write_all(expiry.to_string().as_bytes());
        }
        for hook in &mut self.expiry {
            core.contain("expiry", || hook(&expiry));
        }
        for hook in &mut self.readiness {
            core.contain("readiness", || hook(Readiness::NotReady));
        }
        for hook in &mut self.release {
            core.contain("release", || hook(&expiry));
        }
    }
}
