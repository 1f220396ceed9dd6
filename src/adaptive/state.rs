//! The state that a layer's services share: the limit, what was measured, and
//! the algorithm that makes one of the other.

use std::sync::Arc;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::meter::{Ledger, Meter, Sums, Timed};
use super::policy::Policy;
use crate::classify::{Failure, Outcome};
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::ends::OWN;
use crate::kernel::guard::Settle;
use crate::kernel::limit::Limit;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::Mutex;
use crate::kernel::wait::{Door, Who};
use crate::key::KeySpace;
use crate::policy::Override;
use crate::registry::Setup;

pub(super) const REJECTED: usize = OWN;
const REACHED: usize = OWN + 1;
const DROPPED: usize = OWN + 2;
pub(super) const BYPASSED: usize = OWN + 3;
pub(super) const BYPASS_ENDED: usize = OWN + 4;
const TIMED: usize = OWN + 5;
pub(super) const WAITED: usize = OWN + 6;
const WAITED_NANOS: usize = OWN + 7;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    pub(super) limit: Limit,
    pub(super) counters: Counters<12>,
    pub(super) meter: Meter,
    /// The ids of tenants in the queue.
    pub(super) tenants: KeySpace,
    pub(super) judge: Mutex<Judge>,
}

pooled!(State);

#[derive(Debug)]
pub(super) struct Judge {
    policy: Policy,
    pub(super) ledger: Ledger,
    /// Gone while it thinks.
    algorithm: Option<Box<dyn Algorithm>>,
    pub(super) name: &'static str,
    /// Given by the user: no policy replaces it.
    own: bool,
    /// Counts replacements: who was thinking meanwhile is out of date.
    version: u32,
    limit: u32,
}

/// What an admission gives back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// 0 for a call that an operator let through beside the limit.
    pub(super) permits: u32,
    /// The class whose share it counts for.
    class: Option<u8>,
    timed: Timed,
}

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("adaptive", setup);
        let clock = core.clock().clone();
        let now = clock.now();
        let algorithm = policy.algorithm();
        let state = Arc::new(Self {
            core,
            limit: Limit::with_queue(policy.initial_limit, clock, policy.discipline),
            counters: Counters::default(),
            meter: Meter::new(&policy, now),
            tenants: KeySpace::new(),
            judge: Mutex::new(Judge {
                policy,
                ledger: Ledger::new(now),
                name: algorithm.name(),
                algorithm: Some(algorithm),
                own: false,
                version: 0,
                limit: policy.initial_limit,
            }),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    /// Another algorithm than the policy's.
    pub(super) fn rule_by(&self, algorithm: Box<dyn Algorithm>) {
        let name = self.core.contain("algorithm", || algorithm.name());
        let old = {
            let mut judge = self.judge.lock();
            judge.own = true;
            judge.name = name.unwrap_or("own");
            judge.version = judge.version.wrapping_add(1);
            judge.algorithm.replace(algorithm)
        };
        self.core.contain("algorithm", || drop(old));
    }

    /// One more call, now or not at all. A refusal is not counted yet.
    // Always inlined, so that an admission never becomes a `Result` in memory.
    #[inline(always)]
    fn try_admit(&self, permits: u32, class: Option<u8>) -> Result<Token, RejectionKind> {
        if self.core.is_overruled() {
            return self.ordered(permits, class);
        }
        match self.limit.try_acquire(permits) {
            Ok(()) => Ok(self.token(permits, class, || self.core.clock().stamp().now())),
            Err(_) => Err(RejectionKind::LimitReached),
        }
    }

    /// The token of permits that were just taken.
    #[inline]
    fn token(&self, permits: u32, class: Option<u8>, now: impl FnOnce() -> Tick) -> Token {
        self.limit.count(class, false);
        Token {
            permits,
            class,
            timed: self.meter.begin(now),
        }
    }

    #[cold]
    fn ordered(&self, permits: u32, class: Option<u8>) -> Result<Token, RejectionKind> {
        let order = self.core.order();
        if order == Override::Close {
            return Err(RejectionKind::Closed);
        }
        if self.limit.try_acquire(permits).is_ok() {
            return Ok(self.token(permits, class, || self.core.clock().now()));
        }
        // The order may have been taken back in between.
        if order == Override::None {
            return Err(RejectionKind::LimitReached);
        }
        self.counters.add(BYPASSED, 1);
        Ok(Token {
            permits: 0,
            class: None,
            timed: Timed::NOT,
        })
    }

    /// As [`try_admit`](Self::try_admit), with the refusal counted and told.
    #[inline]
    pub(super) fn admit(&self, permits: u32) -> Result<Token, Rejection> {
        self.try_admit(permits, None).map_err(|kind| {
            if kind == RejectionKind::LimitReached {
                self.counters.add(REACHED, 1);
                return self.reached(0);
            }
            self.reject(kind)
        })
    }

    /// The limit is reached, and so many wait: by the time that calls usually take, the
    /// wait until it would be the turn of one more.
    #[cold]
    fn reached(&self, waiting: u32) -> Rejection {
        let usual = u128::from(nanos(self.meter.usual()));
        let wait = usual * (u128::from(waiting) + 1) / u128::from(self.limit.limit().max(1));
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        let rejection = Rejection::before(RejectionKind::LimitReached, self.core.id());
        self.count_refusal(rejection.with_wait(wait))
    }

    fn count_refusal(&self, rejection: Rejection) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(rejection)
    }

    /// Wakes who waits, if there is an order to obey.
    pub(super) fn recall(&self) {
        if self.core.is_overruled() {
            self.limit.wake_all();
        }
    }

    #[inline]
    fn measure(&self, timed: Timed, outcome: Outcome) {
        let now = self.core.clock().now();
        let word = self.meter.word(timed, outcome == Outcome::Success, now);
        if let Some(word) = word {
            self.counters.add(TIMED, word);
        }
        if self.meter.is_over(now) {
            self.close(now);
        }
    }

    fn sums(&self) -> Sums {
        let count = |which| self.counters.sum(which);
        Sums {
            timed: count(TIMED),
            ended: self.counters.ends().all(),
            dropped: count(DROPPED),
            reached: count(REACHED),
            refused: count(REJECTED),
            waited: count(WAITED_NANOS),
        }
    }

    /// Asks the algorithm about the window, outside of the lock.
    #[cold]
    fn close(&self, now: Tick) {
        let (window, mut algorithm, version) = {
            let mut judge = self.judge.lock();
            let sums = self.sums();
            let Judge {
                policy,
                ledger,
                limit,
                ..
            } = &mut *judge;
            let Some(window) = ledger.close(&self.meter, policy, *limit, sums, now) else {
                return;
            };
            let Some(algorithm) = judge.algorithm.take() else {
                return;
            };
            (window, algorithm, judge.version)
        };
        let next = self
            .core
            .contain("algorithm", || algorithm.update(&window))
            .unwrap_or(window.limit);
        let (changed, outdated) = {
            let mut judge = self.judge.lock();
            if judge.version == version {
                judge.algorithm = Some(algorithm);
                (judge.follow(next), None)
            } else {
                (None, Some(algorithm))
            }
        };
        self.core.contain("algorithm", || drop(outdated));
        self.resized(changed);
    }

    /// Puts a change in force and tells of it. Again if somebody else has changed
    /// it in between, or an older limit would stay.
    fn resized(&self, changed: Option<(u32, u32)>) {
        let Some((from, to)) = changed else {
            return;
        };
        let mut limit = to;
        loop {
            self.limit.resize(limit);
            let latest = self.judge.lock().limit;
            if latest == limit {
                break;
            }
            limit = latest;
        }
        self.core.tell(Event::Limit { from, to });
    }

    pub(super) fn update(&self, policy: Policy) {
        let (changed, old) = {
            let mut judge = self.judge.lock();
            let before = std::mem::replace(&mut judge.policy, policy);
            self.limit.set_discipline(policy.discipline);
            let another = (before.rule, before.guarded) != (policy.rule, policy.guarded);
            let old = if another && !judge.own {
                let algorithm = policy.algorithm();
                judge.name = algorithm.name();
                judge.version = judge.version.wrapping_add(1);
                judge.algorithm.replace(algorithm)
            } else {
                None
            };
            let limit = judge.limit;
            (judge.follow(limit), old)
        };
        drop(old);
        self.resized(changed);
        self.core.tell(Event::Updated);
    }

    pub(super) fn policy(&self) -> Policy {
        self.judge.lock().policy
    }
}

impl Judge {
    /// Keeps a limit within the policy; what has changed.
    fn follow(&mut self, limit: u32) -> Option<(u32, u32)> {
        let to = limit.clamp(self.policy.min_limit, self.policy.max_limit);
        let from = std::mem::replace(&mut self.limit, to);
        (from != to).then_some((from, to))
    }
}

impl Settle for State {
    type Token = Token;

    #[inline]
    fn settle(&self, token: &Token, outcome: Outcome) {
        self.counters.ended(outcome);
        if let Outcome::Failure(Failure::Overload { .. } | Failure::Timeout) = outcome {
            self.counters.add(DROPPED, 1);
        }
        if token.permits == 0 {
            self.counters.add(BYPASS_ENDED, 1);
        } else {
            self.limit.count(token.class, true);
            self.limit.release(token.permits);
        }
        if token.timed.is_taken() {
            self.measure(token.timed, outcome);
        }
        self.core.tell_finished(outcome);
    }
}

impl Door for State {
    const FULL: RejectionKind = RejectionKind::LimitReached;

    fn core(&self) -> &Core {
        &self.core
    }

    fn limit(&self) -> &Limit {
        &self.limit
    }

    fn bounds(&self) -> (u32, Duration) {
        // Who has to wait has found the limit reached.
        self.counters.add(REACHED, 1);
        let judge = self.judge.lock();
        let (limit, wait) = (judge.limit, judge.policy.max_wait);
        let length = judge.policy.queue_length.unwrap_or_else(|| {
            // Before anything was measured, as many as are in flight.
            let usual = match nanos(self.meter.usual()) {
                0 => nanos(wait),
                usual => usual,
            };
            let served = u128::from(limit) * u128::from(nanos(wait)) / u128::from(usual.max(1));
            u32::try_from(served).unwrap_or(u32::MAX - 1).max(1)
        });
        (length, wait)
    }

    #[inline]
    fn try_enter(&self, who: Who) -> Result<Token, RejectionKind> {
        self.try_admit(who.permits, who.class)
    }

    fn arrived(&self, who: Who, now: Tick) -> Token {
        self.token(who.permits, who.class, || now)
    }

    fn waited(&self, wait: Duration) {
        self.counters.add(WAITED, 1);
        self.counters.add(WAITED_NANOS, nanos(wait));
        self.core.tell(Event::Waited(wait));
    }

    #[cold]
    fn reject(&self, kind: RejectionKind) -> Rejection {
        match kind {
            // The queue is full, too.
            RejectionKind::LimitReached => self.reached(self.limit.waiting()),
            _ => self.count_refusal(Rejection::before(kind, self.core.id())),
        }
    }
}
