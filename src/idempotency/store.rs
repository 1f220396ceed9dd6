//! Where records are kept.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::record::{Fingerprint, Owner, RecordKey, Token};

/// Whether a request may run again of which nobody knows whether it has had its
/// effect: its owner crashed, was cancelled, or took longer than its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Again {
    /// Never: duplicates are told that it is unknown, until retention is over.
    Never,
    /// One duplicate takes over. For effects that are fenced by the
    /// [`Token`], or are harmless twice.
    Allowed,
}

/// A request for a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reserve {
    /// Which record.
    pub key: RecordKey,
    /// What is asked for under it.
    pub fingerprint: Fingerprint,
    /// Who asks.
    pub owner: Owner,
    /// How long the grant holds: **by the store's clock, from when it grants**.
    pub lease: Duration,
    /// For how long after the lease it is remembered that the outcome is unknown.
    pub retention: Duration,
    /// Whether it may take over what is unknown.
    pub again: Again,
}

impl Reserve {
    /// A request of somebody new, which takes over nothing.
    #[must_use]
    pub fn new(key: RecordKey, fingerprint: Fingerprint, owner: Owner) -> Self {
        let policy = super::Policy::default();
        Self {
            key,
            fingerprint,
            owner,
            lease: policy.lease(),
            retention: policy.retention(),
            again: Again::Never,
        }
    }
}

/// The answer to a [`Reserve`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reservation {
    /// The key was free, or is this owner's already: it may begin.
    Granted {
        /// What it is to complete with.
        token: Token,
        /// Whether somebody before it has left the outcome unknown.
        taken_over: bool,
    },
    /// Another owner's lease holds.
    Busy {
        /// For so long yet.
        remaining: Duration,
    },
    /// The lease ran out, or its owner gave it up, and it must not run again.
    Unknown,
    /// The record has another fingerprint.
    Mismatch,
    /// The record, as it was completed.
    Completed(Bytes),
    /// There is no room for another record. Nothing was stored.
    Full,
}

/// What became of an owner's last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Completion {
    /// It is done.
    Done,
    /// The grant is not this owner's any more: nothing was changed.
    Fenced,
    /// There is no room for so long a record: nothing was changed, and the grant
    /// still holds.
    NoRoom,
}

/// Keeps records: in memory ([`MemoryStore`](super::MemoryStore)), or in a database
/// of yours. `conformance`, under the feature `test-util`, checks one.
///
/// Each method is one atomic step: in a database, one statement or one
/// transaction. All times are durations, counted by the store's own clock, so that
/// the clocks of those who ask need not agree. Records end by themselves: an entry
/// of which neither lease nor retention holds counts as absent.
///
/// A method may fail, and may hang: whoever calls it bounds its time and contains
/// its panics. A step of which the answer was lost may be repeated: `reserve` by the
/// same owner, the others with the same token.
pub trait Store: Send + Sync + 'static {
    /// Why a step failed.
    type Error: Error + Send + Sync + 'static;

    /// Grants a key to whoever asks first, and tells all others what they need.
    fn reserve(
        &self,
        ask: Reserve,
    ) -> impl Future<Output = Result<Reservation, Self::Error>> + Send;

    /// Stores the answer if the token is that of the last grant, and keeps it for
    /// `retention` from now on. A completion that is said again changes nothing and is
    /// [`Completion::Done`].
    ///
    /// A record of up to [`ROOM`] bytes always has room: it was reserved for it.
    fn complete(
        &self,
        key: RecordKey,
        token: Token,
        record: Bytes,
        retention: Duration,
    ) -> impl Future<Output = Result<Completion, Self::Error>> + Send;

    /// Forgets the grant if the token is that of the last one: nothing has
    /// happened, and the next one who asks may begin.
    fn release(
        &self,
        key: RecordKey,
        token: Token,
    ) -> impl Future<Output = Result<Completion, Self::Error>> + Send;

    /// The owner is gone in the middle, and what it has done is unknown.
    ///
    /// It is called where a future is dropped: it must neither block nor wait, and
    /// may do nothing, as it does by default. Then the lease runs out.
    fn abandon(&self, _key: RecordKey, _token: Token) {}
}

/// The bytes of a record that has room wherever a key was granted.
pub const ROOM: usize = 64;
