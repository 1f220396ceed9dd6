//! A timeout from outside: to watch it and to steer it.

use std::fmt;
use std::time::Duration;

use super::policy::Policy;
use super::state::State;
use crate::error::LayerId;
use crate::kernel::shared::Shared;
use crate::policy::Override;

/// A timeout from outside. Clones are the same timeout.
///
/// It admits nothing: code that is no Tower service uses `tokio::time::timeout`
/// or [`Deadline`](crate::deadline::Deadline).
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a timeout has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Calls that have not ended.
    pub in_flight: u64,
    /// Calls that were answered in time, by a response or by an error.
    pub finished: u64,
    /// Calls that were given up on.
    pub timed_out: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Calls refused before the inner service was called.
    pub rejected: u64,
    /// What was left of the deadline when calls began: the median, at most
    /// 12.5 % too high; `None` if no call had a deadline.
    pub remaining_p50: Option<Duration>,
    /// A tenth of the calls had less.
    pub remaining_p10: Option<Duration>,
    /// A hundredth of the calls had less.
    pub remaining_p1: Option<Duration>,
}

impl Handle {
    pub(super) fn new(state: Shared<State>) -> Self {
        Self { state }
    }

    /// The layer, as in a [`Rejection`](crate::Rejection).
    #[must_use]
    pub fn id(&self) -> LayerId {
        self.state.core.id()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.core.name()
    }

    /// Where it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.state.policy()
    }

    /// Another policy for the calls from now on.
    pub fn update(&self, policy: Policy) {
        self.state.update(policy);
    }

    /// Overrules the policy, until it is called with [`Override::None`]. Under
    /// [`Override::Bypass`] no limit holds, not even a deadline in force.
    pub fn set_override(&self, order: Override) {
        self.state.core.set_order(order);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("timeout::Handle")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
