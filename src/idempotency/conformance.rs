//! What every [`Store`] must do: a suite that runs against yours.
//!
//! ```
//! use tower_keep::idempotency::{MemoryStore, conformance};
//! use tower_keep::test_util::{ManualClock, finish_on};
//!
//! let time = ManualClock::new();
//! let store = MemoryStore::new(1_000, 1_000_000, time.clock())?;
//! let suite = conformance::verify(&store, async |pause| time.advance(pause));
//! assert!(finish_on(&time, suite).is_some());
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```

// A suite says what is wrong by panicking.
#![allow(clippy::panic)]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::record::{Fingerprint, Owner, RecordKey, Token};
use super::store::{Again, Completion, ROOM, Reservation, Reserve, Store};

/// The lease of the suite's grants. Nothing but `pause` may take longer than half of
/// it.
pub const LEASE: Duration = Duration::from_secs(2);
/// The retention of the suite's records.
pub const RETENTION: Duration = Duration::from_secs(6);

/// How many ask for one key at once.
const CROWD: usize = 32;

/// Runs all checks on a store, which may hold other records: the suite's keys are
/// random. `pause` lets that much of the store's time pass.
///
/// # Panics
/// If the store does anything else than it should, or fails.
pub async fn verify<St: Store>(store: &St, mut pause: impl AsyncFnMut(Duration)) {
    let suite = Suite { store };
    suite.one_is_granted_and_the_others_get_its_record().await;
    suite.of_a_crowd_one_is_granted().await;
    suite.another_payload_changes_nothing().await;
    suite.a_release_gives_the_key_back().await;
    suite.a_late_owner_is_fenced(&mut pause).await;
    suite.what_must_not_run_again_is_unknown(&mut pause).await;
    suite.who_is_late_and_alone_completes(&mut pause).await;
    suite.records_end(&mut pause).await;
}

struct Suite<'a, St> {
    store: &'a St,
}

/// Somebody new who asks for a key.
fn ask(key: RecordKey, again: Again) -> Reserve {
    let print = Fingerprint::of(b"payload");
    let mut ask = Reserve::new(key, print, Owner::random());
    (ask.lease, ask.retention, ask.again) = (LEASE, RETENTION, again);
    ask
}

fn new_key() -> RecordKey {
    RecordKey::of(&[b"conformance", &rand::random::<u128>().to_le_bytes()])
}

/// All 256 bytes, more than once.
fn long_record() -> Bytes {
    (0..=u8::MAX).cycle().take(1_000).collect()
}

impl<St: Store> Suite<'_, St> {
    async fn reserve(&self, ask: Reserve) -> Reservation {
        match self.store.reserve(ask).await {
            Ok(said) => said,
            Err(error) => panic!("reserve has failed: {error}"),
        }
    }

    async fn granted(&self, ask: Reserve) -> (Token, bool) {
        match self.reserve(ask).await {
            Reservation::Granted { token, taken_over } => (token, taken_over),
            said => panic!("a key that is free was not granted: {said:?}"),
        }
    }

    async fn complete(&self, key: RecordKey, token: Token, record: Bytes) -> Completion {
        match self.store.complete(key, token, record, RETENTION).await {
            Ok(said) => said,
            Err(error) => panic!("complete has failed: {error}"),
        }
    }

    async fn release(&self, key: RecordKey, token: Token) -> Completion {
        match self.store.release(key, token).await {
            Ok(said) => said,
            Err(error) => panic!("release has failed: {error}"),
        }
    }

    async fn one_is_granted_and_the_others_get_its_record(&self) {
        let key = new_key();
        let first = ask(key, Again::Never);
        let (token, taken_over) = self.granted(first).await;
        assert!(!taken_over, "a new key was taken over from somebody");
        let repeated = self.granted(first).await;
        assert_eq!(
            repeated,
            (token, false),
            "an owner that asks again is the same"
        );
        for again in [Again::Never, Again::Allowed] {
            match self.reserve(ask(key, again)).await {
                Reservation::Busy { remaining } => assert!(remaining <= LEASE, "{remaining:?}"),
                said => panic!("while the lease holds, the key is busy: {said:?}"),
            }
        }
        let record = long_record();
        let done = self.complete(key, token, record.clone()).await;
        assert_eq!(done, Completion::Done);
        let repeated = self
            .complete(key, token, Bytes::from_static(b"other"))
            .await;
        assert_eq!(repeated, Completion::Done, "a completion may be said again");
        for again in [Again::Never, Again::Allowed] {
            let said = self.reserve(ask(key, again)).await;
            assert_eq!(said, Reservation::Completed(record.clone()));
        }
        let late = self.release(key, token).await;
        assert_eq!(
            late,
            Completion::Fenced,
            "what is completed is not released"
        );
    }

    async fn of_a_crowd_one_is_granted(&self) {
        let key = new_key();
        let mut crowd: Vec<Pin<Box<_>>> = (0..CROWD)
            .map(|_| Box::pin(self.reserve(ask(key, Again::Allowed))))
            .collect();
        let mut granted = 0;
        poll_fn(|cx| {
            crowd.retain_mut(|one| match one.as_mut().poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Reservation::Granted { .. }) => {
                    granted += 1;
                    false
                }
                Poll::Ready(Reservation::Busy { .. }) => false,
                Poll::Ready(said) => panic!("a busy key says {said:?}"),
            });
            match crowd.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        assert_eq!(
            granted, 1,
            "of {CROWD} who ask at once, one is granted the key"
        );
    }

    async fn another_payload_changes_nothing(&self) {
        let key = new_key();
        let (token, _) = self.granted(ask(key, Again::Never)).await;
        let mut other = ask(key, Again::Allowed);
        other.fingerprint = Fingerprint::of(b"another payload");
        assert_eq!(self.reserve(other).await, Reservation::Mismatch);
        let record = Bytes::from(vec![7; ROOM]);
        let done = self.complete(key, token, record.clone()).await;
        assert_eq!(done, Completion::Done, "{ROOM} bytes always have room");
        assert_eq!(self.reserve(other).await, Reservation::Mismatch);
        let said = self.reserve(ask(key, Again::Never)).await;
        assert_eq!(said, Reservation::Completed(record));
    }

    async fn a_release_gives_the_key_back(&self) {
        let key = new_key();
        let (token, _) = self.granted(ask(key, Again::Never)).await;
        assert_eq!(self.release(key, token).await, Completion::Done);
        let gone = self.complete(key, token, long_record()).await;
        assert_eq!(
            gone,
            Completion::Fenced,
            "what was released is not completed"
        );
        let (next, taken_over) = self.granted(ask(key, Again::Never)).await;
        assert!(!taken_over, "what was released is not unknown");
        assert!(next > token, "tokens grow: {next:?} after {token:?}");
        let stranger = self.release(key, token).await;
        assert_eq!(stranger, Completion::Fenced, "only the last owner releases");
    }

    async fn a_late_owner_is_fenced(&self, pause: &mut impl AsyncFnMut(Duration)) {
        let key = new_key();
        let (token, _) = self.granted(ask(key, Again::Allowed)).await;
        pause(LEASE).await;
        let (next, taken_over) = self.granted(ask(key, Again::Allowed)).await;
        assert!(taken_over, "a key of which the lease ran out is taken over");
        assert!(next > token, "tokens grow: {next:?} after {token:?}");
        let late = self.complete(key, token, Bytes::from_static(b"late")).await;
        assert_eq!(late, Completion::Fenced);
        assert_eq!(self.release(key, token).await, Completion::Fenced);
        self.store.abandon(key, token);
        let record = Bytes::from_static(b"next");
        let done = self.complete(key, next, record.clone()).await;
        assert_eq!(done, Completion::Done);
        let late = self.complete(key, token, Bytes::from_static(b"late")).await;
        assert_eq!(late, Completion::Fenced);
        let said = self.reserve(ask(key, Again::Allowed)).await;
        assert_eq!(said, Reservation::Completed(record));
    }

    async fn what_must_not_run_again_is_unknown(&self, pause: &mut impl AsyncFnMut(Duration)) {
        let key = new_key();
        let (token, _) = self.granted(ask(key, Again::Never)).await;
        self.store.abandon(key, token);
        match self.reserve(ask(key, Again::Never)).await {
            // Whether it hears of it or not.
            Reservation::Unknown | Reservation::Busy { .. } => {}
            said => panic!("what was abandoned says {said:?}"),
        }
        pause(LEASE).await;
        for _ in 0..2 {
            let said = self.reserve(ask(key, Again::Never)).await;
            assert_eq!(said, Reservation::Unknown);
        }
    }

    async fn who_is_late_and_alone_completes(&self, pause: &mut impl AsyncFnMut(Duration)) {
        let key = new_key();
        let (token, _) = self.granted(ask(key, Again::Never)).await;
        pause(LEASE).await;
        let record = long_record();
        let done = self.complete(key, token, record.clone()).await;
        assert_eq!(done, Completion::Done, "nobody has taken over");
        let said = self.reserve(ask(key, Again::Never)).await;
        assert_eq!(said, Reservation::Completed(record));
    }

    async fn records_end(&self, pause: &mut impl AsyncFnMut(Duration)) {
        let (completed, unknown) = (new_key(), new_key());
        let (token, _) = self.granted(ask(completed, Again::Never)).await;
        self.granted(ask(unknown, Again::Never)).await;
        self.complete(completed, token, long_record()).await;
        pause(RETENTION).await;
        let (next, taken_over) = self.granted(ask(completed, Again::Never)).await;
        assert!(!taken_over && next > token, "after retention, a key is new");
        let said = self.reserve(ask(unknown, Again::Never)).await;
        assert_eq!(said, Reservation::Unknown, "unknown outlasts the lease");
        pause(LEASE).await;
        let (_, taken_over) = self.granted(ask(unknown, Again::Never)).await;
        assert!(!taken_over, "after retention, a key is new");
    }
}
