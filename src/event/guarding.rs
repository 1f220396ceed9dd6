//! What an idempotency guard tells.

use std::time::Duration;

/// What became of a request that has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guarding {
    /// Its key was free: it begins.
    Reserved,
    /// Its key was free again, since another owner has left the outcome unknown: it
    /// begins, perhaps for the second time.
    TakenOver,
    /// Its answer was recorded.
    Recorded,
    /// It has been answered, and the answer was not recorded: too long, or a stream.
    Unrecorded,
    /// It had no effect, and its key is free again.
    Released,
    /// Nobody knows whether it has had its effect: dropped, panicked, or ended in an
    /// error that is no answer.
    Abandoned,
    /// It ended after its lease, and another owner has taken over: its answer was not
    /// recorded.
    Fenced,
    /// It was a duplicate, and got the recorded answer.
    Replayed,
    /// It runs without being guarded: the store had no room, or did not answer, and
    /// the policy wants it so.
    Unguarded,
    /// One step of the store took so long.
    Stored {
        /// Which one.
        step: Step,
        /// How long.
        took: Duration,
    },
    /// One step of the store did not succeed.
    StoreFailed {
        /// Which one.
        step: Step,
        /// Why not.
        trouble: Trouble,
    },
}

impl Guarding {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::TakenOver => "taken_over",
            Self::Recorded => "recorded",
            Self::Unrecorded => "unrecorded",
            Self::Released => "released",
            Self::Abandoned => "abandoned",
            Self::Fenced => "fenced",
            Self::Replayed => "replayed",
            Self::Unguarded => "unguarded",
            Self::Stored { .. } => "stored",
            Self::StoreFailed { .. } => "store_failed",
        }
    }
}

/// A step of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// A key is asked for.
    Reserve,
    /// A record is made.
    Complete,
    /// A key is given back.
    Release,
}

impl Step {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Complete => "complete",
            Self::Release => "release",
        }
    }
}

/// Why a step of a store did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trouble {
    /// It failed.
    Failed,
    /// It was not done in time.
    TimedOut,
    /// It panicked.
    Panicked,
    /// What it said makes no sense: a record of another key, or none of ours.
    Nonsense,
}

impl Trouble {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::Nonsense => "nonsense",
        }
    }
}
