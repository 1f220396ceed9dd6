//! When the endpoints are to be looked after.

use std::time::Duration;

use crate::clock::{Tick, nanos};
use crate::kernel::sync::{AtomicU64, Ordering};

/// A point in time that one of many callers acts on.
#[derive(Debug)]
pub(super) struct Due {
    at: AtomicU64,
}

impl Due {
    pub(super) fn new(at: Tick) -> Self {
        Self {
            at: AtomicU64::new(at.as_nanos()),
        }
    }

    /// When it is.
    pub(super) fn at(&self) -> Tick {
        Tick::from_nanos(self.at.load(Ordering::Acquire))
    }

    /// Whether it falls to the caller to act. The next time is after `longest`,
    /// unless something is [brought forward](Self::bring_forward).
    pub(super) fn claim(&self, now: Tick, longest: Duration) -> bool {
        let at = self.at.load(Ordering::Acquire);
        let next = now.as_nanos().saturating_add(nanos(longest).max(1));
        // Further away than it is ever set, even by somebody who read the clock later:
        // it has gone back.
        if now.as_nanos() < at && at <= next.saturating_add(nanos(longest)) {
            return false;
        }
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
