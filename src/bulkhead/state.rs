//! The state that a layer's bulkheads share: who is in, who waits, what was
//! counted.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::policy::Policy;
use crate::classify::Outcome;
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::ends::OWN;
use crate::kernel::guard::Settle;
use crate::kernel::limit::Limit;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::wait::{Door, Who};
use crate::key::KeySpace;
use crate::policy::Override;
use crate::probe::Status;
use crate::registry::{Inspect, Report, Setup};

const REJECTED: usize = OWN;
const WAITED: usize = OWN + 1;
const BYPASSED: usize = OWN + 2;
const BYPASS_ENDED: usize = OWN + 3;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) limit: Limit,
    /// The queue's length and its longest wait in nanoseconds.
    queue: Live<2>,
    counters: Counters<8>,
    /// The ids of tenants in the queue.
    pub(super) tenants: KeySpace,
    /// The policy as it was given.
    policy: Mutex<Policy>,
}

pooled!(State);

/// What an admission gives back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// Permits; 0 for a call that an operator let through beside the limit.
    pub(super) permits: u32,
    /// The class whose share it counts for.
    class: Option<u8>,
}

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("bulkhead", setup);
        let clock = core.clock().clone();
        let state = Arc::new(Self {
            core,
            limit: Limit::with_queue(policy.max_concurrent, clock, policy.discipline),
            queue: Live::new(queue_words(policy)),
            counters: Counters::default(),
            tenants: KeySpace::new(),
            policy: Mutex::new(policy),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    /// One more call, now or not at all. A refusal is not counted yet.
    // Always inlined, so that an admission never becomes a `Result` in memory.
    #[inline(always)]
    fn try_admit(&self, permits: u32, class: Option<u8>) -> Result<Token, RejectionKind> {
        if self.core.is_overruled() {
            return self.ordered(permits, class);
        }
        match self.limit.try_acquire(permits) {
            Ok(()) => Ok(self.token(permits, class)),
            Err(_) => Err(RejectionKind::Full),
        }
    }

    /// The token of permits that were taken.
    #[inline]
    fn token(&self, permits: u32, class: Option<u8>) -> Token {
        self.limit.count(class, false);
        Token { permits, class }
    }

    #[cold]
    fn ordered(&self, permits: u32, class: Option<u8>) -> Result<Token, RejectionKind> {
        let order = self.core.order();
        if order == Override::Close {
            return Err(RejectionKind::Closed);
        }
        if self.limit.try_acquire(permits).is_ok() {
            return Ok(self.token(permits, class));
        }
        // The order may have been taken back in between.
        if order == Override::None {
            return Err(RejectionKind::Full);
        }
        self.counters.add(BYPASSED, 1);
        Ok(Token {
            permits: 0,
            class: None,
        })
    }

    /// As [`try_admit`](Self::try_admit), with the refusal counted and told.
    #[inline]
    pub(super) fn admit(&self, permits: u32) -> Result<Token, Rejection> {
        self.try_admit(permits, None)
            .map_err(|kind| self.reject(kind))
    }

    /// Wakes who waits for a permit, if there is an order to obey.
    pub(super) fn recall(&self) {
        if self.core.is_overruled() {
            self.limit.wake_all();
        }
    }

    pub(super) fn update(&self, policy: Policy) {
        {
            let mut slot = self.policy.lock();
            *slot = policy;
            self.queue.store(queue_words(policy));
            self.limit.set_discipline(policy.discipline);
        }
        // Outside the lock, since it wakes who waits; and again if somebody else
        // has updated in between, or parts of both policies would stay.
        let mut limit = policy.max_concurrent;
        loop {
            self.limit.resize(limit);
            let latest = self.policy().max_concurrent;
            if latest == limit {
                break;
            }
            limit = latest;
        }
        self.core.tell(Event::Updated);
    }

    pub(super) fn policy(&self) -> Policy {
        *self.policy.lock()
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        // Ended before bypassed: a call that ends in between is not missed.
        let ended = count(BYPASS_ENDED);
        let ends = self.counters.ends();
        super::Snapshot {
            limit: self.limit.limit(),
            in_flight: self.limit.in_flight() + count(BYPASSED).saturating_sub(ended),
            waiting: self.limit.waiting(),
            succeeded: ends.succeeded,
            failed: ends.failed,
            neutral: ends.neutral,
            cancelled: ends.cancelled,
            rejected: count(REJECTED),
            waited: count(WAITED),
            bypassed: count(BYPASSED),
        }
    }
}

fn queue_words(policy: Policy) -> [u64; 2] {
    [u64::from(policy.queue_length), nanos(policy.max_wait)]
}

impl Settle for State {
    type Token = Token;

    #[inline]
    fn settle(&self, token: &Token, outcome: Outcome) {
        self.counters.ended(outcome);
        if token.permits == 0 {
            self.counters.add(BYPASS_ENDED, 1);
        } else {
            self.limit.count(token.class, true);
            self.limit.release(token.permits);
        }
        self.core.tell_finished(outcome);
    }
}

impl Door for State {
    const FULL: RejectionKind = RejectionKind::Full;

    fn core(&self) -> &Core {
        &self.core
    }

    fn limit(&self) -> &Limit {
        &self.limit
    }

    fn bounds(&self) -> (u32, Duration) {
        let [length, wait] = self.queue.load();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        (length, Duration::from_nanos(wait))
    }

    #[inline]
    fn try_enter(&self, who: Who) -> Result<Token, RejectionKind> {
        self.try_admit(who.permits, who.class)
    }

    fn arrived(&self, who: Who, _: Tick) -> Token {
        self.token(who.permits, who.class)
    }

    fn waited(&self, wait: Duration) {
        self.counters.add(WAITED, 1);
        self.core.tell(Event::Waited(wait));
    }

    #[cold]
    fn reject(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        let report = self.core.report([
            ("limit", snapshot.limit.into()),
            ("in_flight", snapshot.in_flight.into()),
            ("waiting", snapshot.waiting.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("waited", snapshot.waited.into()),
            ("bypassed", snapshot.bypassed.into()),
        ]);
        let is_full = snapshot.in_flight >= snapshot.limit.into();
        report.at_best(is_full, Status::Warn, "full")
    }
}
