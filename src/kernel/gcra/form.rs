//! By what a bucket's word is to be read.

use crate::kernel::quota::Quota;
use crate::kernel::sync::{AtomicU64, Ordering};

/// The numbers of the quota that a word was written under.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Form {
    pub(super) scale: AtomicU64,
    /// 0 in a bucket that was never drawn from.
    pub(super) cell: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) since: AtomicU64,
}

impl Form {
    #[inline]
    pub(super) fn is_of(&self, quota: &Quota) -> bool {
        self.scale.load(Ordering::Acquire) == quota.scale
            && self.cell.load(Ordering::Acquire) == quota.cell
            && self.full.load(Ordering::Acquire) == quota.full
    }

    pub(super) fn set(&self, quota: &Quota) {
        self.scale.store(quota.scale, Ordering::Release);
        self.cell.store(quota.cell, Ordering::Release);
        self.full.store(quota.full, Ordering::Release);
        self.since.store(quota.since, Ordering::Release);
    }

    #[cfg(feature = "throttle")]
    pub(super) fn copy(&self, other: &Self) {
        for (to, from) in [
            (&self.scale, &other.scale),
            (&self.cell, &other.cell),
            (&self.full, &other.full),
            (&self.since, &other.since),
        ] {
            to.store(from.load(Ordering::Acquire), Ordering::Release);
        }
    }
}
