//! The circuits of a keyed breaker.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use super::circuit::Circuit;
use super::policy::Policy;
use super::state::Common;
use crate::clock::Tick;
use crate::error::Rejection;
use crate::kernel::guard::Guard;
use crate::kernel::keyed::{Evict, Keyed};
use crate::kernel::shared::{Shared, lend};
use crate::kernel::sync::{AtomicU64, Ordering};
use crate::key::{KeyId, KeySpace};

/// Who uses a circuit: how many there are, how often somebody came, and whether
/// the circuit was given up. It can be given up only if nobody uses it, and
/// nobody has since that was decided.
#[derive(Debug)]
pub(super) struct Uses {
    word: Option<AtomicU64>,
}

const DEAD: u64 = 1 << 63;
const USERS: u64 = (1 << 32) - 1;
const ARRIVAL: u64 = 1 << 32;

impl Uses {
    /// Nobody; uncounted, it lives as long as its layer.
    pub(super) fn new(counted: bool) -> Self {
        Self {
            word: counted.then(|| AtomicU64::new(0)),
        }
    }

    pub(super) fn are_counted(&self) -> bool {
        self.word.is_some()
    }

    /// One more; `false` if it was given up.
    pub(super) fn enter(&self) -> bool {
        let Some(word) = &self.word else {
            return true;
        };
        let enter = |uses: u64| {
            let arrived = (uses + 1).wrapping_add(ARRIVAL) & !DEAD;
            (uses & DEAD == 0).then_some(arrived)
        };
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
            .is_ok()
    }

    #[inline]
    pub(super) fn leave(&self) {
        if let Some(word) = &self.word {
            word.fetch_sub(1, Ordering::Release);
        }
    }

    /// Gives it up if nobody uses it and `idle` says so.
    pub(super) fn retire(&self, idle: impl FnOnce() -> bool) -> bool {
        let Some(word) = &self.word else {
            return false;
        };
        let uses = word.load(Ordering::Acquire);
        if uses & DEAD != 0 {
            return true;
        }
        uses & USERS == 0
            && idle()
            && word
                .compare_exchange(uses, DEAD, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

#[derive(Debug)]
pub(super) struct Keys {
    pub(super) space: KeySpace,
    pub(super) map: Keyed<Slot>,
    /// The policies of keys that have their own.
    own: Mutex<HashMap<KeyId, Policy>>,
}

#[derive(Debug)]
pub(super) struct Slot(Arc<Circuit>);

impl Slot {
    /// One more user, unless it was given up.
    fn enter(&self) -> Option<Arc<Circuit>> {
        self.0.uses.enter().then(|| lend(&self.0))
    }
}

impl Evict for Slot {
    fn try_retire(&self, now: Tick) -> bool {
        let retired = self.0.uses.retire(|| self.0.is_idle(now));
        if retired {
            self.0.is_gone();
        }
        retired
    }
}

/// Somebody who uses a circuit, and does not let it go.
#[derive(Debug)]
pub(super) struct User {
    circuit: Shared<Circuit>,
    /// Whether the use is still this one's to end.
    uses: bool,
}

impl User {
    fn of(circuit: Arc<Circuit>) -> Self {
        Self {
            circuit: Shared::from_arc(circuit),
            uses: true,
        }
    }

    /// One more call, that leaves the circuit with its end.
    pub(super) fn admit(mut self, now: Option<Tick>) -> Result<Guard<Circuit>, Rejection> {
        let token = self.circuit.admit(self.circuit.word(), now)?;
        self.uses = false;
        Ok(Guard::new(&self.circuit, token))
    }
}

impl Deref for User {
    type Target = Circuit;

    fn deref(&self) -> &Circuit {
        &self.circuit
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.uses {
            self.circuit.uses.leave();
        }
    }
}

impl Keys {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            space: KeySpace::new(),
            map: Keyed::new(cap),
            own: Mutex::default(),
        }
    }

    /// The circuit of a key, made if need be; `None` if there is no room for it.
    pub(super) fn user(&self, common: &Arc<Common>, key: KeyId, now: Tick) -> Option<User> {
        let policy = || self.policy_of(common, key);
        let make = || Slot(Arc::new(Circuit::new(common, policy, Some(key), now)));
        let circuit = self.map.with(key, now, make, Slot::enter).ok()?;
        let user = User::of(circuit);
        self.update(common, key, &user);
        Some(user)
    }

    /// The circuit of a key that has one.
    pub(super) fn find(&self, common: &Common, key: KeyId) -> Option<User> {
        let user = self.map.get(key, Slot::enter).flatten().map(User::of)?;
        self.update(common, key, &user);
        Some(user)
    }

    /// All circuits.
    pub(super) fn all(&self) -> Vec<User> {
        let mut all = Vec::new();
        self.map.each(|slot| all.extend(slot.enter()));
        all.into_iter().map(User::of).collect()
    }

    fn update(&self, common: &Common, key: KeyId, user: &User) {
        if user.is_behind() {
            user.follow(|| self.policy_of(common, key));
        }
    }

    fn policy_of(&self, common: &Common, key: KeyId) -> Policy {
        let own = self.own.lock().get(&key).copied();
        own.unwrap_or_else(|| common.policy())
    }

    /// Gives a key its own policy, or takes it back; `false` if as many keys as
    /// there can be have one.
    pub(super) fn set_own(&self, common: &Common, key: KeyId, policy: Option<Policy>) -> bool {
        let mut own = self.own.lock();
        match policy {
            None => drop(own.remove(&key)),
            Some(_) if own.len() >= self.map.cap() && !own.contains_key(&key) => return false,
            Some(policy) => drop(own.insert(key, policy)),
        }
        // A circuit that is being made may have read the one before.
        common.renew();
        true
    }
}

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::registry::Setup;

    /// Made, or following, while the policy is replaced: it follows later.
    #[test]
    fn a_policy_that_is_replaced_meanwhile_is_followed_later() {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let policy = Policy::consecutive(1).unwrap();
        let common = Common::single(policy, setup);
        let replaced = || {
            common.renew();
            policy
        };
        let circuit = Circuit::new(&common, replaced, None, time.now());
        assert!(circuit.is_behind());
        circuit.follow(replaced);
        assert!(circuit.is_behind());
        circuit.follow(|| policy);
        assert!(!circuit.is_behind());
    }
}
