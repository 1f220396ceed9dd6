//! The futures of calls that are admitted or refused, at once or after a wait.

use super::handle::Permit;
use super::state::State;
use crate::kernel::limited::{call_future, queue_future};

call_future! {
    /// The future of [`Adaptive`](super::Adaptive). Polled again after it has
    /// resolved, it stays pending.
    AdaptiveFuture of Permit
}

queue_future! {
    /// The future of [`Adaptive`](super::Adaptive) with a
    /// [`Queue`](crate::queue::Queue).
    QueueFuture of Permit, State
}
