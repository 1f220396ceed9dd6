//! What drives discovery and connections: one future for all endpoints.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};

use futures_util::future::{AbortHandle, Abortable, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tower_service::Service;

use super::checks::Check;
use super::connecting::{Connecting, LEAST_PAUSE, Trouble};
use super::discover::{BoxError, Change, Discover};
use super::endpoint::Endpoint;
use super::hub::{Hub, Inserted};
use super::member::Member;
use super::state::{DISCOVERY_FAILED, Republish};
use crate::backoff::Session;
use crate::clock::{Sleep, Tick};

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
    pub(super) make: F,
    /// Those whose turn it is to be connected.
    pub(super) queue: VecDeque<u32>,
    pub(super) connecting: Vec<Connecting<F::Future>>,
    /// Those who wait for their next try.
    pub(super) pauses: BinaryHeap<Reverse<(Tick, u32)>>,
    pub(super) timer: Option<Sleep>,
    /// When the endpoints are to be looked after.
    care: Option<Sleep>,
    /// Checks that run, and what ends them.
    checks: FuturesUnordered<Abortable<Check>>,
    checked: HashMap<u32, AbortHandle>,
    /// Of those who have failed and have not succeeded since.
    pub(super) troubled: HashMap<u32, Trouble>,
    pub(super) is_changed: bool,
    is_checking: bool,
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
            care: None,
            checks: FuturesUnordered::new(),
            checked: HashMap::new(),
            troubled: HashMap::new(),
            is_changed: false,
            is_checking: false,
        }
    }

    /// Whether nothing happens any more but by a service's death.
    fn is_idle(&self) -> bool {
        self.source.is_none()
            && self.queue.is_empty()
            && self.connecting.is_empty()
            && self.pauses.is_empty()
            && self.care.is_none()
            && self.checks.is_empty()
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
            self.check(hub, &member);
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
        if let Some(check) = self.checked.remove(&id) {
            check.abort();
        }
        self.connecting.retain(|connecting| connecting.id != id);
    }

    /// Begins to check an endpoint, if any are checked.
    fn check(&mut self, hub: &Hub<S>, member: &Member) {
        let checks = hub.checks.get();
        if let Some(check) = checks.and_then(|checks| checks.check(&hub.state, member)) {
            let (check, abort) = abortable(check);
            self.checks.push(check);
            self.checked.insert(member.id().get(), abort);
        }
    }

    /// Lets the checks run. Those of endpoints that came before there were checks begin.
    fn poll_checks(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        if hub.checks.get().is_none() {
            return false;
        }
        if !std::mem::replace(&mut self.is_checking, true) {
            for member in hub.members() {
                if !self.checked.contains_key(&member.id().get()) {
                    self.check(hub, &member);
                }
            }
        }
        let mut ended = 0;
        while ended < CHANGES && matches!(self.checks.poll_next_unpin(cx), Poll::Ready(Some(_))) {
            ended += 1;
        }
        ended == CHANGES
    }

    /// Looks after the endpoints when it is time.
    fn poll_care(&mut self, hub: &Hub<S>, cx: &mut Context<'_>) -> bool {
        match hub.state.look_after() {
            Some(due) => poll_until(&mut self.care, hub, due, cx),
            None => {
                self.care = None;
                false
            }
        }
    }
}

/// Polls a timer of this time. Says whether it is due by now.
pub(super) fn poll_until<S>(
    slot: &mut Option<Sleep>,
    hub: &Hub<S>,
    due: Tick,
    cx: &mut Context<'_>,
) -> bool {
    if slot.as_ref().is_none_or(|timer| timer.due() != due) {
        *slot = Some(hub.state.core.clock().sleep_until(due));
    }
    let Some(timer) = slot else {
        return false;
    };
    match Pin::new(timer).poll(cx) {
        Poll::Pending => false,
        Poll::Ready(fired) => {
            *slot = None;
            // Else no runtime drives timers here.
            fired.is_ok()
        }
    }
}

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
                | this.poll_care(&hub, cx)
                | this.poll_checks(&hub, cx)
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
