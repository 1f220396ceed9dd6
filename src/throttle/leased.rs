//! The leased mode: threads hold slices of the one bucket.

use super::policy::{Headers, Mode, Policy};
use super::state::{ADMITTED, Draw, State};
use crate::kernel::lease::Leases;
use crate::kernel::sync::ids;

impl Policy {
    /// The size of the slices that threads hold, if they do.
    pub(super) fn slice(&self, leases: &Leases) -> u32 {
        match (self.mode, self.headers) {
            // What they tell is what the bucket has.
            (Mode::Exact, _) | (_, Headers::Always) => 0,
            _ if self.is_several() => 0,
            (Mode::Leased, _) => leases.size_for(self.burst),
        }
    }
}

impl State {
    /// Whether this thread holds a slice that pays for a request. No clock is read.
    #[inline(always)]
    pub(super) fn spends(&self, draw: Draw, cost: u32) -> bool {
        let may = self.leases.is_on() && matches!(draw, Draw::Common);
        if !may || self.core.is_overruled() {
            return false;
        }
        let thread = ids::thread_index() as usize;
        let spent = self.leases.spend(thread, cost);
        if spent {
            self.counters.add_from(thread, ADMITTED, 1);
        }
        spent
    }

    /// After the bucket has its new quota. What threads hold was drawn under the old
    /// one, and is lost.
    pub(super) fn renew_leases(&self, before: &Policy, policy: &Policy) {
        let quota = |policy: &Policy| (policy.permits, policy.per, policy.burst);
        let slice = policy.slice(&self.leases);
        if slice != self.leases.size() || quota(before) != quota(policy) {
            self.leases.set(slice);
        }
    }
}
