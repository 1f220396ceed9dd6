//! One request with a key: its steps in the store, and what it holds meanwhile.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::policy::{InFlight, Policy, Unguarded, Unrecorded};
use super::record::{Fingerprint, Owner, RecordKey, Token};
use super::store::{Completion, Reservation, Reserve, Store};
use super::tally::{Count, Tally};
use crate::clock::Tick;
use crate::deadline::Deadline;
use crate::error::{Rejection, RejectionKind};
use crate::event::{Event, Guarding, Step, Trouble};
use crate::kernel::shared::Shared;

/// What the first byte of a record says.
const ANSWER: u8 = 1;
const MARK: u8 = 2;

/// How soon a duplicate may come back, if the lease does not end before.
const SOON: Duration = Duration::from_secs(1);
/// Between two looks of a waiting duplicate: twice as long each time.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LAST_LOOK: Duration = Duration::from_millis(200);

/// A store, and what is counted.
pub(super) struct Session<St> {
    pub(super) tally: Shared<Tally>,
    pub(super) store: Arc<St>,
    pub(super) policy: Policy,
}

/// Whose turn it is.
pub(super) enum Turn<St: Store> {
    /// This one's.
    Begin(Ticket<St>),
    /// Nobody's: it has been answered.
    Replay(Bytes),
    /// This one's, unguarded.
    Unguarded,
    /// Not this one's.
    Refused(Rejection),
}

/// A grant. Whoever drops it does not know what has been done under it.
pub(super) struct Ticket<St: Store> {
    tally: Shared<Tally>,
    store: Arc<St>,
    key: RecordKey,
    pub(super) token: Token,
    /// When the lease ends, by the layer's clock and not later than by the store's.
    pub(super) until: Tick,
    open: bool,
}

impl<St: Store> Drop for Ticket<St> {
    fn drop(&mut self) {
        if self.open {
            self.tally.count(Count::Abandoned, Guarding::Abandoned);
            let abandon = || self.store.abandon(self.key, self.token);
            self.tally.core.contain("store", abandon);
        }
    }
}

impl<St: Store> Session<St> {
    /// Asks for the key until it is clear whose turn it is.
    pub(super) async fn reserve(&self, key: RecordKey, fingerprint: Fingerprint) -> Turn<St> {
        let policy = &self.policy;
        let ask = Reserve {
            key,
            fingerprint,
            owner: Owner::random(),
            lease: policy.lease(),
            retention: policy.retention(),
            again: policy.again(),
        };
        let clock = self.tally.core.clock();
        let begun = clock.now();
        let patience = begun.saturating_add(policy.max_wait());
        let patience = Deadline::current().map_or(patience, |d| patience.min(d.tick()));
        let mut look = FIRST_LOOK;
        let mut now = begun;
        loop {
            let step = self.step(Step::Reserve, || self.store.reserve(ask));
            let Ok(said) = step.await else {
                return self.without(policy.store_fails(), RejectionKind::StoreFailed);
            };
            match said {
                Reservation::Granted { token, taken_over } => {
                    return Turn::Begin(self.ticket(key, token, taken_over, now));
                }
                Reservation::Completed(record) => return self.recorded(key, record),
                Reservation::Mismatch => return self.refused(RejectionKind::KeyReused, None),
                Reservation::Unknown => return self.refused(RejectionKind::OutcomeUnknown, None),
                Reservation::Full => {
                    self.tally.full();
                    return self.without(policy.store_full(), RejectionKind::StoreFull);
                }
                Reservation::Busy { remaining } => {
                    let kind = match policy.in_flight() {
                        InFlight::Conflict | InFlight::Wait => RejectionKind::InProgress,
                        InFlight::TooEarly => RejectionKind::TooEarly,
                        InFlight::Accepted => RejectionKind::Accepted,
                    };
                    now = clock.now();
                    if policy.in_flight() != InFlight::Wait || now >= patience {
                        return self.refused(kind, Some(remaining.min(SOON)));
                    }
                    let due = now.saturating_add(look.min(remaining)).min(patience);
                    if clock.sleep_from(now, due).await.is_err() {
                        return self.refused(RejectionKind::NoRuntime, None);
                    }
                    now = clock.now();
                    look = (look * 2).min(LAST_LOOK);
                }
            }
        }
    }

    fn ticket(&self, key: RecordKey, token: Token, taken_over: bool, now: Tick) -> Ticket<St> {
        match taken_over {
            true => self.tally.count(Count::TakenOver, Guarding::TakenOver),
            false => self.tally.count(Count::Reserved, Guarding::Reserved),
        }
        Ticket {
            tally: self.tally.clone(),
            store: Arc::clone(&self.store),
            key,
            token,
            until: now.saturating_add(self.policy.lease()),
            open: true,
        }
    }

    /// A record that says of itself that it belongs to this key.
    fn recorded(&self, key: RecordKey, mut record: Bytes) -> Turn<St> {
        let seal = record.get(1..33) == Some(key.as_bytes());
        match record.first() {
            Some(&ANSWER) if seal => Turn::Replay(record.split_off(33)),
            Some(&MARK) if seal => self.refused(RejectionKind::AnswerNotKept, None),
            _ => self.nonsense(),
        }
    }

    /// The store has said what cannot be.
    pub(super) fn nonsense(&self) -> Turn<St> {
        self.tally.trouble(Step::Reserve, Trouble::Nonsense);
        self.without(self.policy.store_fails(), RejectionKind::StoreFailed)
    }

    fn without(&self, choice: Unguarded, kind: RejectionKind) -> Turn<St> {
        match choice {
            Unguarded::Refuse => self.refused(kind, None),
            Unguarded::Run => {
                self.tally.count(Count::Unguarded, Guarding::Unguarded);
                Turn::Unguarded
            }
        }
    }

    fn refused(&self, kind: RejectionKind, wait: Option<Duration>) -> Turn<St> {
        Turn::Refused(self.tally.refuse(kind, wait))
    }

    /// Where a record of this key begins: what makes the answer follows.
    pub(super) fn record(key: &RecordKey) -> Vec<u8> {
        let mut record = vec![ANSWER];
        record.extend(key.as_bytes());
        record
    }

    /// It has its answer, and this is the record.
    pub(super) async fn complete(&self, mut ticket: Ticket<St>, record: Vec<u8>) {
        let fits = record.len() <= self.policy.max_answer();
        if fits && self.store_record(&mut ticket, record.into()).await {
            return;
        }
        if ticket.open {
            self.unrecorded(ticket).await;
        }
    }

    /// It has its answer, and that is not recorded.
    pub(super) async fn unrecorded(&self, mut ticket: Ticket<St>) {
        if self.policy.unrecorded() == Unrecorded::Forget {
            self.release(ticket).await;
            return;
        }
        let mut mark = vec![MARK];
        mark.extend(ticket.key.as_bytes());
        // If there is no room even for this, the outcome is unknown.
        self.store_record(&mut ticket, mark.into()).await;
    }

    /// Whether there is nothing left to do for it.
    async fn store_record(&self, ticket: &mut Ticket<St>, record: Bytes) -> bool {
        let (key, token) = (ticket.key, ticket.token);
        let mark = record.first() == Some(&MARK);
        let retention = self.policy.retention();
        let complete = || self.store.complete(key, token, record, retention);
        match self.step(Step::Complete, complete).await {
            Ok(Completion::Done) => {
                ticket.open = false;
                match mark {
                    true => self.tally.count(Count::Unrecorded, Guarding::Unrecorded),
                    false => self.tally.count(Count::Recorded, Guarding::Recorded),
                }
                true
            }
            Ok(Completion::Fenced) => {
                ticket.open = false;
                self.tally.count(Count::Fenced, Guarding::Fenced);
                true
            }
            Ok(Completion::NoRoom) => {
                self.tally.full();
                false
            }
            Err(_) => true,
        }
    }

    /// It has had no effect.
    pub(super) async fn release(&self, mut ticket: Ticket<St>) {
        let (key, token) = (ticket.key, ticket.token);
        match self
            .step(Step::Release, || self.store.release(key, token))
            .await
        {
            Ok(Completion::Done) => {
                ticket.open = false;
                self.tally.count(Count::Released, Guarding::Released);
            }
            Ok(_) => {
                ticket.open = false;
                self.tally.count(Count::Fenced, Guarding::Fenced);
            }
            // The lease runs out.
            Err(_) => {}
        }
    }

    /// One step of the store: bounded in time, and its panics contained.
    async fn step<T, F>(&self, step: Step, make: impl FnOnce() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, St::Error>>,
    {
        let core = &self.tally.core;
        let clock = core.clock();
        let begun = core.is_heard().then(|| clock.now());
        let mut future = pin!(core.contain("store", make));
        let mut timer = None;
        let said = poll_fn(|cx| {
            let Some(future) = future.as_mut().as_pin_mut() else {
                return Poll::Ready(Err(Trouble::Panicked));
            };
            match core.contain("store", || future.poll(cx)) {
                None => return Poll::Ready(Err(Trouble::Panicked)),
                Some(Poll::Ready(said)) => return Poll::Ready(said.map_err(|_| Trouble::Failed)),
                Some(Poll::Pending) => {}
            }
            let timer = timer.get_or_insert_with(|| {
                let now = clock.now();
                let due = now.saturating_add(self.policy.store_timeout());
                let due = Deadline::current().map_or(due, |d| due.min(d.tick()));
                clock.sleep_from(now, due)
            });
            match pin!(timer).poll(cx) {
                // Without a runtime nothing bounds it: it is over, too.
                Poll::Ready(_) => Poll::Ready(Err(Trouble::TimedOut)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        // Dropped here, since its drop is the user's as well.
        core.contain("store", || future.set(None));
        if let Some(begun) = begun {
            let took = clock.now().saturating_since(begun);
            core.tell(Event::Guarding(Guarding::Stored { step, took }));
        }
        said.inspect_err(|trouble| self.tally.trouble(step, *trouble))
    }
}
