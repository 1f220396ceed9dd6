//! The leased mode: threads hold slices of the one bucket.

use super::policy::{Headers, Mode, Policy};
use super::state::{ADMITTED, Draw, State};
use super::words::{Rules, Way, in_force};
use crate::clock::Tick;
use crate::kernel::gcra::Answer;
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

    pub(super) fn way(&self, leases: &Leases) -> Way {
        match self.slice(leases) {
            _ if self.is_several() => Way::Several,
            0 => Way::Plain,
            _ => Way::Leased,
        }
    }
}

impl State {
    /// Whether this thread holds a slice that pays for a request. No clock is read.
    #[inline(always)]
    pub(super) fn spends(&self, draw: Draw, cost: u32) -> bool {
        // This word alone, and only to save time: the leases know what is theirs.
        Rules::of(&self.live).is_leased() && matches!(draw, Draw::Common) && self.spend(cost)
    }

    /// Apart, so that those who lease nothing need no registers for it.
    #[inline(never)]
    fn spend(&self, cost: u32) -> bool {
        if self.core.is_overruled() {
            return false;
        }
        let thread = ids::thread_index() as usize;
        let spent = self.leases.spend(thread, cost);
        if spent {
            self.counters.add_from(thread, ADMITTED, 1);
        }
        spent
    }

    /// Asks for a request, and with it for a slice.
    #[inline(never)]
    pub(super) fn ask_leased(&self, cost: u32, now: Tick) -> Answer {
        let (quota, _) = in_force(&self.live);
        self.leases.ask(&self.common, &quota, now, cost)
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
