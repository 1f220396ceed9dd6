//! Requests that have no key.

use crate::event::Event;
use crate::kernel::core::Core;
use crate::kernel::sync::{AtomicU64, Ordering};

/// Counts them. All of them draw from one bucket, so one line for all cores is
/// nothing new to them.
#[derive(Debug, Default)]
pub(super) struct Keyless(AtomicU64);

impl Keyless {
    /// One more. Listeners hear of it at every doubling: one that works is told at
    /// once, and a flood does not drown it.
    #[cold]
    pub(super) fn count(&self, core: &Core) {
        let until_now = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if until_now.is_power_of_two() {
            core.tell(Event::Keyless(until_now));
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
