//! The state that a layer's services share: who is in flight, what was counted.

use std::sync::Arc;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;

use super::policy::{OnStuck, Policy};
use super::table::{Details, Table};
use crate::classify::{Failure, Outcome};
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::{Event, Stuck};
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::guard::Settle;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::key::{Key, KeyId, KeySpace};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const ADMITTED: usize = 0;
const FINISHED: usize = 1;
const GIVEN_UP: usize = 2;
const PANICKED: usize = 3;
const CANCELLED: usize = 4;
const REJECTED: usize = 5;
const UNLISTED: usize = 6;
const BYPASSED: usize = 7;
const STUCK: usize = 8;

/// No limit.
const NONE: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) table: Table,
    /// One for each slot: of those who wait to hear that they were given up on.
    wakers: Box<[AtomicWaker]>,
    /// Stuck after, hung after, whether stuck calls are given up on.
    live: Live<3>,
    counters: Counters<9>,
    keys: KeySpace,
    /// The policy as it was given.
    policy: Mutex<Policy>,
}

pooled!(State);

/// Where a call is in the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// [`Token::UNLISTED`] if it is not there.
    slot: u32,
    /// Whether its waker may be there too.
    wakes: bool,
}

impl Token {
    /// Of a call that is not in the table.
    pub(super) const UNLISTED: Self = Self {
        slot: u32::MAX,
        wakes: false,
    };

    pub(super) fn slot(self) -> Option<u32> {
        (self.slot != Self::UNLISTED.slot).then_some(self.slot)
    }

    pub(super) fn wakes(&mut self) {
        self.wakes = true;
    }
}

fn words(policy: Policy) -> [u64; 3] {
    [
        nanos(policy.stuck_after),
        policy.hung_after.map_or(NONE, nanos),
        u64::from(policy.on_stuck == OnStuck::Reject),
    ]
}

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("watchdog", setup);
        let table = Table::new(policy.capacity as usize);
        let wakers = std::iter::repeat_with(AtomicWaker::new);
        let state = Arc::new(Self {
            core,
            wakers: wakers.take(table.capacity()).collect(),
            table,
            live: Live::new(words(policy)),
            counters: Counters::default(),
            keys: KeySpace::new(),
            policy: Mutex::new(policy),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn policy(&self) -> Policy {
        *self.policy.lock()
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut slot = self.policy.lock();
            // The table stays as it is.
            let capacity = slot.capacity;
            *slot = Policy { capacity, ..policy };
            self.live.store(words(policy));
        }
        self.core.tell(Event::Updated);
    }

    /// The limits on a call and on all of them.
    pub(super) fn limits(&self) -> (Duration, Option<Duration>) {
        let [stuck, hung] = self.live.load_first();
        let hung = (hung != NONE).then(|| Duration::from_nanos(hung));
        (Duration::from_nanos(stuck), hung)
    }

    #[inline]
    pub(super) fn gives_up(&self) -> bool {
        self.live.word::<2>() != 0
    }

    pub(super) fn waker(&self, slot: u32) -> Option<&AtomicWaker> {
        self.wakers.get(slot as usize)
    }

    /// The id of a request's key, if it has one.
    pub(super) fn key_id<K: Key<Req>, Req>(&self, key: &K, request: &Req) -> Option<KeyId> {
        self.core
            .contain("key", || self.keys.id(key, request).ok())
            .flatten()
    }

    /// A call begins, in the table if it has room and nobody has ordered otherwise.
    #[inline]
    pub(super) fn admit(&self, key: impl FnOnce() -> Option<KeyId>) -> Result<Token, Rejection> {
        if self.core.is_overruled() {
            match self.core.order() {
                Override::None => {}
                Override::Bypass => {
                    self.counters.add(ADMITTED, 1);
                    self.counters.add(BYPASSED, 1);
                    return Ok(Token::UNLISTED);
                }
                Override::Close => return Err(self.refuse(RejectionKind::Closed)),
            }
        }
        let key = key();
        self.counters.add(ADMITTED, 1);
        Ok(match self.table.enter(key) {
            Some(slot) => Token { slot, wakes: false },
            None => self.unlisted(),
        })
    }

    #[cold]
    fn unlisted(&self) -> Token {
        self.counters.add(UNLISTED, 1);
        Token::UNLISTED
    }

    /// Refuses a call that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    /// Gives up on a call.
    #[cold]
    pub(super) fn give_up(&self) -> Rejection {
        self.core
            .reject(Rejection::after(RejectionKind::Stuck, self.core.id()))
    }

    /// Ends of calls until now.
    pub(super) fn ended(&self) -> u64 {
        let ends = [FINISHED, GIVEN_UP, PANICKED, CANCELLED].map(|which| self.counters.sum(which));
        ends.iter().fold(0, |sum, ends| sum.wrapping_add(*ends))
    }

    /// Calls in flight.
    pub(super) fn in_flight(&self) -> u64 {
        // Ends before beginnings: what ends in between is not missed.
        let ended = self.ended();
        self.counters.sum(ADMITTED).saturating_sub(ended)
    }

    /// Tells of a stuck call, and gives up on it if the policy says so.
    pub(super) fn tell_stuck(&self, slot: u32, call: u64, age: Duration, details: &Details) {
        self.counters.add(STUCK, 1);
        self.core.tell(Event::Stuck(Stuck {
            age,
            stage: details.stage(),
            key: details.key,
        }));
        if self.gives_up() {
            self.table.condemn(slot, call);
            // In between another call may have come: it is woken for nothing.
            if let Some(waker) = self.waker(slot).and_then(AtomicWaker::take) {
                self.core.contain("waker", || waker.wake());
            }
        }
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        // As above.
        let (finished, given_up) = (count(FINISHED), count(GIVEN_UP));
        let (panicked, cancelled) = (count(PANICKED), count(CANCELLED));
        let ended = finished + given_up + panicked + cancelled;
        super::Snapshot {
            in_flight: count(ADMITTED).saturating_sub(ended),
            finished,
            given_up,
            panicked,
            cancelled,
            rejected: count(REJECTED),
            stuck: count(STUCK),
            unlisted: count(UNLISTED),
            bypassed: count(BYPASSED),
        }
    }
}

impl Settle for State {
    type Token = Token;

    #[inline]
    fn settle(&self, token: &Token, outcome: Outcome) {
        if let Some(slot) = token.slot() {
            if token.wakes {
                drop(self.waker(slot).and_then(AtomicWaker::take));
            }
            self.table.leave(slot);
        }
        self.counters.add(
            match outcome {
                Outcome::Success | Outcome::Neutral => FINISHED,
                Outcome::Failure(Failure::Panic) => PANICKED,
                Outcome::Failure(_) => GIVEN_UP,
                Outcome::Cancelled => CANCELLED,
            },
            1,
        );
        self.core.tell_finished(outcome);
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("in_flight", snapshot.in_flight.into()),
            ("finished", snapshot.finished.into()),
            ("given_up", snapshot.given_up.into()),
            ("panicked", snapshot.panicked.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("stuck", snapshot.stuck.into()),
            ("unlisted", snapshot.unlisted.into()),
            ("bypassed", snapshot.bypassed.into()),
        ])
    }
}

/// A call in flight, as who looks through the table has seen it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    call: u64,
    since: Tick,
    told: bool,
}

/// What a watchdog remembers of a layer between two looks.
#[derive(Debug)]
pub(super) struct Memory {
    seen: Vec<Seen>,
    /// Ends at the last look at which there were more, or nobody was in flight.
    ended: u64,
    moved: Tick,
}

impl Memory {
    pub(super) fn new(state: &State, now: Tick) -> Self {
        let nobody = Seen {
            call: 0,
            since: Tick::ZERO,
            told: false,
        };
        Self {
            seen: vec![nobody; state.table.capacity()],
            ended: state.ended(),
            moved: now,
        }
    }

    /// Looks at every call, and tells of those that are stuck.
    pub(super) fn look(&mut self, state: &State, now: Tick) {
        let (limit, _) = state.limits();
        state.table.look(|slot, call| {
            let Some(seen) = self.seen.get_mut(slot as usize) else {
                return;
            };
            if seen.call != call {
                *seen = Seen {
                    call,
                    since: now,
                    told: false,
                };
            }
            let age = now.saturating_since(seen.since);
            if age >= limit && !seen.told {
                seen.told = true;
                let details = state.table.details(slot, call);
                state.tell_stuck(slot, call, age, &details);
            }
        });
    }

    /// For how long requests have been in flight while none has ended.
    pub(super) fn still_for(&mut self, state: &State, now: Tick) -> Duration {
        let ended = state.ended();
        if ended != self.ended || state.in_flight() == 0 {
            self.ended = ended;
            self.moved = now;
        }
        now.saturating_since(self.moved)
    }

    /// Every call in flight, in no order.
    pub(super) fn calls(&self, state: &State, now: Tick) -> Vec<super::CallInFlight> {
        let mut calls = Vec::new();
        state.table.look(|slot, call| {
            let seen = self.seen.get(slot as usize);
            let since = seen.filter(|seen| seen.call == call);
            let details = state.table.details(slot, call);
            calls.push(super::CallInFlight {
                layer: state.core.name().to_owned(),
                age: since.map_or(Duration::ZERO, |seen| now.saturating_since(seen.since)),
                stage: details.stage().to_owned(),
                key: details.key,
            });
        });
        calls
    }
}
