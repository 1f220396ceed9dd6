//! What is known of one server: a meter, a bucket once there is a rate to keep, and
//! the rule that makes one of the other.

use std::time::Duration;

use super::cubic::Cubic;
use crate::clock::Tick;
use crate::kernel::gcra::{Decision, Gcra, Quota, QuotaError, Reservation};
use crate::kernel::keyed::Evict;
use crate::kernel::live::Live;
use crate::kernel::sync::{AtomicU64, Mutex, Ordering};

/// Nobody has said that it was too much. Any other phase but `DEAD` counts how
/// often somebody has.
const FREE: u64 = 0;
const DEAD: u64 = u64::MAX;

/// The rate follows its curve in steps so far apart.
const STEP: Duration = Duration::from_millis(50);
/// What is known of a server that nobody has asked for so long may be forgotten.
const STALE: Duration = Duration::from_secs(60);
/// A bucket holds what comes in a second, at least one; rates are kept in
/// thousandths.
const PERIOD: Duration = Duration::from_secs(1000);

#[derive(Debug)]
pub(super) struct Learner {
    sent: AtomicU64,
    phase: AtomicU64,
    /// When the next step is due.
    due: AtomicU64,
    /// Whether there was a success since the last step.
    went_well: AtomicU64,
    quota: Live<5>,
    bucket: Gcra,
    learnt: Mutex<Cubic>,
}

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    Go,
    Wait(Duration, Option<Reservation>),
    /// Retired: look it up again.
    Gone,
}

/// Requests a second, now and as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    pub(super) rate: Option<f64>,
    pub(super) measured: f64,
}

impl Learner {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            sent: AtomicU64::new(0),
            phase: AtomicU64::new(FREE),
            due: AtomicU64::new(now.saturating_add(STEP).as_nanos()),
            went_well: AtomicU64::new(0),
            quota: Live::new([0; 5]),
            bucket: Gcra::new(),
            learnt: Mutex::new(Cubic::new(now)),
        }
    }

    /// Asks for a request, offering to wait for up to `patience`. Nobody ever offers
    /// more than `longest`.
    #[inline]
    pub(super) fn ask(&self, now: Tick, patience: Duration, longest: Duration) -> May {
        if now.as_nanos() >= self.due.load(Ordering::Relaxed) {
            self.step(now, longest);
        }
        match self.phase.load(Ordering::Acquire) {
            FREE => May::Go,
            DEAD => May::Gone,
            _ => self.ask_bucket(now, patience),
        }
    }

    #[inline(never)]
    fn ask_bucket(&self, now: Tick, patience: Duration) -> May {
        let quota = Quota::from_words(self.quota.load());
        match self.bucket.admit(&quota, now, 1, patience) {
            Decision::Admit(_) => May::Go,
            Decision::Wait { wait, reserved, .. } => May::Wait(wait, reserved),
            // Neither is: a bucket holds one at least, and none is retired.
            Decision::Never | Decision::Dead => May::Wait(STEP, None),
        }
    }

    /// A place that was reserved is not needed.
    pub(super) fn cancel(&self, reservation: Reservation) {
        self.bucket.cancel(reservation);
    }

    /// A request goes out.
    #[inline]
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// One came back well.
    #[inline]
    pub(super) fn went_well(&self) {
        let limited = self.phase.load(Ordering::Relaxed) != FREE;
        if limited && self.went_well.load(Ordering::Relaxed) == 0 {
            self.went_well.swap(1, Ordering::Relaxed);
        }
    }

    /// One that was sent at `sent` came back as too much: the rate from now on, if
    /// that is news. `None` if it was retired.
    #[cold]
    pub(super) fn too_much(&self, now: Tick, sent: Tick, longest: Duration) -> Option<Option<f64>> {
        let mut learnt = self.learnt.lock();
        let rate = learnt.is_news(sent).then(|| {
            self.went_well.swap(0, Ordering::Relaxed);
            let rate = learnt.too_much(now, self.sent.load(Ordering::Relaxed));
            self.keep(rate, now, longest);
            rate
        });
        // It is not stale any more, for who sees the phase.
        self.due
            .swap(now.saturating_add(STEP).as_nanos(), Ordering::Relaxed);
        // Once there is a quota; and by a change of the word, so that nobody retires it
        // at the same time.
        let count = |phase: u64| (phase != DEAD).then(|| (phase + 1).min(DEAD - 1));
        self.phase
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, count)
            .ok()
            .map(|_| rate)
    }

    /// Measures, and lets the rate grow if it was not too much.
    #[cold]
    #[inline(never)]
    fn step(&self, now: Tick, longest: Duration) {
        let mut learnt = self.learnt.lock();
        if now.as_nanos() < self.due.load(Ordering::Relaxed) {
            return;
        }
        let due = now.saturating_add(STEP).as_nanos();
        self.due.swap(due, Ordering::Relaxed);
        learnt.measure(now, self.sent.load(Ordering::Relaxed));
        if self.went_well.swap(0, Ordering::Relaxed) != 0
            && let Some(rate) = learnt.grow(now)
        {
            self.keep(rate, now, longest);
        }
    }

    /// Puts a rate in force. What the bucket has stays, up to the new burst; the
    /// first one begins empty, for before it there was no burst.
    fn keep(&self, rate: f64, now: Tick, longest: Duration) {
        let Ok(quota) = quota(rate, longest) else {
            return;
        };
        let (old, quota) = (Quota::from_words(self.quota.load()), quota.since(now));
        let publish = || self.quota.store(quota.to_words());
        self.bucket.change(&old, &quota, now, publish);
    }

    pub(super) fn rates(&self) -> Rates {
        let learnt = self.learnt.lock();
        Rates {
            rate: learnt.rate(),
            measured: learnt.measured(),
        }
    }
}

impl Evict for Learner {
    fn try_retire(&self, now: Tick) -> bool {
        let phase = self.phase.load(Ordering::Acquire);
        let due = Tick::from_nanos(self.due.load(Ordering::Relaxed));
        let stale = now.saturating_since(due) >= STALE;
        phase == DEAD
            || stale
                && self
                    .phase
                    .compare_exchange(phase, DEAD, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // rates are bounded
fn quota(rate: f64, longest: Duration) -> Result<Quota, QuotaError> {
    Quota::new(
        (rate * 1000.0) as u32,
        PERIOD,
        (rate as u32).max(1),
        longest,
    )
}
