//! What a throttle tells the layer that writes the headers.
//!
//! The two meet through a dynamic scope, like the deadline: the outer layer
//! opens it around `call` and every poll, the throttle inside reports into it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use crate::error::LayerId;

/// The state of one quota for the request at hand.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) layer: LayerId,
    /// Whether it was this one that refused.
    pub(crate) refused: bool,
    pub(crate) name: Arc<str>,
    /// Requests per window.
    pub(crate) limit: u64,
    pub(crate) window: Duration,
    pub(crate) remaining: u64,
    pub(crate) reset: Duration,
}

/// The usual number of quotas in one stack.
const FEW: usize = 4;

/// The quotas that were reported for one request.
#[derive(Debug, Default)]
pub(crate) struct Report {
    quotas: [Option<Quota>; FEW],
    /// Empty, and so without memory, but for a few stacks.
    more: Vec<Quota>,
}

thread_local! {
    static OPEN: RefCell<Option<Report>> = const { RefCell::new(None) };
}

impl Report {
    /// Runs `f` while throttles inside it report here.
    pub(crate) fn collect<R>(&mut self, f: impl FnOnce() -> R) -> R {
        /// Takes the scope away again, also when `f` panics.
        struct Close<'a>(&'a mut Report, Option<Report>);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                let _ = OPEN.try_with(|open| {
                    if let Some(report) = open.replace(self.1.take()) {
                        *self.0 = report;
                    }
                });
            }
        }
        let mine = std::mem::take(self);
        let before = OPEN
            .try_with(|open| open.replace(Some(mine)))
            .ok()
            .flatten();
        let _close = Close(self, before);
        f()
    }

    #[cfg(feature = "throttle")]
    fn enter(&mut self, quota: Quota) {
        // A second try through the same throttle replaces the first.
        let same = |old: &Quota| old.layer == quota.layer && old.name == quota.name;
        let slot = self
            .quotas
            .iter_mut()
            .find(|slot| slot.as_ref().is_none_or(same));
        if let Some(slot) = slot {
            *slot = Some(quota);
        } else if let Some(old) = self.more.iter_mut().find(|old| same(old)) {
            *old = quota;
        } else {
            self.more.push(quota);
        }
    }

    pub(crate) fn quotas(&self) -> impl Iterator<Item = &Quota> + Clone {
        self.quotas.iter().flatten().chain(&self.more)
    }
}

/// Whether anybody wants to know of quotas.
#[cfg(feature = "throttle")]
#[inline]
pub(crate) fn is_open() -> bool {
    OPEN.try_with(|open| open.borrow().is_some())
        .unwrap_or(false)
}

/// Reports a quota to whoever wants to know.
#[cfg(feature = "throttle")]
pub(crate) fn report(quota: Quota) {
    let _ = OPEN.try_with(|open| {
        if let Some(report) = open.borrow_mut().as_mut() {
            report.enter(quota);
        }
    });
}
