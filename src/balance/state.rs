//! What all clones of a balancer share and what its handle sees: no service.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::care;
use super::due::Due;
use super::endpoint::Endpoint;
use super::handle::{EndpointSnapshot, Snapshot};
use super::member::Member;
use super::pick::{Pick, Picker, Random};
use super::policy::Policy;
use crate::attempt::EndpointId;
use crate::classify::Outcome;
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::event::{EndpointChange, Event};
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::{AtomicU32, AtomicU64, Ordering};
use crate::policy::Override;
use crate::registry::{Inspect, Report, Setup};

const ADMITTED: usize = 0;
const SUCCESS: usize = 1;
const FAILURE: usize = 2;
const NEUTRAL: usize = 3;
const CANCELLED: usize = 4;
const REJECTED: usize = 5;
const WAITED: usize = 6;
pub(super) const SKIPPED: usize = 7;
pub(super) const CONNECTED: usize = 8;
pub(super) const CONNECT_FAILED: usize = 9;
pub(super) const DISCOVERY_FAILED: usize = 10;
pub(super) const REFUSED_ENDPOINTS: usize = 11;

/// What makes the sets, and knows the services.
pub(super) trait Republish: Send + Sync {
    /// Makes the set anew: somebody's health or the policy has changed.
    fn republish(&self);

    /// There is something to do for the driver.
    fn wake_driver(&self);
}

pub(super) struct State {
    pub(super) core: Arc<Core>,
    /// The longest wait in nanoseconds, how many may wait, how many are looked at.
    bounds: Live<3>,
    /// After how many failures in a row somebody is ejected; 0: never.
    row: AtomicU32,
    /// When an ejection was tried last that could not be, and since then nobody's
    /// health has changed; 0: none.
    pub(super) full_since: AtomicU64,
    /// When the endpoints are to be looked after.
    pub(super) care: Due,
    pub(super) counters: Counters<12>,
    policy: Mutex<Policy>,
    pub(super) members: Mutex<Members>,
    pub(super) hub: OnceLock<Weak<dyn Republish>>,
    /// Requests that wait for an endpoint.
    pub(super) waiting: AtomicU32,
}

pooled!(State);

/// All that there are, connected or not.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<u32, Arc<Member>>,
    /// When outliers are judged by their share of failures.
    pub(super) judged_at: Option<Tick>,
}

impl Members {
    pub(super) fn list(&self) -> Vec<Arc<Member>> {
        self.by_id.values().cloned().collect()
    }
}

/// How long a request may wait, how many may, and how many endpoints are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) max_wait: std::time::Duration,
    pub(super) max_waiting: u32,
    pub(super) max_picks: usize,
}

fn row(policy: &Policy) -> u32 {
    let outliers = policy.rules().outliers;
    outliers.and_then(|outliers| outliers.row()).unwrap_or(0)
}

fn words(policy: &Policy) -> [u64; 3] {
    let rules = policy.rules();
    [
        nanos(rules.max_wait),
        rules.max_waiting.into(),
        rules.max_picks.into(),
    ]
}

impl State {
    pub(super) fn create(policy: Policy, setup: Setup) -> Arc<Self> {
        let (core, registry) = Core::new("balance", setup);
        let state = Arc::new(Self {
            core: Arc::new(core),
            bounds: Live::new(words(&policy)),
            row: AtomicU32::new(row(&policy)),
            full_since: AtomicU64::new(0),
            care: Due::new(Tick::ZERO),
            counters: Counters::default(),
            policy: Mutex::new(policy),
            members: Mutex::default(),
            hub: OnceLock::new(),
            waiting: AtomicU32::new(0),
        });
        enter(registry, state.core.id(), &state);
        state
    }

    pub(super) fn set_hub(&self, hub: Weak<dyn Republish>) {
        let _ = self.hub.set(hub);
    }

    pub(super) fn republish(&self) {
        self.full_since.swap(0, Ordering::AcqRel);
        if let Some(hub) = self.hub.get().and_then(Weak::upgrade) {
            hub.republish();
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        let [wait, waiting, picks] = self.bounds.load();
        Bounds {
            max_wait: std::time::Duration::from_nanos(wait),
            max_waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            max_picks: usize::try_from(picks).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy.lock().clone()
    }

    pub(super) fn update(&self, policy: Policy) {
        let old = {
            let mut slot = self.policy.lock();
            self.bounds.store(words(&policy));
            self.row.store(row(&policy), Ordering::Relaxed);
            std::mem::replace(&mut *slot, policy)
        };
        // Outside the lock: a picker of the user may end here.
        self.core.contain("picker", || drop(old));
        self.look_after_soon(Tick::ZERO);
        self.republish();
        self.core.tell(Event::Updated);
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        self.core.is_overruled() && self.core.order() == Override::Close
    }

    /// A call begins.
    #[inline]
    pub(super) fn began(&self) {
        self.counters.add(ADMITTED, 1);
    }

    /// A call to this endpoint has ended.
    #[inline]
    pub(super) fn ended(&self, member: &Member, outcome: Outcome) {
        let which = match outcome {
            Outcome::Success => SUCCESS,
            Outcome::Failure(_) => FAILURE,
            Outcome::Neutral => NEUTRAL,
            Outcome::Cancelled => CANCELLED,
        };
        self.counters.add(which, 1);
        if let Some(failures) = member.ended(outcome) {
            let row = self.row.load(Ordering::Relaxed);
            // Each time it is a multiple: the cap may have been in the way before.
            if failures.checked_rem(row) == Some(0) {
                self.eject(member.id());
            }
        }
        self.core.tell_finished(outcome);
    }

    /// New members get the share that they begin with.
    pub(super) fn ramp(&self, members: &[Arc<Member>]) {
        let slow_start = self.policy().rules().slow_start;
        let now = self.core.clock().now();
        if let Some(next) = care::ramp(members, slow_start.as_ref(), now) {
            self.look_after_soon(next);
        }
    }

    pub(super) fn waited(&self, wait: std::time::Duration) {
        self.counters.add(WAITED, 1);
        self.core.tell(Event::Waited(wait));
    }

    #[cold]
    pub(super) fn reject(&self, kind: RejectionKind) -> Rejection {
        self.counters.add(REJECTED, 1);
        self.core.reject(Rejection::before(kind, self.core.id()))
    }

    /// Enters an endpoint, or takes it out.
    pub(super) fn enter_member(&self, member: &Arc<Member>) {
        let id = member.id().get();
        self.members.lock().by_id.insert(id, Arc::clone(member));
        self.tell_change(member.endpoint(), EndpointChange::Added);
    }

    pub(super) fn remove_member(&self, id: u32) {
        let removed = self.members.lock().by_id.remove(&id);
        if let Some(member) = removed {
            self.tell_change(member.endpoint(), EndpointChange::Removed);
        }
    }

    pub(super) fn tell_change(&self, endpoint: &Endpoint, change: EndpointChange) {
        let address = endpoint.address();
        self.core.tell(Event::Endpoint { address, change });
    }

    pub(super) fn member_of(&self, id: EndpointId) -> Option<Arc<Member>> {
        self.members.lock().by_id.get(&id.get()).cloned()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let members = self.members.lock().list();
        let count = |which| self.counters.sum(which);
        // Ends before beginnings: what ends in between is not missed.
        let (succeeded, failed) = (count(SUCCESS), count(FAILURE));
        let (neutral, cancelled) = (count(NEUTRAL), count(CANCELLED));
        let ended = succeeded + failed + neutral + cancelled;
        Snapshot {
            endpoints: members
                .iter()
                .map(|member| EndpointSnapshot::of(member))
                .collect(),
            in_flight: count(ADMITTED).saturating_sub(ended),
            succeeded,
            failed,
            neutral,
            cancelled,
            rejected: count(REJECTED),
            waiting: self.waiting.load(Ordering::Relaxed),
            waited: count(WAITED),
            skipped: count(SKIPPED),
            connected: count(CONNECTED),
            connects_failed: count(CONNECT_FAILED),
            discovery_failed: count(DISCOVERY_FAILED),
            endpoints_refused: count(REFUSED_ENDPOINTS),
        }
    }

    pub(super) fn discovery_failed(&self) {
        self.core.tell(Event::DiscoveryFailed);
    }

    /// The choice among these, by any of them if the user's panics.
    pub(super) fn prepare(&self, picker: &dyn Picker, members: &[Arc<Member>]) -> Box<dyn Pick> {
        let prepared = self.core.contain("picker", || picker.prepare(members));
        prepared.unwrap_or_else(|| Random.prepare(members))
    }

    pub(super) fn shared(self: &Arc<Self>) -> Shared<Self> {
        Shared::from_arc(Arc::clone(self))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("name", &self.core.name())
            .finish_non_exhaustive()
    }
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        let usable = |e: &&EndpointSnapshot| e.is_usable();
        let usable = snapshot.endpoints.iter().filter(usable).count();
        self.core.report([
            ("endpoints", (snapshot.endpoints.len() as u64).into()),
            ("usable", (usable as u64).into()),
            ("in_flight", snapshot.in_flight.into()),
            ("succeeded", snapshot.succeeded.into()),
            ("failed", snapshot.failed.into()),
            ("neutral", snapshot.neutral.into()),
            ("cancelled", snapshot.cancelled.into()),
            ("rejected", snapshot.rejected.into()),
            ("waiting", snapshot.waiting.into()),
            ("waited", snapshot.waited.into()),
            ("skipped", snapshot.skipped.into()),
            ("connected", snapshot.connected.into()),
            ("connects_failed", snapshot.connects_failed.into()),
            ("discovery_failed", snapshot.discovery_failed.into()),
            ("endpoints_refused", snapshot.endpoints_refused.into()),
        ])
    }
}
