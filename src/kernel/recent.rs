//! What calls took lately: a ring of histograms, of which one after the other is
//! filled and the oldest forgotten.
//!
//! The histogram that comes next is always empty already: whoever turns the ring
//! clears the one after it. So recording needs no care for the turn, and one who
//! is late by less than a whole slice loses nothing.

use std::time::Duration;

use super::histogram::{self, Histogram};
use super::sync::{AtomicU64, Ordering};
use crate::clock::{Tick, nanos};

/// Histograms that count, the one being filled among them; one more is empty.
const SLICES: usize = 4;
const PLACES: usize = SLICES + 1;

/// Durations and outcomes of a window, which is told with each turn.
#[derive(Debug, Default)]
pub struct Recent {
    slices: [Slice; PLACES],
    /// How often the ring was turned: the place that is filled.
    turns: AtomicU64,
    /// When it is to be turned.
    due: AtomicU64,
    /// The furthest ahead that this can be, unless the clock has gone back: two
    /// slices.
    reach: AtomicU64,
}

#[derive(Debug, Default)]
struct Slice {
    took: Histogram,
    /// The totals of good and bad calls when it was begun.
    before: [AtomicU64; 2],
}

impl Recent {
    /// Counts a duration.
    #[inline]
    pub fn record(&self, took: Duration) {
        self.filled(0).took.record(took);
    }

    /// The slice that was filled so many turns ago.
    fn filled(&self, ago: usize) -> &Slice {
        let turns = self.turns.load(Ordering::Acquire);
        self.place(turns + (PLACES - ago) as u64)
    }

    #[allow(clippy::cast_possible_truncation)] // a remainder
    fn place(&self, turn: u64) -> &Slice {
        &self.slices[(turn % PLACES as u64) as usize]
    }

    /// Whether it is time to [`turn`](Self::turn).
    #[inline]
    pub fn is_due(&self, now: Tick) -> bool {
        let left = self
            .due
            .load(Ordering::Relaxed)
            .wrapping_sub(now.as_nanos());
        left.wrapping_sub(1) >= self.reach.load(Ordering::Relaxed)
    }

    /// Forgets what is older than `window`, if it is time: `true` for the one who
    /// did it. `totals` are those of good and bad calls so far.
    pub fn turn(&self, now: Tick, window: Duration, totals: impl FnOnce() -> [u64; 2]) -> bool {
        let (now, width) = (now.as_nanos(), (nanos(window) / SLICES as u64).max(1));
        let due = self.due.load(Ordering::Acquire);
        let reach = width.saturating_mul(2);
        // A clock that has gone back must not stop the ring.
        let jumped = due > now.saturating_add(reach);
        if now < due && !jumped {
            return false;
        }
        let next = (now / width).saturating_add(1).saturating_mul(width);
        let won = self
            .due
            .compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire);
        if won.is_err() {
            return false;
        }
        self.reach.store(reach, Ordering::Relaxed);
        let totals = totals();
        // After a pause longer than the window, nothing is left of it.
        let slept = (now.saturating_sub(due) / width).min(SLICES as u64);
        let first = self.turns.load(Ordering::Acquire);
        for turn in first..=first.saturating_add(slept) {
            let begun = self.place(turn + 1);
            for (before, total) in begun.before.iter().zip(totals) {
                before.store(total, Ordering::Release);
            }
            self.place(turn + 2).took.clear();
            self.turns.fetch_add(1, Ordering::AcqRel);
        }
        true
    }

    /// Makes it due at once.
    pub fn expire(&self) {
        self.due.store(0, Ordering::Release);
    }

    /// How many were counted, and the duration that this share of them was not
    /// above, at most 12.5 % too high.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> (u64, Option<Duration>) {
        let counted: [_; SLICES] = std::array::from_fn(|ago| &self.filled(ago).took);
        histogram::quantile(&counted, per_mille)
    }

    /// The good and the bad calls of the window.
    #[must_use]
    pub fn outcomes(&self, totals: [u64; 2]) -> [u64; 2] {
        let oldest = self.filled(SLICES - 1);
        let before = oldest.before.each_ref().map(|b| b.load(Ordering::Acquire));
        [0, 1].map(|i| totals[i].saturating_sub(before[i]))
    }
}
