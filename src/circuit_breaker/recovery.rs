//! The way back: probes in the half-open state, and the ramp behind it.

use std::time::Duration;

use super::policy::{CloseAfter, Policy};
use crate::clock::{Tick, nanos};
use crate::kernel::window::{Bad, Counts};
use crate::policy::Ratio;

/// Probes under way, and what those that ended have said.
#[derive(Debug, Default)]
pub(super) struct Probes {
    places: Vec<Place>,
    next: u32,
    good_in_a_row: u32,
    pub(super) counts: Counts,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    id: u32,
    lease: Tick,
}

impl Probes {
    /// Nobody; the numbers go on.
    pub(super) fn restart(&mut self) {
        self.places.clear();
        self.good_in_a_row = 0;
        self.counts = Counts::default();
    }

    /// Those that have their place at `now`.
    pub(super) fn under_way(&self, now: Tick) -> u64 {
        let held = |place: &&Place| now < place.lease;
        self.places.iter().filter(held).count() as u64
    }

    /// When the first of them loses its place, if there is none left.
    pub(super) fn full_until(&self, most: u32) -> Option<Tick> {
        let first = self.places.iter().map(|place| place.lease).min();
        first.filter(|_| self.places.len() >= most as usize)
    }

    /// No lease ends later.
    pub(super) fn end_by(&mut self, latest: Tick) {
        for place in &mut self.places {
            place.lease = place.lease.min(latest);
        }
    }

    /// One more, or how long until there is a place.
    pub(super) fn take(&mut self, policy: &Policy, now: Tick) -> Result<u32, Duration> {
        self.places.retain(|place| now < place.lease);
        if let Some(end) = self.full_until(policy.probes) {
            return Err(end.saturating_since(now));
        }
        // Neither 0 nor the number of calls that stand outside.
        self.next = self.next % (u32::MAX - 1) + 1;
        let lease = now.saturating_add(policy.probe_timeout);
        self.places.push(Place {
            id: self.next,
            lease,
        });
        Ok(self.next)
    }

    /// Gives a place back; `false` if it was lost before, whether or not somebody
    /// else has taken it.
    pub(super) fn leave(&mut self, id: u32, now: Tick) -> bool {
        let place = self.places.iter().position(|place| place.id == id);
        place.is_some_and(|place| now < self.places.swap_remove(place).lease)
    }

    /// A probe ended well, or in the way of `bad`.
    pub(super) fn count(&mut self, bad: Bad) {
        self.counts.calls += 1;
        self.counts.failures += u64::from(bad.failed);
        self.counts.slow += u64::from(bad.slow);
        self.good_in_a_row = match bad.failed || bad.slow {
            true => 0,
            false => self.good_in_a_row.saturating_add(1),
        };
    }

    /// Whether it works again; `None` while that is open.
    pub(super) fn verdict(&self, policy: &Policy) -> Option<bool> {
        let Counts {
            calls,
            failures,
            slow,
        } = self.counts;
        let (failed, enough) = match policy.close_after {
            CloseAfter::Successes(enough) => (failures + slow > 0, self.good_in_a_row >= enough),
            CloseAfter::Ratio(of) => {
                let of = u64::from(of);
                let most = policy.failure_ratio.unwrap_or(Ratio::percent(50));
                let slower = policy.slow_ratio.is_some_and(|r| r.is_reached(slow, of));
                (most.is_reached(failures, of) || slower, calls >= of)
            }
        };
        (failed || enough).then_some(!failed)
    }
}

/// Steps of a ramp.
const STEPS: u64 = 10;

/// A share of the requests that grows from a tenth to all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ramp {
    over: u64,
    offered: u64,
}

impl Ramp {
    pub(super) fn new(over: Duration) -> Self {
        Self {
            over: nanos(over),
            offered: 0,
        }
    }

    /// Follows another policy.
    pub(super) fn update(&mut self, over: Duration) {
        self.over = nanos(over);
    }

    /// Whether it is over, so long after its begin.
    pub(super) fn is_over(&self, elapsed: Duration) -> bool {
        nanos(elapsed) >= self.over
    }

    /// One more request; an error tells when the next step begins. Of every ten
    /// requests as many pass as steps were climbed, spread evenly.
    pub(super) fn admit(&mut self, elapsed: Duration) -> Result<(), Duration> {
        let elapsed = nanos(elapsed);
        let width = self.over.div_ceil(STEPS).max(1);
        let share = elapsed / width + 1;
        let turn = (self.offered * share) % STEPS;
        self.offered = (self.offered + 1) % STEPS;
        if turn < share {
            return Ok(());
        }
        let next = share.saturating_mul(width).saturating_sub(elapsed);
        Err(Duration::from_nanos(next))
    }
}
