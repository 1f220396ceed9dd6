//! The chaos from outside: to switch it, to watch it and to steer it.

use super::state::State;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// The chaos from outside. Clones are the same chaos.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a chaos layer has counted while it was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether it was [started](Handle::start), and not stopped since. An override
    /// does not change that.
    pub running: bool,
    /// Requests that came while it was running.
    pub requests: u64,
    /// Of these, requests that the target left out.
    pub spared: u64,
    /// Requests refused: closed, or not ready.
    pub rejected: u64,
    /// Responses held back.
    pub delayed: u64,
    /// Requests that got an error.
    pub errors: u64,
    /// Requests that got another response.
    pub aborted: u64,
    /// Requests that got no answer.
    pub hung: u64,
    /// Responses whose body ended early.
    pub cut: u64,
    /// Responses whose body stopped.
    pub stalled: u64,
    /// Responses whose body broke.
    pub reset: u64,
}

steers! {
    State,
    {
        /// It holds for the requests that come from now on, and their count begins
        /// anew: the next one is the first of the policy's seed.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) nothing goes wrong,
        /// though it was started. Under
        /// [`Override::Close`](crate::Override::Close) all requests are refused,
        /// though it was not: an outage. [`Override::None`](crate::Override::None)
        /// takes that back, and starts nothing.
        set_override
    }
}

impl Handle {
    /// Lets the policy's faults happen from now on. The count of requests begins
    /// anew: the next one is the first of the policy's seed.
    pub fn start(&self) {
        self.state.count_anew();
        self.state.set_running(true);
    }

    /// Leaves requests alone from now on. What has met its fault already stays
    /// with it.
    pub fn stop(&self) {
        self.state.set_running(false);
    }
}
