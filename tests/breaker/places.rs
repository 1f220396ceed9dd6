//! Calls under way, by the sixteenth of a threshold in which they began.

use std::collections::BTreeMap;

use crate::reference::Nanos;

/// The number of a sixteenth, its threshold, and what tells its state from the next few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) number: u64,
    threshold: Nanos,
    epoch: u64,
}

impl Slice {
    pub(crate) fn new(at: Nanos, threshold: Nanos, generation: u64) -> Self {
        Self {
            number: at / width(threshold),
            threshold,
            epoch: generation % 8,
        }
    }
}

pub(crate) fn width(threshold: Nanos) -> Nanos {
    (threshold / 16).max(1)
}

/// The calls of a slice, until somebody has looked at it.
#[derive(Debug)]
struct Place {
    slice: Slice,
    calls: u64,
    seen: bool,
}

/// As many places as slices in two thresholds: more than that begins only when a clock
/// has gone back, and is not looked for.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<u64, Place>);

const PLACES: u64 = 32;

impl Places {
    /// Whether there is a place for it.
    pub(crate) fn enter(&mut self, slice: Slice) -> bool {
        let fresh = |calls| Place {
            slice,
            calls,
            seen: false,
        };
        let entry = self.0.entry(slice.number % PLACES);
        let place = entry.or_insert_with(|| fresh(0));
        if place.slice != slice && place.calls == 0 {
            *place = fresh(0);
        }
        let joins = place.slice == slice && !place.seen;
        place.calls += u64::from(joins);
        joins
    }

    /// Whether it was still there.
    pub(crate) fn leave(&mut self, slice: Slice) -> bool {
        let place = self.0.get_mut(&(slice.number % PLACES));
        let place = place.filter(|place| place.slice == slice && place.calls > 0);
        place.map(|place| place.calls -= 1).is_some()
    }

    pub(crate) fn clear(&mut self) {
        for place in self.0.values_mut() {
            let _ = place.take();
        }
    }

    /// Takes those whose slice ended a threshold ago, the oldest first. Those of a time
    /// that is far ahead are forgotten.
    pub(crate) fn look(&mut self, now: Nanos, threshold: Nanos) -> Vec<(Slice, u64)> {
        let width = width(threshold);
        let mut old = Vec::new();
        for (index, place) in &mut self.0 {
            let current = now / width;
            let latest = current.saturating_sub((current + PLACES - index) % PLACES);
            let number = place.slice.number;
            if number > latest + PLACES {
                place.take();
            } else if (number + 1) * width + threshold <= now && place.calls > 0 {
                old.push((place.slice, place.take()));
            }
        }
        old.sort_by_key(|(slice, _)| slice.number);
        old
    }
}

impl Place {
    fn take(&mut self) -> u64 {
        self.seen |= self.calls > 0;
        std::mem::take(&mut self.calls)
    }
}
