//! What a watchdog tells.

use std::fmt;
use std::time::Duration;

use crate::key::KeyId;

/// What a watchdog watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnWatch<'a> {
    /// A task that kicks.
    Task(&'a str),
    /// A layer that has calls in flight.
    Layer(&'a str),
    /// A Tokio runtime.
    Runtime(&'a str),
}

impl<'a> OnWatch<'a> {
    /// Its kind in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Layer(_) => "layer",
            Self::Runtime(_) => "runtime",
        }
    }

    /// The name it was given.
    #[must_use]
    pub const fn name(self) -> &'a str {
        match self {
            Self::Task(name) | Self::Layer(name) | Self::Runtime(name) => name,
        }
    }
}

impl fmt::Display for OnWatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.label(), self.name())
    }
}

/// Why nothing moves, as far as can be told from outside: [`Unknown`](Self::Unknown)
/// unless the runtime's own figures show more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Stall {
    /// So many of the runtime's workers have not come back from a single poll: a call
    /// that blocks, a lock of `std` that is not given back, a loop without an end.
    Blocked {
        /// Workers inside one poll.
        workers: usize,
        /// Workers of the runtime.
        of: usize,
    },
    /// The runtime's workers do come back from polls, and still a new task does not get
    /// its turn: too much work, or polls that are too long.
    Starved {
        /// Tasks in the runtime's global queue.
        queued: usize,
    },
    /// Workers rest, and yet there is no progress: async locks that wait for each other,
    /// or an answer that never comes. From outside these two look the same.
    Deadlock,
    /// None of these could be shown.
    Unknown,
}

impl Stall {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Blocked { .. } => "blocked",
            Self::Starved { .. } => "starved",
            Self::Deadlock => "deadlock",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked { workers, of } => {
                write!(f, "blocked: {workers} of {of} workers inside one poll")
            }
            Self::Starved { queued } => {
                write!(f, "starved: new tasks get no turn, {queued} in the queue")
            }
            Self::Deadlock => f.write_str("deadlock, or an answer that never comes: workers rest"),
            Self::Unknown => f.write_str("unknown stall"),
        }
    }
}

/// Something has made no progress within its interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired<'a> {
    /// What.
    pub subject: OnWatch<'a>,
    /// Why, as far as can be told.
    pub cause: Stall,
    /// For how long there has been no progress.
    pub age: Duration,
    /// How long it may take.
    pub interval: Duration,
}

/// A request has been in flight for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stuck<'a> {
    /// For how long it has been seen in flight.
    pub age: Duration,
    /// The stage it was in last; empty if it never said.
    pub stage: &'a str,
    /// Its key, if the layer reads keys.
    pub key: Option<KeyId>,
}

/// How a task's progress stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kicked<'a> {
    /// The task.
    pub task: &'a str,
    /// How long its last progress is ago; zero while it is paused.
    pub age: Duration,
    /// How long it may take.
    pub interval: Duration,
}
