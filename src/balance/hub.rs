//! Where the services of the endpoints are kept: what the clones of a balancer share
//! beside its state.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::checks::Checks;
use super::endpoint::Endpoint;
use super::member::Member;
use super::running::Task;
use super::set::{Level, Picked, Set};
use super::state::{REFUSED_ENDPOINTS, Republish, State};
use crate::attempt::EndpointId;
use crate::event::EndpointChange;
use crate::kernel::shared::Shared;
use crate::kernel::sync::{AtomicU32, Ordering};

/// An endpoint and its service.
pub(super) struct Link<S> {
    pub(super) member: Arc<Member>,
    pub(super) service: S,
    /// It is to be chosen no more: see [`Hub::report_broken`], or it was removed.
    gone: AtomicU32,
}

impl<S> Link<S> {
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed) != 0
    }

    /// Says whether it was not yet.
    fn leave(&self) -> bool {
        self.gone.swap(1, Ordering::AcqRel) == 0
    }
}

/// An endpoint, and its service if it has one.
type Standing<S> = (Arc<Member>, Option<Arc<Link<S>>>);

/// Whom a request may be sent to, with the services: the links follow the set's
/// members.
pub(super) struct Snapshot<S> {
    pub(super) set: Shared<Set>,
    pub(super) links: Box<[Arc<Link<S>>]>,
}

impl<S> Snapshot<S> {
    pub(super) fn link(&self, picked: Picked) -> Option<&Arc<Link<S>>> {
        self.links.get(picked.place)
    }
}

/// All that there are, in the order in which they came.
struct Roster<S> {
    entries: BTreeMap<u32, Entry<S>>,
    by_address: HashMap<String, u32>,
    next: u32,
    /// Snapshots that were begun, and the latest that is in use.
    turn: u64,
    published: u64,
}

struct Entry<S> {
    member: Arc<Member>,
    link: Option<Arc<Link<S>>>,
}

/// What the clones of a balancer share beside its state.
pub(super) struct Hub<S> {
    pub(super) state: Arc<State>,
    pub(super) snapshot: ArcSwap<Snapshot<S>>,
    roster: Mutex<Roster<S>>,
    /// Tells those who wait that the snapshot is another one.
    pub(super) news: Arc<Notify>,
    /// Links that have failed, for the driver.
    broken: Mutex<Vec<Arc<Link<S>>>>,
    /// What wakes the driver, once it has been polled.
    waker: Mutex<Option<Waker>>,
    /// The driver, while no task runs it.
    pub(super) home: Mutex<Option<Task>>,
    pub(super) running: Mutex<Option<AbortHandle>>,
    pub(super) checks: OnceLock<Box<dyn Checks>>,
    /// Whether it has something to do and no task runs it.
    pub(super) is_wanted: AtomicU32,
}

impl<S> Hub<S>
where
    S: Send + Sync + 'static,
{
    pub(super) fn create(state: Arc<State>) -> Arc<Self> {
        // An attempt may go through several balancers: their numbers are to differ.
        let next = state.core.id().0.wrapping_shl(20);
        Arc::new_cyclic(|hub: &Weak<Self>| {
            state.set_hub(hub.clone());
            let snapshot = Snapshot::of(&state, &[]);
            Self {
                state,
                snapshot: ArcSwap::from_pointee(snapshot),
                roster: Mutex::new(Roster {
                    entries: BTreeMap::new(),
                    by_address: HashMap::new(),
                    next,
                    turn: 0,
                    published: 0,
                }),
                news: Arc::new(Notify::new()),
                broken: Mutex::new(Vec::new()),
                waker: Mutex::new(None),
                home: Mutex::new(None),
                running: Mutex::new(None),
                checks: OnceLock::new(),
                is_wanted: AtomicU32::new(0),
            }
        })
    }

    /// Enters an endpoint. `None` if it is there already, or there are too many.
    pub(super) fn insert(&self, endpoint: Endpoint) -> Inserted {
        let now = self.state.core.clock().now();
        let most = self.state.policy().rules().max_endpoints as usize;
        let (member, old) = {
            let mut roster = self.roster.lock();
            let old = roster.by_address.get(endpoint.address()).copied();
            let known = old.and_then(|old| roster.entries.get(&old));
            if known.is_some_and(|entry| *entry.member.endpoint() == endpoint) {
                return Inserted::Not;
            }
            if old.is_none() && roster.entries.len() >= most {
                drop(roster);
                self.refuse(&endpoint);
                return Inserted::Not;
            }
            if let Some(old) = old {
                roster.take_out(old);
            }
            let id = roster.free_id();
            let address = endpoint.address().to_owned();
            let member = Arc::new(Member::new(EndpointId::new(id), endpoint, now));
            roster.by_address.insert(address, id);
            let entry = Entry {
                member: Arc::clone(&member),
                link: None,
            };
            roster.entries.insert(id, entry);
            (member, old)
        };
        if let Some(old) = old {
            self.state.remove_member(old);
        }
        self.state.enter_member(&member);
        Inserted::As(member)
    }

    /// Takes an endpoint out.
    pub(super) fn remove(&self, address: &str) -> Option<u32> {
        let id = {
            let mut roster = self.roster.lock();
            let id = roster.by_address.get(address).copied()?;
            roster.take_out(id);
            id
        };
        self.state.remove_member(id);
        Some(id)
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.roster.lock().by_address.keys().cloned().collect()
    }

    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        let roster = self.roster.lock();
        let entries = roster.entries.values();
        entries.map(|entry| Arc::clone(&entry.member)).collect()
    }

    pub(super) fn member(&self, id: u32) -> Option<Arc<Member>> {
        let roster = self.roster.lock();
        let entry = roster.entries.get(&id)?;
        Some(Arc::clone(&entry.member))
    }

    /// The service of an endpoint, which may have been removed in between.
    pub(super) fn connected(&self, id: u32, service: S) -> Option<Arc<Member>> {
        let now = self.state.core.clock().now();
        let mut roster = self.roster.lock();
        let entry = roster.entries.get_mut(&id)?;
        let member = Arc::clone(&entry.member);
        entry.link = Some(Arc::new(Link {
            member: Arc::clone(&member),
            service,
            gone: AtomicU32::new(0),
        }));
        member.begin_anew(now);
        member.set_connected(true);
        Some(member)
    }

    /// An endpoint that is not taken: of an address that is known, or too many.
    pub(super) fn refuse(&self, endpoint: &Endpoint) {
        self.state.counters.add(REFUSED_ENDPOINTS, 1);
        self.state.tell_change(endpoint, EndpointChange::Refused);
    }

    /// Takes the links that have failed out of their endpoints.
    pub(super) fn take_broken(&self) -> Vec<Arc<Member>> {
        let broken = std::mem::take(&mut *self.broken.lock());
        let mut roster = self.roster.lock();
        let mut taken = Vec::new();
        for link in &broken {
            let Some(entry) = roster.entries.get_mut(&link.member.id().get()) else {
                continue;
            };
            let is_this = |own: &Arc<Link<S>>| Arc::ptr_eq(own, link);
            if entry.link.as_ref().is_some_and(is_this) {
                entry.link = None;
                entry.member.set_connected(false);
                taken.push(Arc::clone(&entry.member));
            }
        }
        drop(roster);
        taken
    }

    /// This service has said that it is dead.
    #[cold]
    pub(super) fn report_broken(&self, link: &Arc<Link<S>>) {
        if link.leave() {
            self.broken.lock().push(Arc::clone(link));
            self.wake_driver();
        }
    }

    /// There is something to do for the driver.
    pub(super) fn wake_driver(&self) {
        self.want();
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Somebody has to drive it.
    pub(super) fn want(&self) {
        self.is_wanted.store(1, Ordering::Release);
    }

    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut slot = self.waker.lock();
        match &mut *slot {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

/// What became of an endpoint that was told of.
pub(super) enum Inserted {
    As(Arc<Member>),
    Not,
}

impl<S> Roster<S> {
    fn take_out(&mut self, id: u32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.by_address.remove(entry.member.endpoint().address());
            if let Some(link) = entry.link {
                link.leave();
            }
        }
    }

    /// A number that no endpoint has.
    fn free_id(&mut self) -> u32 {
        while self.entries.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        id
    }
}

impl<S> Snapshot<S> {
    /// That of these endpoints; those without a service are not in it.
    fn of(state: &Arc<State>, entries: &[Standing<S>]) -> Self {
        let members: Vec<_> = entries
            .iter()
            .map(|(member, _)| Arc::clone(member))
            .collect();
        let plan = super::plan::plan(state, &members);
        let links = plan.order.iter().filter_map(|place| entries.get(*place));
        let links: Box<[_]> = links.filter_map(|(_, link)| link.clone()).collect();
        let members: Box<[_]> = links.iter().map(|link| Arc::clone(&link.member)).collect();
        let picker = state.policy().rules().picker.clone();
        let prepare = |span: super::plan::Span| {
            let members = members.get(span.start..span.end).unwrap_or_default();
            Level {
                start: span.start,
                end: span.end,
                upto: span.upto,
                pick: state.prepare(&*picker, members),
            }
        };
        let levels: Box<[Level]> = plan.spans.into_iter().map(prepare).collect();
        let timed = levels.iter().any(|level| level.pick.is_timed());
        let set = Arc::new(Set {
            core: Arc::clone(&state.core),
            state: Arc::clone(state),
            members,
            levels,
            timed,
        });
        Self {
            set: Shared::from_arc(set),
            links,
        }
    }
}

impl<S: Send + Sync + 'static> Republish for Hub<S> {
    fn wake_driver(&self) {
        Self::wake_driver(self);
    }

    fn republish(&self) {
        let (turn, entries) = {
            let mut roster = self.roster.lock();
            roster.turn += 1;
            let entries = roster.entries.values();
            let of = |entry: &Entry<S>| (Arc::clone(&entry.member), entry.link.clone());
            (roster.turn, entries.map(of).collect::<Vec<_>>())
        };
        // Outside the lock: the picker is asked here, and may steer.
        let snapshot = Arc::new(Snapshot::of(&self.state, &entries));
        let old = {
            let mut roster = self.roster.lock();
            // The one that was begun last stays: it has seen every change.
            if roster.published < turn {
                roster.published = turn;
                self.snapshot.swap(snapshot)
            } else {
                snapshot
            }
        };
        self.news.notify_waiters();
        // Outside the lock: services are dropped here.
        let drops = || drop((old, entries));
        self.state.core.contain("service's drop", drops);
    }
}

impl<S> Drop for Hub<S> {
    fn drop(&mut self) {
        if let Some(task) = self.running.lock().take() {
            task.abort();
        }
    }
}
