//! What drives discovery and connections: one future for all endpoints.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use tower_service::Service;

use super::discover::{BoxError, Change, Discover};
use super::endpoint::Endpoint;
use super::hub::{Hub, Inserted};
use super::state::{CONNECT_FAILED, CONNECTED, DISCOVERY_FAILED, Republish};
use crate::backoff::Session;
use crate::clock::{Sleep, Tick};
use crate::event::EndpointChange;

/// Rounds in one poll, and changes in one round: others get their turn, too.
const ROUNDS: usize = 8;
const CHANGES: usize = 128;

pub(super) struct Driver<D, F, S>
where
    F: Service<Endpoint, Response = S>,
{
    pub(super) hub: Weak<Hub<S>>,
    /// Gone at its end.
    source: Option<D>,
    /// After an error: not before this.
    source_pause: Option<Sleep>,
    source_session: Option<Session>,
    make: F,
    /// Those whose turn it is to be connected.
    queue: VecDeque<u32>,
    connecting: Vec<Connecting<F::Future>>,
    /// Those who wait for their next try.
    pauses: BinaryHeap<Reverse<(Tick, u32)>>,
    timer: Option<Sleep>,
    /// Of those who have failed and have not succeeded since.
    troubled: HashMap<u32, Trouble>,
    is_changed: bool,
}

struct Connecting<F> {
    id: u32,
    future: Pin<Box<F>>,
    timeout: Sleep,
}

struct Trouble {
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
    pub(super) fn new(hub: Weak<Hub<S>>, source: D, make: F) -> Self {
        Self {
            hub,
            source: Some(source),
            source_pause: None,
            source_session: None,
            make,
            queue: VecDeque::new(),
            connecting: Vec::new(),
            pauses: BinaryHeap::new(),
            timer: None,
            troubled: HashMap::new(),
            is_changed: false,
        }
    }

    /// Whether nothing happens any more but by a service's death.
    fn is_idle(&self) -> bool {
        self.source.is_none()
            && self.queue.is_empty()
            && self.connecting.is_empty()
            && self.pauses.is_empty()
    }

    /// Changes of what endpoints there are. Says whether to come again.
    fn poll_source(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        if let Some(pause) = &mut self.source_pause {
            if Pin::new(pause).poll(cx).is_pending() {
                return false;
            }
            self.source_pause = None;
        }
        for _ in 0..CHANGES {
            let Some(source) = &mut self.source else {
                return false;
            };
            let poll = || source.poll_change(cx);
            let change = match hub.state.core.contain("discovery", poll) {
                Some(Poll::Pending) => return false,
                Some(Poll::Ready(None)) => {
                    self.source = None;
                    return false;
                }
                Some(Poll::Ready(Some(Ok(change)))) => change,
                Some(Poll::Ready(Some(Err(_)))) | None => {
                    self.source_failed(hub);
                    return true;
                }
            };
            self.source_session = None;
            self.apply(hub, change);
        }
        true
    }

    fn source_failed(&mut self, hub: &Hub<S>) {
        hub.state.counters.add(DISCOVERY_FAILED, 1);
        hub.state.discovery_failed();
        let backoff = hub.state.policy().rules().backoff;
        let session = self.source_session.get_or_insert_with(|| backoff.session());
        let clock = hub.state.core.clock();
        // Never at once, whatever is drawn: an error may come at every poll.
        let pause = session.next_delay().max(LEAST_PAUSE);
        let due = clock.now().saturating_add(pause);
        self.source_pause = Some(clock.sleep_until(due));
    }

    fn apply(&mut self, hub: &Hub<S>, change: Change) {
        match change {
            Change::Insert(endpoint) => self.insert(hub, endpoint),
            Change::Remove(address) => self.remove(hub, &address),
            Change::Move(from, to) => {
                self.remove(hub, &from);
                self.insert(hub, to);
            }
            Change::Replace(all) => self.replace(hub, all),
        }
    }

    fn insert(&mut self, hub: &Hub<S>, endpoint: Endpoint) {
        if let Inserted::As(member) = hub.insert(endpoint) {
            self.queue.push_back(member.id().get());
            self.is_changed = true;
        }
    }

    fn remove(&mut self, hub: &Hub<S>, address: &str) {
        if let Some(id) = hub.remove(address) {
            self.forget(id);
            self.is_changed = true;
        }
    }

    /// These and no others; of those with the same address, the first.
    fn replace(&mut self, hub: &Hub<S>, all: Vec<Endpoint>) {
        let mut wanted: HashMap<String, Endpoint> = HashMap::with_capacity(all.len());
        let mut order = Vec::with_capacity(all.len());
        for endpoint in all {
            let address = endpoint.address().to_owned();
            if wanted.contains_key(&address) {
                hub.refuse(&endpoint);
                continue;
            }
            order.push(address.clone());
            wanted.insert(address, endpoint);
        }
        for address in hub.addresses() {
            if !wanted.contains_key(&address) {
                self.remove(hub, &address);
            }
        }
        for address in order {
            if let Some(endpoint) = wanted.remove(&address) {
                self.insert(hub, endpoint);
            }
        }
    }

    fn forget(&mut self, id: u32) {
        self.troubled.remove(&id);
        self.connecting.retain(|connecting| connecting.id != id);
    }

    /// Those whose services have died, and those whose pause is over.
    fn poll_returns(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        for member in hub.take_broken() {
            self.is_changed = true;
            hub.state
                .tell_change(member.endpoint(), EndpointChange::Disconnected);
            self.pause(hub, member.id().get());
        }
        let now = hub.state.core.clock().now();
        while let Some(Reverse((due, id))) = self.pauses.peek().copied() {
            if due > now {
                return self.poll_timer(hub, due, cx);
            }
            self.pauses.pop();
            self.queue.push_back(id);
        }
        self.timer = None;
        false
    }

    /// Says whether it is due by now.
    fn poll_timer(&mut self, hub: &Hub<S>, due: Tick, cx: &mut Context<'_>) -> bool {
        let timer = match &mut self.timer {
            Some(timer) if timer.due() == due => timer,
            slot => slot.insert(hub.state.core.clock().sleep_until(due)),
        };
        match Pin::new(timer).poll(cx) {
            Poll::Pending => false,
            Poll::Ready(fired) => {
                self.timer = None;
                // Else no runtime drives timers here.
                fired.is_ok()
            }
        }
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
    fn begin(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
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
    fn poll_connecting(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
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

/// The shortest pause after a failure: a jitter may draw none at all.
const LEAST_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

impl<D, F, S> Future for Driver<D, F, S>
where
    D: Discover + Unpin,
    F: Service<Endpoint, Response = S> + Unpin,
    F::Error: Into<BoxError>,
    S: Send + Sync + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(hub) = this.hub.upgrade() else {
            return Poll::Ready(());
        };
        hub.set_waker(cx.waker());
        let mut comes_again = true;
        for _ in 0..ROUNDS {
            // What fails begins a pause, whose timer the next round arms.
            comes_again = this.poll_source(&hub, cx)
                | this.poll_returns(&hub, cx)
                | this.begin(&hub, cx)
                | this.poll_connecting(&hub, cx);
            if !comes_again {
                break;
            }
        }
        if std::mem::take(&mut this.is_changed) {
            hub.republish();
        }
        if comes_again {
            cx.waker().wake_by_ref();
        }
        if !this.is_idle() {
            hub.want();
        }
        Poll::Pending
    }
}
