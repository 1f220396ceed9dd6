//! Whether an endpoint may be chosen, and what an operator, a prober or its
//! connection has to do with it.

use super::member::Member;
use crate::classify::Outcome;
use crate::clock::Tick;
use crate::kernel::sync::{AtomicU32, Ordering};

/// Flags: see the constants.
#[derive(Debug, Default)]
pub(super) struct Standing(AtomicU32);

const CONNECTED: u32 = 1;
/// By an operator.
const EJECTED: u32 = 2;
/// A prober says so.
const UNHEALTHY: u32 = 4;

/// Whether an endpoint may be chosen, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Condition {
    /// It may.
    Usable,
    /// Its service is being made, or could not be made yet.
    Connecting,
    /// A prober has found it unhealthy.
    Unhealthy,
    /// Ejected for its failures until this time.
    EjectedUntil(#[cfg_attr(feature = "serde", serde(skip))] Tick),
    /// Ejected by hand.
    Ejected,
}

impl Member {
    /// Whether it may be chosen, and why not.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let flags = self.standing.0.load(Ordering::Relaxed);
        if flags & CONNECTED == 0 {
            Condition::Connecting
        } else if flags & EJECTED != 0 {
            Condition::Ejected
        } else if let Some(until) = self.ejected_until() {
            Condition::EjectedUntil(until)
        } else if flags & UNHEALTHY != 0 {
            Condition::Unhealthy
        } else {
            Condition::Usable
        }
    }

    /// Calls that succeeded, and that failed.
    pub(super) fn ends(&self) -> (u64, u64) {
        let failed = self.load.0.failed.load(Ordering::Relaxed);
        (self.load.0.tally.successes(), failed)
    }

    /// A call has ended: how many have failed in a row, if it did.
    #[inline]
    pub(super) fn ended(&self, outcome: Outcome) -> Option<u32> {
        let load = &self.load.0;
        match outcome {
            Outcome::Success => {
                load.tally.succeeded();
                load.trouble.succeeded();
                None
            }
            Outcome::Failure(_) => Some(self.failed()),
            Outcome::Neutral | Outcome::Cancelled => {
                load.tally.ended();
                None
            }
        }
    }

    /// How many calls have failed in a row, with this one.
    #[cold]
    fn failed(&self) -> u32 {
        let load = &self.load.0;
        load.tally.ended();
        load.failed.fetch_add(1, Ordering::Relaxed);
        load.trouble.failed()
    }

    /// From here on it starts slowly.
    pub(super) fn begin_anew(&self, now: Tick) {
        self.since.swap(now.as_nanos(), Ordering::AcqRel);
    }

    /// Sets or clears a flag; says whether that changed anything.
    fn flag(&self, flag: u32, is_set: bool) -> bool {
        let flags = &self.standing.0;
        let before = match is_set {
            true => flags.fetch_or(flag, Ordering::Relaxed),
            false => flags.fetch_and(!flag, Ordering::Relaxed),
        };
        (before & flag != 0) != is_set
    }

    pub(super) fn set_connected(&self, is_connected: bool) -> bool {
        self.flag(CONNECTED, is_connected)
    }

    pub(super) fn set_unhealthy(&self, is_unhealthy: bool) -> bool {
        self.flag(UNHEALTHY, is_unhealthy)
    }

    pub(super) fn set_ejected(&self, is_ejected: bool) -> bool {
        self.flag(EJECTED, is_ejected)
    }

    /// No ejection is left, and it is used as a new one is.
    pub(super) fn restore(&self, now: Tick) -> bool {
        let was_out = self.ejected_until().is_some();
        self.release(Tick::MAX);
        let changed = self.set_ejected(false) || was_out;
        if changed {
            self.begin_anew(now);
        }
        changed
    }
}
