//! For code that is no Tower service.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::exchange::Codec;
use super::future::end_in_error;
use super::memory::MemoryStore;
use super::record::{Fingerprint, RecordKey};
use super::session::{Session, Turn};
use super::store::Store;
use super::tally::{Count, Tally};
use crate::classify::{Outcome, of_error};
use crate::deadline::Deadline;
use crate::error::AsRejection;
use crate::event::Guarding;
use crate::kernel::gate::Gate;
use crate::kernel::guard::Guard;
use crate::kernel::shared::Shared;

/// An idempotent receiver of messages that come at least once: made by
/// [`IdempotencyLayer::receiver`](super::IdempotencyLayer::receiver). Clones are the
/// same.
pub struct Receiver<St = MemoryStore> {
    state: Shared<Tally>,
    store: Arc<St>,
}

/// What a message has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery<T> {
    /// It had its effect now.
    First(T),
    /// It had it before, with this answer.
    Again(T),
}

impl<T> Delivery<T> {
    /// The answer, whichever time it was.
    pub fn into_inner(self) -> T {
        match self {
            Self::First(answer) | Self::Again(answer) => answer,
        }
    }
}

impl<St> Receiver<St> {
    pub(super) fn new(state: Shared<Tally>, store: Arc<St>) -> Self {
        Self { state, store }
    }
}

impl<St: Store> Receiver<St> {
    /// Runs the effect of a message if nobody has, and records its answer.
    ///
    /// The effect is polled only once the key is granted. An error of it is no
    /// answer: unless it is a refusal from before a service was reached, which gives the
    /// key back, **nobody knows then what has happened**, and the policy says whether a
    /// redelivery runs again. An error that is known to have had no effect can be told
    /// as an answer, for example as `Ok(Err(error))`, or by such a refusal.
    ///
    /// # Errors
    /// Those of the effect; and the refusals of [`IdempotencyLayer`](super::IdempotencyLayer).
    ///
    /// # Cancel safety
    /// Dropped before the effect was polled, nothing has happened, or the lease runs
    /// out; later, the outcome is unknown.
    pub async fn once<T, E, C, F>(
        &self,
        key: RecordKey,
        fingerprint: Fingerprint,
        codec: &C,
        effect: F,
    ) -> Result<Delivery<T>, E>
    where
        E: AsRejection,
        C: Codec<T> + ?Sized,
        F: Future<Output = Result<T, E>>,
    {
        let guards = self.state.admit()?;
        let mut guard = Guard::new(&self.state, ());
        let session = Session {
            tally: self.state.clone(),
            store: Arc::clone(&self.store),
            policy: self.state.policy(),
        };
        let core = &session.tally.core;
        let mut turn = match guards {
            true => session.reserve(key, fingerprint).await,
            false => Turn::Unguarded,
        };
        if let Turn::Replay(record) = turn {
            match core.contain("codec", || codec.decode(record)).flatten() {
                Some(answer) => {
                    session.tally.count(Count::Replayed, Guarding::Replayed);
                    guard.finish(Outcome::Success);
                    return Ok(Delivery::Again(answer));
                }
                None => turn = session.nonsense(),
            }
        }
        let ticket = match turn {
            Turn::Refused(rejection) => {
                guard.finish(Outcome::Neutral);
                return Err(rejection.into());
            }
            Turn::Begin(ticket) => Some(ticket),
            Turn::Unguarded | Turn::Replay(_) => None,
        };
        let result = match &ticket {
            Some(ticket) => Deadline::at(ticket.until).wrap(Gate::open(effect)).await,
            None => Gate::open(effect).await,
        };
        guard.finish(match &result {
            Ok(_) => Outcome::Success,
            Err(error) => of_error(error),
        });
        let Some(ticket) = ticket else {
            return result.map(Delivery::First);
        };
        match result {
            Err(error) => {
                end_in_error(&session, ticket, error.as_rejection()).await;
                Err(error)
            }
            Ok(answer) => {
                let mut record = Session::<St>::record(&key);
                let encode = || codec.encode(&answer, &mut record);
                match core.contain("codec", encode).flatten() {
                    Some(()) => session.complete(ticket, record).await,
                    None => session.unrecorded(ticket).await,
                }
                Ok(Delivery::First(answer))
            }
        }
    }
}

impl<St> Clone for Receiver<St> {
    fn clone(&self) -> Self {
        Self::new(self.state.clone(), Arc::clone(&self.store))
    }
}

impl<St> fmt::Debug for Receiver<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("name", &self.state.core.name())
            .finish_non_exhaustive()
    }
}
