//! What the state tells to those who watch.

use super::handle::Snapshot;
use super::state::{ADMITTED, BYPASSED, CANCELLED, Draw, REFUNDED, REJECTED, State, WAITED};
use super::words::in_force;
use crate::clock::Tick;

impl State {
    pub(super) fn snapshot(&self) -> Snapshot {
        let policy = self.policy();
        let keyed = self.keyed.as_deref();
        Snapshot {
            permits: policy.permits,
            per: policy.per,
            burst: policy.burst,
            admitted: self.counters.sum(ADMITTED),
            rejected: self.counters.sum(REJECTED),
            waited: self.counters.sum(WAITED),
            cancelled: self.counters.sum(CANCELLED),
            bypassed: self.counters.sum(BYPASSED),
            held: self.leases.held(),
            refunded: self.counters.sum(REFUNDED),
            keyless: self.keyless.sum(),
            keys: keyed.map_or(0, |k| k.len() as u64),
            max_keys: keyed.map_or(0, |k| k.map.cap() as u64),
            keys_evicted: keyed.map_or(0, |k| k.lost().0),
            keys_overflowed: keyed.map_or(0, |k| k.lost().1),
        }
    }

    /// What the common bucket could admit now.
    pub(super) fn remaining(&self, now: Tick) -> u32 {
        let (quota, rules) = in_force(&self.live);
        if rules.is_several() {
            return self.remaining_of(Draw::Common, now);
        }
        let level = self.common.level(&quota, now);
        level.map_or(0, |level| quota.remaining(level, now))
    }
}
