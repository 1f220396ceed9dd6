//! A breaker from outside: to watch it, to steer it, and for code that is no
//! Tower service.

use super::circuit::Circuit;
use super::keys::{Keys, User};
use super::mode::Mode;
use super::policy::Policy;
use super::snapshot::{Snapshot, of_circuit};
use super::state::State;
#[cfg(doc)]
use crate::RejectionKind;
use crate::classify::Outcome;
use crate::error::Rejection;
use crate::event::Event;
use crate::kernel::call::Hold;
use crate::kernel::guard::{Guard, through};
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;
use crate::key::{Key, KeyId, NoKey};
use crate::policy::PolicyError;
use crate::release::{Admission, sealed};

/// A breaker from outside. Clones are the same breaker.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

steers! {
    State,
    {
        /// The state, what the windows still cover and the probes stay. An open
        /// circuit waits no longer than it would under the new policy. Circuits of
        /// keys follow with their next call, unless they have a policy of their
        /// own. Calls in flight when the slow threshold changes count when they end,
        /// and not before. Another [`Kind`](super::Kind) begins anew. `max_keys` stays
        /// as it was.
        update
    }
    {
        /// The same as a [`Mode`]: [`Override::Bypass`](crate::Override::Bypass) is
        /// [`Mode::Dark`], [`Override::Close`](crate::Override::Close) is
        /// [`Mode::ForcedOpen`].
        set_override
    }
}

impl Handle {
    /// What the breaker does, whatever its policy says, until it is told
    /// [`Mode::Normal`].
    pub fn set_mode(&self, mode: Mode) {
        self.state.core.set_order_word(mode.to_word());
    }

    /// Closes the circuit and forgets what it has counted; in a keyed breaker all
    /// circuits. For a single one see [`circuit`](Self::circuit).
    pub fn reset(&self) {
        self.state.one.reset();
        self.state.users().iter().for_each(|user| user.reset());
    }

    /// Ends the half-open state: closes the circuit if all probes that have ended
    /// were good and there was one, else opens it again. In any other state it does
    /// nothing. In a keyed breaker it is as with [`reset`](Self::reset).
    pub fn drain_probes(&self) {
        self.state.one.drain_probes();
        self.state
            .users()
            .iter()
            .for_each(|user| user.drain_probes());
    }

    /// One call of something that is no Tower service. [`Permit::finish`] says how
    /// it ended; a permit that is dropped was dropped by its caller. For the age of
    /// the call its time counts from here.
    ///
    /// # Errors
    /// [`Open`](RejectionKind::Open) with the time left, or
    /// [`Closed`](RejectionKind::Closed).
    pub fn admit(&self) -> Result<Permit, Rejection> {
        self.admit_by(|_| Err(NoKey::Missing))
    }

    /// As [`admit`](Self::admit), by the circuit of the key that `key` finds in
    /// `request`.
    ///
    /// # Errors
    /// As there.
    pub fn admit_for<K, Req>(&self, key: &K, request: &Req) -> Result<Permit, Rejection>
    where
        K: Key<Req>,
    {
        self.admit_by(|keys| self.state.id(keys, key, request))
    }

    fn admit_by(
        &self,
        key: impl FnOnce(&Keys) -> Result<KeyId, NoKey>,
    ) -> Result<Permit, Rejection> {
        let stamp = self.state.stamp();
        let user = self.state.user(stamp.as_ref(), key);
        let mut permit = Permit(self.state.admit(user, stamp.as_ref())?);
        permit.pending();
        Ok(permit)
    }

    /// The circuit of the key that `key` finds in `request`; `None` if that key has
    /// none, because it was not used lately.
    pub fn circuit<K, Req>(&self, key: &K, request: &Req) -> Option<KeyedCircuit>
    where
        K: Key<Req>,
    {
        let keys = self.state.keys.as_ref()?;
        let id = self.state.id(keys, key, request).ok()?;
        let user = keys.find(&self.state, id)?;
        Some(KeyedCircuit { user, key: id })
    }

    /// The circuits of keys that are open or half-open, in no order. It takes the
    /// time to look at all of them.
    #[must_use]
    pub fn open_circuits(&self) -> Vec<KeyedCircuit> {
        let mut open = self.state.users();
        open.retain(|user| !user.word().is_closed());
        let keyed = |user: User| {
            Some(KeyedCircuit {
                key: user.key()?,
                user,
            })
        };
        open.into_iter().filter_map(keyed).collect()
    }

    /// Gives a key a policy of its own, or with `None` that of all others. It is
    /// kept when the key's circuit makes room for another.
    ///
    /// # Errors
    /// [`PolicyError`] names `key` if the request has none or the breaker has no
    /// keys, and `max_keys` if so many keys have their own.
    pub fn update_for<K, Req>(
        &self,
        key: &K,
        request: &Req,
        policy: Option<Policy>,
    ) -> Result<(), PolicyError>
    where
        K: Key<Req>,
    {
        let keys = self.state.keys.as_ref();
        let found = keys.and_then(|keys| Some((keys, self.state.id(keys, key, request).ok()?)));
        let Some((keys, id)) = found else {
            let allowed = "it takes a keyed breaker, and a request with a key";
            return Err(PolicyError::missing("key", allowed));
        };
        if !keys.set_own(&self.state, id, policy) {
            let allowed = "as many keys as there can be have their own policy";
            return Err(PolicyError::new("max_keys", keys.map.cap(), allowed));
        }
        // Looking at it makes it follow.
        drop(keys.find(&self.state, id));
        self.state.core.tell(Event::Updated);
        Ok(())
    }
}

/// The circuit of one key. It is not given up while somebody holds this.
#[derive(Debug)]
pub struct KeyedCircuit {
    user: User,
    key: KeyId,
}

impl KeyedCircuit {
    /// Whose it is: the same as in its [`Transition`](super::Transition)s.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Where it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        of_circuit(&self.user)
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.user.policy()
    }

    /// As [`Handle::reset`].
    pub fn reset(&self) {
        self.user.reset();
    }

    /// As [`Handle::drain_probes`].
    pub fn drain_probes(&self) {
        self.user.drain_probes();
    }
}

/// One admission to a breaker; it ends when it is dropped.
#[derive(Debug)]
#[must_use = "the call is under way while its permit lives"]
pub struct Permit(Guard<Circuit>);

impl Permit {
    #[inline]
    pub(super) fn new(guard: Guard<Circuit>) -> Self {
        Self(guard)
    }

    /// Ends the admission and says how the call ended.
    pub fn finish(mut self, outcome: Outcome) {
        self.0.finish(outcome);
    }
}

impl Hold for Permit {
    #[inline]
    fn through<R>(&mut self, f: impl FnOnce() -> R) -> R {
        through(&mut self.0, f)
    }

    #[inline]
    fn judge<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        self.0.state()?.common.core.contain("classifier", f)
    }

    #[inline]
    fn pending(&mut self) {
        let mut token = *self.0.token_mut();
        if let Some(circuit) = self.0.state() {
            circuit.pend(&mut token);
        }
        *self.0.token_mut() = token;
    }
}

impl sealed::Admission for Permit {}

impl Admission for Permit {
    #[inline]
    fn finish(&mut self, outcome: Outcome) {
        self.0.finish(outcome);
    }

    #[inline]
    fn finish_with(&mut self, judge: impl FnOnce() -> Outcome) {
        let outcome = self.judge(judge);
        self.0.finish(outcome.unwrap_or(Outcome::Neutral));
    }
}
