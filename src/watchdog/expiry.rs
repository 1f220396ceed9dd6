//! What a watchdog knows when something has stood still for too long.

use std::fmt;
use std::time::Duration;

use crate::event::{OnWatch, Stall};
use crate::key::KeyId;
use crate::registry::Report;

/// What is told to the hooks of a watchdog.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Expiry {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Why, as far as can be told.
    pub cause: Stall,
    /// For how long there has been no progress.
    pub age: Duration,
    /// How long it may take.
    pub interval: Duration,
    /// What else was seen at that moment.
    pub diagnostics: Diagnostics,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Task,
    Layer,
    Runtime,
}

impl Kind {
    pub(super) fn of(self, name: &str) -> OnWatch<'_> {
        match self {
            Self::Task => OnWatch::Task(name),
            Self::Layer => OnWatch::Layer(name),
            Self::Runtime => OnWatch::Runtime(name),
        }
    }
}

impl Expiry {
    /// What has made no progress.
    #[must_use]
    pub fn subject(&self) -> OnWatch<'_> {
        self.kind.of(&self.name)
    }

    /// The line that says it all, as in the status for systemd.
    pub(super) fn line(&self) -> String {
        let (subject, cause) = (self.subject(), self.cause);
        let (age, interval) = (self.age, self.interval);
        format!("{subject}: no progress for {age:?} (allowed {interval:?}): {cause}")
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "watchdog: {}", self.line())?;
        self.diagnostics.fmt(f)
    }
}

/// What was seen at the moment of an expiry.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Diagnostics {
    /// Tasks that kick, those first that stand still the longest, at most 64.
    pub tasks: Vec<TaskSnapshot>,
    /// Requests in flight, the oldest first, at most 64.
    pub calls: Vec<CallInFlight>,
    /// Runtimes.
    pub runtimes: Vec<RuntimeSnapshot>,
    /// What every layer of the registry reports.
    pub reports: Vec<Report>,
    /// What the [`Recorder`](super::Recorder) heard last, the oldest first.
    pub events: Vec<String>,
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in &self.tasks {
            let TaskSnapshot {
                name,
                age,
                interval,
                standing,
            } = task;
            let standing = standing.label();
            writeln!(
                f,
                "  task {name:?}: {standing}, last progress {age:?} ago of {interval:?}"
            )?;
        }
        for runtime in &self.runtimes {
            let RuntimeSnapshot {
                name,
                workers,
                frozen,
                queued,
                alive,
                waiting,
            } = runtime;
            writeln!(
                f,
                "  runtime {name:?}: {frozen} of {workers} workers inside one poll, {queued} \
                 tasks queued, {alive} alive, a new one waits {waiting:?}"
            )?;
        }
        for call in &self.calls {
            let CallInFlight {
                layer,
                age,
                stage,
                key,
            } = call;
            writeln!(
                f,
                "  in flight at {layer:?}: for {age:?}, stage {stage:?}, key {key:?}"
            )?;
        }
        for report in &self.reports {
            writeln!(
                f,
                "  {} {:?}: {:?}",
                report.pattern, report.name, report.values
            )?;
        }
        for event in &self.events {
            writeln!(f, "  heard: {event}")?;
        }
        Ok(())
    }
}

/// A task, as the watchdog has seen it last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TaskSnapshot {
    /// Its name.
    pub name: String,
    /// How long its last progress is ago, to a quarter of the interval; zero while it
    /// is paused.
    pub age: Duration,
    /// How long it may take.
    pub interval: Duration,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Standing {
    /// Its last progress is not too long ago.
    Moving,
    /// It has nothing to do.
    Paused,
    /// It has made no progress within its interval.
    Expired,
}

impl Standing {
    /// Its name: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Moving => "moving",
            Self::Paused => "paused",
            Self::Expired => "expired",
        }
    }
}

/// A runtime, as the watchdog has seen it last.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct RuntimeSnapshot {
    /// Its name.
    pub name: String,
    /// Its workers.
    pub workers: usize,
    /// Workers that have not come back from one poll for half of the interval.
    pub frozen: usize,
    /// Tasks in its global queue.
    pub queued: usize,
    /// Tasks that have not ended.
    pub alive: usize,
    /// For how long a new task has been waiting for its turn.
    pub waiting: Duration,
}

/// A request in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallInFlight {
    /// The layer that watches it.
    pub layer: String,
    /// For how long it has been seen.
    pub age: Duration,
    /// The stage it was in last; empty if it never said.
    pub stage: String,
    /// Its key, if the layer reads keys.
    pub key: Option<KeyId>,
}
