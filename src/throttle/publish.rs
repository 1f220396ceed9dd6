//! What the policy becomes for those who ask.

use std::time::Duration;

use super::buckets::Buckets;
use super::policy::Policy;
use super::state::State;
use super::words::{Way, in_force, pack};

impl State {
    /// The policy, as there are keys with a quota of their own now, or none any more.
    pub(super) fn publish_again(&self) {
        let slot = self.policy.lock();
        self.publish(&slot.0, &slot);
    }

    pub(super) fn publish(&self, before: &Policy, (policy, patience): &(Policy, Duration)) {
        // The policy was built, so its quota exists.
        if let Ok(quota) = policy.quota(*patience, &self.leases) {
            let keyed = self.keyed.as_deref();
            let way = match keyed.is_some_and(Buckets::has_own) {
                true => Way::Several,
                false => policy.way(&self.leases),
            };
            let (old, _) = in_force(&self.live);
            let now = self.core.clock().now();
            let quota = quota.since(now);
            let publish = || self.live.store(pack(quota, policy, *patience, way));
            self.common.change(&old, &quota, now, publish);
            self.renew_leases(before, policy);
        }
    }

    /// How many keys there can be, and the longest wait that any policy has promised.
    pub(super) fn promised(&self) -> (usize, Duration) {
        let slot = self.policy.lock();
        (slot.0.max_keys, slot.1)
    }
}
