//! What is known of all checks, and what is told of it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::about::About;
use super::handle::{CheckSnapshot, Snapshot};
use super::policy::{Check, Component, Criticality, Group};
use super::verdict::{Change, Known, Last, Record, Verdict};
use crate::clock::Tick;
use crate::event::{Checked, Event, Subject};
use crate::kernel::core::Core;
use crate::kernel::sync::{AtomicU64, Mutex, Ordering};
use crate::policy::PolicyError;
use crate::probe::{End, Observation, Status};
use crate::registry::{Inspect, Report};

/// Besides the groups: of all checks.
const WHOLE: usize = Group::ALL.len();

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) about: About,
    pub(super) entries: Box<[Entry]>,
    /// What is believed of each group, and of the whole: read by everybody, written
    /// under the lock of `judge`.
    words: [AtomicU64; WHOLE + 1],
    judge: Mutex<Judge>,
    /// Told whenever a word has changed.
    pub(super) changed: watch::Sender<u64>,
}

/// Of the groups, at their places.
type Changes = [Option<Checked<'static>>; WHOLE + 1];

/// One check, without its probe: that is with the task that runs it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    groups: u8,
    criticality: Criticality,
    pub(super) component: Option<Component>,
    pub(super) affected: Vec<Arc<str>>,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Judge {
    believed: [Status; WHOLE + 1],
    has_started: bool,
    /// Why readiness was taken back.
    withdrawn: Option<Arc<str>>,
    /// Nobody runs the checks any more.
    has_ended: bool,
    changes: u64,
}

impl Entry {
    pub(super) fn new(check: &Check, now: Tick) -> Result<Self, PolicyError> {
        let stale_after = check.checked()?;
        Ok(Self {
            name: Arc::clone(&check.name),
            groups: check.groups,
            criticality: check.criticality,
            component: check.component,
            affected: check.affected.clone(),
            record: Mutex::new(Record::new(check.schedule, stale_after, now)),
        })
    }

    pub(super) fn is_in(&self, group: Option<Group>) -> bool {
        group.is_none_or(|group| self.groups & group.bit() != 0)
    }

    /// It is of no interest once the service has started.
    fn only_starts(&self) -> bool {
        self.groups == Group::Startup.bit()
    }

    fn verdict(&self, group: Option<Group>, now: Tick) -> Verdict {
        let record = self.record.lock();
        let known = record.known(now);
        // A process that has just begun is not to be restarted for that.
        let unknown = match group {
            Some(Group::Liveness) => Status::Pass,
            _ => Status::Fail,
        };
        Verdict {
            status: known.weigh(self.criticality, unknown),
            until: match known {
                Known::Stale => Tick::MAX,
                Known::NotYet | Known::Believed(_) => record.fresh_until(),
            },
        }
    }
}

impl State {
    pub(super) fn new(core: Core, about: About, entries: Box<[Entry]>) -> Self {
        let state = Self {
            core,
            about,
            entries,
            words: [(); WHOLE + 1].map(|()| AtomicU64::new(0)),
            judge: Mutex::new(Judge {
                believed: [Status::Pass; WHOLE + 1],
                has_started: false,
                withdrawn: None,
                has_ended: false,
                changes: 0,
            }),
            changed: watch::Sender::new(0),
        };
        state.judge(|_| ());
        state
    }

    /// How well a group is, or all; from the cache unless something has become stale.
    pub(super) fn status(&self, group: Option<Group>) -> Status {
        let word = &self.words[group.map_or(WHOLE, |group| group as usize)];
        let cached = Verdict::from_word(word.load(Ordering::Acquire));
        if self.core.clock().now() < cached.until {
            return cached.status;
        }
        self.judge(|_| ());
        Verdict::from_word(word.load(Ordering::Acquire)).status
    }

    /// How well a group is without the checks that `left_out` holds of.
    pub(super) fn status_without(
        &self,
        group: Option<Group>,
        left_out: impl Fn(&Entry) -> bool,
    ) -> Status {
        let judge = self.judge.lock();
        let now = self.core.clock().now();
        self.weigh(&judge, group, now, left_out).status
    }

    fn weigh(
        &self,
        judge: &Judge,
        group: Option<Group>,
        now: Tick,
        left_out: impl Fn(&Entry) -> bool,
    ) -> Verdict {
        let withdrawn = judge.withdrawn.is_some();
        let stands = match group {
            _ if judge.has_ended => false,
            Some(Group::Liveness) => true,
            Some(Group::Startup) if judge.has_started => {
                return Verdict::for_good(Status::Pass);
            }
            Some(Group::Startup) => true,
            Some(Group::Readiness) => judge.has_started && !withdrawn,
            None => !withdrawn,
        };
        if !stands {
            return Verdict::for_good(Status::Fail);
        }
        let counts = |entry: &&Entry| {
            let is_over = judge.has_started && entry.only_starts();
            entry.is_in(group) && !is_over && !left_out(entry)
        };
        let verdicts = self.entries.iter().filter(counts);
        Verdict::worst_of(verdicts.map(|entry| entry.verdict(group, now)))
    }

    /// Decides anew, after `first` has changed what is decided by, and tells of it.
    fn judge(&self, first: impl FnOnce(&mut Judge)) {
        let changes = self.decide(first);
        self.tell(changes);
    }

    fn decide(&self, first: impl FnOnce(&mut Judge)) -> Changes {
        let mut changes = [None; WHOLE + 1];
        {
            let mut judge = self.judge.lock();
            first(&mut judge);
            let now = self.core.clock().now();
            if !judge.has_started && !judge.has_ended {
                let started = self.weigh(&judge, Some(Group::Startup), now, |_| false);
                judge.has_started = started.status.works();
            }
            for (at, group) in Group::ALL.map(Some).into_iter().chain([None]).enumerate() {
                let verdict = self.weigh(&judge, group, now, |_| false);
                self.words[at].store(verdict.to_word(), Ordering::Release);
                let from = std::mem::replace(&mut judge.believed[at], verdict.status);
                // The whole says nothing that its parts have not said.
                let Some(group) = group.filter(|_| from != verdict.status) else {
                    continue;
                };
                judge.changes += 1;
                changes[at] = Some(Checked {
                    number: judge.changes,
                    subject: Subject::Group(group.label()),
                    from: Some(from),
                    to: verdict.status,
                });
            }
        }
        changes
    }

    fn tell(&self, changes: Changes) {
        for change in changes.into_iter().flatten() {
            self.core.tell(Event::Checked(change));
            // Two threads may come here in either order.
            self.changed
                .send_modify(|last| *last = change.number.max(*last));
        }
    }

    /// A check has run. Whether it is to run again.
    pub(super) fn record(&self, check: usize, seen: Observation) -> bool {
        let Some(entry) = self.entries.get(check) else {
            return false;
        };
        if seen.end == End::Panicked {
            self.core.panicked(&entry.name);
        }
        let change = entry.record.lock().observe(seen);
        let mut number = 0;
        let changes = self.decide(|judge| {
            if change.is_some() {
                judge.changes += 1;
                number = judge.changes;
            }
        });
        let is_over = entry.only_starts() && self.judge.lock().has_started;
        if let Some(Change { from, to }) = change {
            self.core.tell(Event::Checked(Checked {
                number,
                subject: Subject::Check(&entry.name),
                from,
                to,
            }));
        }
        self.tell(changes);
        !is_over
    }

    /// Looks for what has become stale. When to look again: nothing becomes stale
    /// before, not even what is heard of in the meantime.
    pub(super) fn review(&self) -> Tick {
        self.judge(|_| ());
        let now = self.core.clock().now();
        let next = self.entries.iter().map(|entry| {
            let record = entry.record.lock();
            match record.fresh_until() {
                until if until > now => until,
                _ => now.saturating_add(record.stale_after),
            }
        });
        next.min().unwrap_or(Tick::MAX)
    }

    /// Readiness fails from now on, or no longer.
    pub(super) fn withdraw(&self, why: Option<Arc<str>>) {
        self.judge(|judge| judge.withdrawn = why);
    }

    /// Nobody runs the checks any more: nothing is known.
    pub(super) fn end(&self) {
        self.judge(|judge| judge.has_ended = true);
    }

    /// As [`end`](Self::end), because nobody wants them any more: not worth telling.
    pub(super) fn close(&self) {
        self.decide(|judge| judge.has_ended = true);
    }

    /// What keeps a group down besides its checks.
    pub(super) fn why(&self, group: Option<Group>) -> Option<Arc<str>> {
        let judge = self.judge.lock();
        if judge.has_ended {
            return Some("the checks have ended with their runtime".into());
        }
        match group {
            Some(Group::Readiness) if !judge.has_started => Some("starting".into()),
            Some(Group::Readiness) | None => judge.withdrawn.clone(),
            Some(_) => None,
        }
    }

    /// What is known of one check.
    pub(super) fn look(&self, entry: &Entry) -> CheckSnapshot {
        let now = self.core.clock().now();
        let (known, last, runs, failures) = {
            let record = entry.record.lock();
            let known = record.known(now);
            (known, record.last.clone(), record.runs, record.failures)
        };
        let when = |last: &Last| -> SystemTime { self.core.clock().wall(last.finished) };
        CheckSnapshot {
            name: entry.name.to_string(),
            status: known.status(),
            is_stale: known == Known::Stale,
            criticality: entry.criticality,
            runs,
            failures,
            time: last.as_ref().map(when),
            took: last.as_ref().map(|last| last.took),
            observed: last.as_ref().and_then(|last| last.observed),
            output: match (known, last) {
                (Known::Stale, _) => "nothing was heard of it for too long".into(),
                (_, None) => "not checked yet".into(),
                (_, Some(last)) => last.output,
            },
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            liveness: self.status(Some(Group::Liveness)),
            readiness: self.status(Some(Group::Readiness)),
            startup: self.status(Some(Group::Startup)),
            overall: self.status(None),
            checks: self.entries.iter().map(|entry| self.look(entry)).collect(),
        }
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let status = |group| self.status(group);
        let sum = |of: fn(&Record) -> u64| -> u64 {
            let entries = self.entries.iter();
            entries.map(|entry| of(&entry.record.lock())).sum()
        };
        let readiness = status(Some(Group::Readiness));
        let report = self.core.report([
            ("liveness", status(Some(Group::Liveness)).label().into()),
            ("readiness", readiness.label().into()),
            ("startup", status(Some(Group::Startup)).label().into()),
            ("overall", status(None).label().into()),
            ("checks", (self.entries.len() as u64).into()),
            ("runs", sum(|record| record.runs).into()),
            ("failures", sum(|record| record.failures).into()),
        ]);
        report.at_best(readiness != Status::Pass, readiness, "readiness")
    }
}
