//! The buckets of a keyed throttle.

use std::sync::Arc;

use super::words::{Words, in_force};
use crate::clock::Tick;
use crate::kernel::gcra::Gcra;
use crate::kernel::keyed::{Evict, Keyed, Recycle, Table};
use crate::key::KeySpace;

#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) space: KeySpace,
    pub(super) map: Keyed<Bucket, Table<Bucket>>,
    /// Shared by all keys that find no place.
    pub(super) overflow: Gcra,
}

/// The bucket of one key. It knows the quota in force because only that tells
/// whether it is full.
#[derive(Debug)]
#[repr(C)] // what a call needs lies together
pub(super) struct Bucket {
    pub(super) gcra: Gcra,
    pub(super) live: Arc<Words>,
}

impl Evict for Bucket {
    fn try_retire(&self, now: Tick) -> bool {
        let (quota, _) = in_force(&self.live);
        self.gcra.try_retire(&quota, now)
    }
}

impl Recycle for Bucket {
    fn renew(&self) {
        self.gcra.renew();
    }
}
