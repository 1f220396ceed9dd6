//! When the endpoints are to be looked after: nobody's task does it, but whoever's
//! call comes first then.

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::kernel::sync::{AtomicU64, Ordering};

/// A point in time that one of many callers acts on.
#[derive(Debug)]
pub(super) struct Due {
    at: AtomicU64,
    /// How far ahead that may be.
    longest: AtomicU64,
}

impl Due {
    /// After so long; never, for none.
    pub(super) fn new(now: Tick, longest: Option<Duration>) -> Self {
        let longest = longest.map_or(u64::MAX, nanos);
        Self {
            at: AtomicU64::new(now.as_nanos().saturating_add(longest)),
            longest: AtomicU64::new(longest),
        }
    }

    /// From now on after so long.
    pub(super) fn reset(&self, now: Tick, longest: Option<Duration>) {
        let longest = longest.map_or(u64::MAX, nanos);
        self.longest.swap(longest, Ordering::AcqRel);
        self.at
            .swap(now.as_nanos().saturating_add(longest), Ordering::AcqRel);
    }

    /// Whether it is time: also if that is further ahead than it is ever set, for then
    /// the clock has gone back.
    #[inline]
    pub(super) fn is_due(&self, now: Tick) -> bool {
        let left = self.at.load(Ordering::Relaxed).wrapping_sub(now.as_nanos());
        left == 0 || left > self.longest.load(Ordering::Relaxed)
    }

    /// Whether it falls to the caller to act. The next time is as long ahead as it may
    /// be, unless something is [brought forward](Self::bring_forward).
    pub(super) fn claim(&self, now: Tick) -> bool {
        let at = self.at.load(Ordering::Acquire);
        let longest = self.longest.load(Ordering::Acquire);
        let left = at.wrapping_sub(now.as_nanos());
        if left != 0 && left <= longest {
            return false;
        }
        let next = now.as_nanos().saturating_add(longest);
        let claim = self
            .at
            .compare_exchange(at, next, Ordering::AcqRel, Ordering::Acquire);
        claim.is_ok()
    }

    /// Something is to be done at `at`, at the latest.
    pub(super) fn bring_forward(&self, at: Tick) {
        self.at.fetch_min(at.as_nanos(), Ordering::AcqRel);
    }
}
