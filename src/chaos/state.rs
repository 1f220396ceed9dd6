//! The state that a layer's services share.

use std::sync::Arc;

use super::fate::{Fate, Fault};
use super::policy::{Policy, WORDS};
use super::target::Aim;
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::{AtomicU32, AtomicU64, Ordering};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const SPARED: usize = 7;
const REQUESTS: usize = 8;
const REJECTED: usize = 9;

#[derive(Debug)]
pub(super) struct State {
    pub(super) core: Core,
    live: Live<WORDS>,
    /// Whether it was started: not an order, which others take back as a matter of
    /// routine.
    running: AtomicU32,
    /// The number of the next request whose fate the rates decide, and of the
    /// next that is asked for a fault.
    next: AtomicU64,
    next_asked: AtomicU64,
    /// By [`Fault::ALL`], and then the others.
    counters: Counters<10>,
}

pooled!(State);

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Shared<Self> {
        let (core, registry) = Core::new("chaos", setup);
        let state = Arc::new(Self {
            core,
            live: Live::new(policy.to_words()),
            running: AtomicU32::new(0),
            next: AtomicU64::new(0),
            next_asked: AtomicU64::new(0),
            counters: Counters::default(),
        });
        enter(registry, state.core.id(), &state);
        Shared::from_arc(state)
    }

    pub(super) fn policy(&self) -> Policy {
        Policy::from_words(self.live.load())
    }

    pub(super) fn update(&self, policy: Policy) {
        self.live.store(policy.to_words());
        self.count_anew();
        self.core.tell(Event::Updated);
    }

    /// The next request is the first.
    pub(super) fn count_anew(&self) {
        self.next.store(0, Ordering::Relaxed);
        self.next_asked.store(0, Ordering::Relaxed);
    }

    /// Starts or stops it.
    pub(super) fn set_running(&self, running: bool) {
        self.running.store(running.into(), Ordering::Relaxed);
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) != 0
    }

    /// Whether nothing goes wrong.
    #[inline]
    pub(super) fn is_off(&self) -> bool {
        match self.core.order() {
            Override::None => !self.is_running(),
            Override::Bypass => true,
            Override::Close => false,
        }
    }

    /// The policy in force, unless everything is refused.
    pub(super) fn begin(&self) -> Result<Policy, Rejection> {
        if self.core.order() == Override::Close {
            return Err(self.refuse(RejectionKind::Closed));
        }
        self.counters.add(REQUESTS, 1);
        Ok(self.policy())
    }

    /// What becomes of a request that is aimed at like this.
    pub(super) fn fate(&self, policy: &Policy, aim: Aim) -> Fate {
        match aim {
            Aim::Spare => {
                self.counters.add(SPARED, 1);
                Fate::default()
            }
            Aim::Rates => Fate::of(policy, self.next.fetch_add(1, Ordering::Relaxed)),
            Aim::At(fault) => {
                let n = self.next_asked.fetch_add(1, Ordering::Relaxed);
                Fate::asked(policy, fault, n)
            }
        }
    }

    /// Counts a fault, and tells of it.
    pub(super) fn injected(&self, fault: Fault) {
        if let Some(which) = Fault::ALL.iter().position(|one| *one == fault) {
            self.counters.add(which, 1);
        }
        self.core.tell(Event::Injected(fault.label()));
    }

    /// The error of an injected failure. It stands for one of the service, so it
    /// has reached it.
    pub(super) fn failure(&self) -> Rejection {
        Rejection::after(RejectionKind::Injected, self.core.id())
    }

    /// A fault that needs a timer, where there is none.
    pub(super) fn no_runtime(&self) -> Rejection {
        let rejection = Rejection::after(RejectionKind::NoRuntime, self.core.id());
        self.core.reject(rejection)
    }

    /// Refuses a call that the inner service has not seen.
    #[cold]
    pub(super) fn refuse(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    pub(super) fn snapshot(&self) -> super::Snapshot {
        let count = |which| self.counters.sum(which);
        let [delayed, errors, aborted, hung, cut, stalled, reset] = std::array::from_fn(count);
        super::Snapshot {
            running: self.is_running(),
            requests: count(REQUESTS),
            spared: count(SPARED),
            rejected: count(REJECTED),
            delayed,
            errors,
            aborted,
            hung,
            cut,
            stalled,
            reset,
        }
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        let running = if snapshot.running { "yes" } else { "no" };
        self.core.report([
            ("running", running.into()),
            ("requests", snapshot.requests.into()),
            ("spared", snapshot.spared.into()),
            ("rejected", snapshot.rejected.into()),
            ("delayed", snapshot.delayed.into()),
            ("errors", snapshot.errors.into()),
            ("aborted", snapshot.aborted.into()),
            ("hung", snapshot.hung.into()),
            ("cut", snapshot.cut.into()),
            ("stalled", snapshot.stalled.into()),
            ("reset", snapshot.reset.into()),
        ])
    }
}
