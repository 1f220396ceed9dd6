//! A request that no endpoint could take at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::choose::{Chosen, Held};
use super::hub::Hub;
use crate::clock::{Sleep, Tick};
use crate::deadline::Deadline;
use crate::error::{Rejection, RejectionKind};
use crate::kernel::sync::Ordering;

/// Waits for an endpoint that can take the request: bounded by the policy, by the
/// deadline in force, and in number.
pub(super) struct Wait<S> {
    hub: Arc<Hub<S>>,
    news: Pin<Box<OwnedNotified>>,
    /// Services that were asked and are not ready: they wake this when they are.
    held: Vec<Held<S>>,
    /// There may have been news before the first poll.
    unheard: Option<()>,
    timer: Sleep,
    since: Tick,
    late: RejectionKind,
}

impl<S: Send + Sync + 'static> Wait<S> {
    /// Begins to wait.
    #[cold]
    pub(super) fn begin(hub: &Arc<Hub<S>>) -> Result<Self, Rejection> {
        let state = &hub.state;
        let bounds = state.bounds();
        let clock = state.core.clock();
        let now = clock.stamp().now();
        let mut due = now.saturating_add(bounds.max_wait);
        let mut late = RejectionKind::NoEndpoint;
        if let Some(deadline) = Deadline::current() {
            if deadline.has_passed(now) {
                return Err(state.reject(RejectionKind::DeadlineExceeded));
            }
            if deadline.tick() < due {
                due = deadline.tick();
                late = RejectionKind::DeadlineExceeded;
            }
        }
        if bounds.max_wait.is_zero() {
            return Err(state.reject(RejectionKind::NoEndpoint));
        }
        let waiting = state.waiting.fetch_add(1, Ordering::Relaxed);
        let wait = Self {
            // From here its drop counts it out.
            hub: Arc::clone(hub),
            news: Box::pin(Arc::clone(&hub.news).notified_owned()),
            held: Vec::new(),
            unheard: Some(()),
            timer: clock.sleep_from(now, due),
            since: now,
            late,
        };
        if waiting >= bounds.max_waiting {
            return Err(state.reject(RejectionKind::NoEndpoint));
        }
        Ok(wait)
    }

    /// Somebody who takes it, or why nobody does.
    pub(super) fn poll<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chosen<S>, Rejection>>
    where
        S: Service<Req> + Clone,
    {
        let hub = &self.hub;
        if hub.state.is_closed() {
            return Poll::Ready(Err(hub.state.reject(RejectionKind::Closed)));
        }
        hub.keep_driven();
        let mut news = self.unheard.take();
        loop {
            if news.is_some() {
                // Before the look: what changes from here on is heard.
                self.news = Box::pin(Arc::clone(&hub.news).notified_owned());
            }
            if let Some(chosen) = hub.choose_again(&mut self.held, news, cx) {
                let now = hub.state.core.clock().now();
                hub.state.waited(now.saturating_since(self.since));
                return Poll::Ready(Ok(chosen));
            }
            if self.news.as_mut().poll(cx).is_pending() {
                break;
            }
            news = Some(());
        }
        match Pin::new(&mut self.timer).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Err(hub.state.reject(self.late))),
            Poll::Ready(Err(_)) => Poll::Ready(Err(hub.state.reject(RejectionKind::NoRuntime))),
        }
    }
}

impl<S> Drop for Wait<S> {
    fn drop(&mut self) {
        self.hub.state.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
