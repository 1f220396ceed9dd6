//! The driver's connections: made, lost, and made again after a pause.

use std::cmp::Reverse;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::discover::{BoxError, Discover};
use super::driver::{Driver, poll_until};
use super::endpoint::Endpoint;
use super::hub::Hub;
use super::state::{CONNECT_FAILED, CONNECTED};
use crate::backoff::Session;
use crate::clock::Sleep;
use crate::event::EndpointChange;

/// The shortest pause after a failure: a jitter may draw none at all.
pub(super) const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// A service in the making.
pub(super) struct Connecting<F> {
    pub(super) id: u32,
    future: Pin<Box<F>>,
    timeout: Sleep,
}

/// What is known of one who has failed.
pub(super) struct Trouble {
    session: Session,
    /// The successes when it failed: the pauses begin anew once there are more.
    succeeded: u64,
}

impl<D, F, S> Driver<D, F, S>
where
    D: Discover,
    F: Service<Endpoint, Response = S>,
    F::Error: Into<BoxError>,
    S: Send + Sync + 'static,
{
    /// Those whose services have died, and those whose pause is over.
    pub(super) fn poll_returns(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        for member in hub.take_broken() {
            self.is_changed = true;
            hub.state
                .tell_change(member.endpoint(), EndpointChange::Disconnected);
            self.pause(hub, member.id().get());
        }
        let now = hub.state.core.clock().now();
        while let Some(Reverse((due, id))) = self.pauses.peek().copied() {
            if due > now {
                return poll_until(&mut self.timer, hub, due, cx);
            }
            self.pauses.pop();
            self.queue.push_back(id);
        }
        self.timer = None;
        false
    }

    /// The next try of an endpoint comes after a pause.
    fn pause(&mut self, hub: &Hub<S>, id: u32) {
        let Some(member) = hub.member(id) else {
            return;
        };
        let (succeeded, _) = member.ends();
        let backoff = hub.state.policy().rules().backoff;
        let fresh = || Trouble {
            session: backoff.session(),
            succeeded,
        };
        let trouble = self.troubled.entry(id).or_insert_with(fresh);
        if trouble.succeeded != succeeded {
            *trouble = fresh();
        }
        let pause = trouble.session.next_delay().max(LEAST_PAUSE);
        let due = hub.state.core.clock().now().saturating_add(pause);
        self.pauses.push(Reverse((due, id)));
        // Of those that are gone, no more are kept than there are others.
        if self.pauses.len() > 64 + 2 * self.troubled.len() {
            self.pauses
                .retain(|Reverse((_, id))| self.troubled.contains_key(id));
        }
    }

    /// Begins connections, as many as may be made at once. Says whether any.
    pub(super) fn begin(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        let policy = hub.state.policy();
        let rules = policy.rules();
        let core = &hub.state.core;
        let mut begun = false;
        while self.connecting.len() < rules.max_connecting as usize {
            let Some(id) = self.queue.front().copied() else {
                break;
            };
            let Some(member) = hub.member(id) else {
                self.queue.pop_front();
                continue;
            };
            let make = &mut self.make;
            let ready = core.contain("factory", || make.poll_ready(cx).map_err(drop));
            begun |= !matches!(ready, Some(Poll::Pending));
            match ready {
                Some(Poll::Pending) => break,
                Some(Poll::Ready(Ok(()))) => {
                    self.queue.pop_front();
                    let endpoint = member.endpoint().clone();
                    let call = || Box::pin(make.call(endpoint));
                    match core.contain("factory", call) {
                        Some(future) => {
                            let clock = core.clock();
                            let due = clock.now().saturating_add(rules.connect_timeout);
                            self.connecting.push(Connecting {
                                id,
                                future,
                                timeout: clock.sleep_until(due),
                            });
                        }
                        None => self.failed(hub, id),
                    }
                }
                Some(Poll::Ready(Err(()))) | None => {
                    self.queue.pop_front();
                    self.failed(hub, id);
                }
            }
        }
        begun
    }

    fn failed(&mut self, hub: &Hub<S>, id: u32) {
        hub.state.counters.add(CONNECT_FAILED, 1);
        if let Some(member) = hub.member(id) {
            hub.state
                .tell_change(member.endpoint(), EndpointChange::ConnectFailed);
        }
        self.pause(hub, id);
    }

    /// Says whether any connection was made, or could not be.
    pub(super) fn poll_connecting(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        let mut at = 0;
        let mut progress = false;
        while let Some(Connecting {
            id,
            future,
            timeout,
        }) = self.connecting.get_mut(at)
        {
            let poll = || future.as_mut().poll(cx).map_err(drop);
            let ended = match hub.state.core.contain("factory", poll) {
                Some(Poll::Ready(result)) => result.ok(),
                // Without a runtime it is not bounded, as nothing is that waits.
                Some(Poll::Pending) => match Pin::new(timeout).poll(cx) {
                    Poll::Ready(Ok(())) => None,
                    _ => {
                        at += 1;
                        continue;
                    }
                },
                None => None,
            };
            let id = *id;
            progress = true;
            let ended_one = self.connecting.swap_remove(at);
            hub.state.core.contain("factory", || drop(ended_one));
            match ended {
                Some(service) => self.connected(hub, id, service),
                None => self.failed(hub, id),
            }
        }
        progress
    }

    fn connected(&mut self, hub: &Hub<S>, id: u32, service: S) {
        if let Some(member) = hub.connected(id, service) {
            self.is_changed = true;
            hub.state.counters.add(CONNECTED, 1);
            hub.state
                .tell_change(member.endpoint(), EndpointChange::Connected);
        }
    }
}
