//! The service.

use std::marker::PhantomData;

use super::future::{AdaptiveFuture, QueueFuture};
use super::handle::Permit;
use super::state::State;
use crate::classify::ErrorsOnly;
use crate::kernel::limited::sheds_and_queues;
use crate::kernel::macros::wraps_service;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::kernel::wait::Door;
use crate::queue::Shed;
use crate::release::OnHead;

/// A service with a limit that finds itself; see the [module](super).
pub struct Adaptive<S, M = Shed, R = OnHead, C = ErrorsOnly> {
    inner: Readied<S>,
    state: Shared<State>,
    mode: M,
    classify: C,
    release: PhantomData<fn() -> R>,
}

impl<S, M, R, C> Adaptive<S, M, R, C> {
    pub(super) fn new(inner: S, state: Shared<State>, mode: M, classify: C) -> Self {
        Self {
            inner: Readied::new(inner),
            state,
            mode,
            classify,
            release: PhantomData,
        }
    }
}

impl<S: Clone, M: Clone, R, C: Clone> Clone for Adaptive<S, M, R, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            state: self.state.clone(),
            mode: self.mode.clone(),
            classify: self.classify.clone(),
            release: PhantomData,
        }
    }
}

wraps_service!(Adaptive<S, M, R, C>);

sheds_and_queues!(Adaptive, AdaptiveFuture, QueueFuture, Permit);
