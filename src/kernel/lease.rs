//! Slices of a bucket that threads hold: drawn at once, then spent one by one
//! without the bucket, and without the time.
//!
//! What all threads together can hold is kept out of the bucket's burst. In a time
//! T such a bucket gives at most `rate·T + burst - held`, and what threads have
//! drawn before is at most `held`: together never more than `rate·T + burst`,
//! however old a slice is. So nobody has to know its age. A thread that keeps one
//! for ever keeps it from the others once; the rate is theirs.

use super::gcra::{Answer, Gcra, Quota};
use super::sync::{AtomicU64, Ordering, Padded, ids};
use crate::clock::Tick;

/// The part of a word that is a number of requests; the rest tells the terms.
const REQUESTS: u64 = 0xff;
const NEXT_TERMS: u64 = REQUESTS + 1;

/// More in a slice saves nothing: what it costs to draw one is divided by so much
/// already.
const LARGEST: u32 = 64;
/// With less, drawing slices costs more than it saves.
const SMALLEST: u32 = 4;

/// What threads hold of one bucket.
#[derive(Debug)]
pub struct Leases {
    /// The terms in force: which they are, and the size of a slice. If that is 0,
    /// nobody holds anything.
    terms: AtomicU64,
    /// What the thread of this number holds, and under which terms. Nobody else
    /// writes it.
    slots: Box<[Padded<AtomicU64>]>,
}

impl Leases {
    /// For so many threads; those beyond draw request by request.
    #[must_use]
    pub fn with_slots(slots: usize) -> Self {
        let slot = |_| Padded(AtomicU64::new(0));
        Self {
            terms: AtomicU64::new(NEXT_TERMS),
            slots: (0..slots).map(slot).collect(),
        }
    }

    /// The size of a slice, if threads may hold a quarter of `burst`; 0 if that is
    /// not worth it.
    #[must_use]
    pub fn size_for(&self, burst: u32) -> u32 {
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let size = (burst / 4).checked_div(slots).unwrap_or(0).min(LARGEST);
        if size < SMALLEST { 0 } else { size }
    }

    /// The size of slices in force.
    #[must_use]
    pub fn size(&self) -> u32 {
        requests(self.terms.load(Ordering::Relaxed))
    }

    /// What all threads together can hold in slices of `size`: the bucket's burst
    /// must be less by this.
    #[must_use]
    pub fn most(&self, size: u32) -> u32 {
        let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        slots.saturating_mul(size)
    }

    /// Slices of `size` from now on, once the bucket has its new quota. What is held
    /// is void.
    pub fn set(&self, size: u32) {
        let next = |terms: u64| {
            let size = u64::from(size.min(LARGEST));
            Some((terms & !REQUESTS).wrapping_add(NEXT_TERMS) | size)
        };
        // Only the latest of two at once matters.
        let _ = self
            .terms
            .fetch_update(Ordering::Release, Ordering::Relaxed, next);
    }

    /// Spends `cost` of what this thread holds, if it holds that much.
    #[inline]
    pub fn spend(&self, thread: usize, cost: u32) -> bool {
        let Some(slot) = self.slots.get(thread) else {
            return false;
        };
        let held = slot.0.load(Ordering::Relaxed);
        let terms = self.terms.load(Ordering::Relaxed);
        if held ^ terms > REQUESTS || held & REQUESTS < u64::from(cost) {
            return false;
        }
        // The only writer of this word is this thread.
        slot.0.store(held - u64::from(cost), Ordering::Relaxed);
        true
    }

    /// Draws `cost` from the bucket, and with it a slice for this thread if there is
    /// that much.
    #[inline]
    pub fn ask(&self, bucket: &Gcra, quota: &Quota, now: Tick, cost: u32) -> Answer {
        self.ask_from(|| ids::thread_index() as usize, bucket, quota, now, cost)
    }

    /// As [`ask`](Self::ask), for a thread whose number the caller knows.
    #[inline]
    pub fn ask_from(
        &self,
        thread: impl FnOnce() -> usize,
        bucket: &Gcra,
        quota: &Quota,
        now: Tick,
        cost: u32,
    ) -> Answer {
        match self.terms.load(Ordering::Acquire) {
            terms if terms & REQUESTS != 0 => match self.slots.get(thread()) {
                Some(slot) => draw(&slot.0, terms, bucket, quota, now, cost),
                None => bucket.ask(quota, now, cost),
            },
            _ => bucket.ask(quota, now, cost),
        }
    }

    /// What threads hold now.
    #[must_use]
    pub fn held(&self) -> u64 {
        let terms = self.terms.load(Ordering::Relaxed);
        let slots = self.slots.iter();
        let held = slots.map(|slot| slot.0.load(Ordering::Relaxed));
        let held = held.filter(|held| held ^ terms <= REQUESTS);
        held.map(|held| held & REQUESTS).sum()
    }
}

/// The requests that a word counts.
#[inline]
fn requests(word: u64) -> u32 {
    u32::try_from(word & REQUESTS).unwrap_or(0)
}

/// Fills a slot up while it pays for a request.
#[inline(never)]
fn draw(
    slot: &AtomicU64,
    terms: u64,
    bucket: &Gcra,
    quota: &Quota,
    now: Tick,
    cost: u32,
) -> Answer {
    let held = slot.load(Ordering::Relaxed);
    let held = if held ^ terms > REQUESTS {
        0
    } else {
        requests(held)
    };
    // If the slice does not fit, then only what is missing: the rest of the bucket
    // is for whoever comes.
    let size = requests(terms);
    let least = cost.saturating_sub(held);
    let most = cost.saturating_add(size - held.min(size));
    match bucket.take_first(quota, now, [most, least], || true) {
        Ok(which) => {
            let left = match which {
                0 => size,
                _ => held.saturating_add(least).saturating_sub(cost),
            };
            slot.store((terms & !REQUESTS) | u64::from(left), Ordering::Relaxed);
            Answer::Admit
        }
        Err(answer) => answer,
    }
}
