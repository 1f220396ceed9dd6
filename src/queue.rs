//! Waiting for admission: who comes first, and who is sent away.
//!
//! A bulkhead and an adaptive limit let
//! what is over the limit wait once they are `.queued()`. The queue is bounded in
//! length and in time, and a request whose deadline has passed leaves before it
//! is served. A [`Discipline`] says in which order it serves and what it gives
//! up; a [`Rank`] how important a request is; a [`Key`] whose it
//! is, so that nobody fills the queue alone.
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::bulkhead::{BulkheadLayer, Policy};
//! use tower_keep::queue::{Discipline, Priority, rank};
//! use tower_keep::key;
//!
//! let policy = Policy::builder()
//!     .max_concurrent(100)
//!     .max_wait(Duration::from_millis(200))
//!     .discipline(Discipline::overload())
//!     .build()?;
//! let layer = BulkheadLayer::new(policy)
//!     .queued()
//!     .ranked(rank(|path: &&str| match *path {
//!         "/pay" => Priority::Critical,
//!         "/export" => Priority::Bulk,
//!         _ => Priority::Normal,
//!     }))
//!     .fair(key::bytes(|path: &&str| Some(path.as_bytes())));
//! # let _ = layer;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```

use std::fmt;
use std::time::Duration;

use crate::kernel::core::Core;
use crate::kernel::wait::Who;
use crate::key::{Key, KeyHasher, KeySpace, NoKey};
use crate::policy::{PolicyError, Ratio, positive};

/// How important a request is. What is less important waits for, and is shed
/// before, what is more important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Priority {
    /// What the business lives on.
    Critical,
    /// What somebody is waiting for.
    #[default]
    Normal,
    /// What can be tried again later: retries, prefetching.
    BestEffort,
    /// What nobody is waiting for: exports, backfills.
    Bulk,
}

/// Priorities there are.
pub(crate) const CLASSES: usize = 4;

impl Priority {
    pub(crate) fn class(self) -> u8 {
        match self {
            Self::Critical => 0,
            Self::Normal => 1,
            Self::BestEffort => 2,
            Self::Bulk => 3,
        }
    }
}

/// Tells how important a request is. It runs on every call, and should neither
/// block nor allocate. A panic is counted, and the request is unranked.
pub trait Rank<Req: ?Sized> {
    /// The priority of a request. One without waits as [`Priority::Normal`], and
    /// counts for nobody's [share](Discipline::share).
    fn rank(&self, request: &Req) -> Option<Priority>;

    /// Whether it never tells anything: then it is not asked.
    #[doc(hidden)]
    const SILENT: bool = false;
}

/// All requests are alike: the rank, and the tenant, of those nobody tells apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alike;

impl<Req: ?Sized> Rank<Req> for Alike {
    #[inline]
    fn rank(&self, _: &Req) -> Option<Priority> {
        None
    }

    const SILENT: bool = true;
}

impl<Req: ?Sized> Key<Req> for Alike {
    #[inline]
    fn key(&self, _: &Req, _: &mut KeyHasher) -> Result<(), NoKey> {
        Err(NoKey::Missing)
    }
}

/// A rank by a closure; see [`rank`].
#[derive(Clone, Copy)]
pub struct By<F>(F);

/// Ranks by what `f` returns.
pub const fn rank<Req, F>(f: F) -> By<F>
where
    F: Fn(&Req) -> Priority,
{
    By(f)
}

impl<Req, F: Fn(&Req) -> Priority> Rank<Req> for By<F> {
    #[inline]
    fn rank(&self, request: &Req) -> Option<Priority> {
        Some((self.0)(request))
    }
}

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("By").finish_non_exhaustive()
    }
}

/// What is over the limit is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shed;

/// What is over the limit waits in the future, within bounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queue<P = Alike, K = Alike> {
    rank: P,
    tenant: K,
}

impl<P, K> Queue<P, K> {
    pub(crate) fn ranked<P2>(self, rank: P2) -> Queue<P2, K> {
        Queue {
            rank,
            tenant: self.tenant,
        }
    }

    pub(crate) fn fair<K2>(self, tenant: K2) -> Queue<P, K2> {
        Queue {
            rank: self.rank,
            tenant,
        }
    }

    /// Who asks with this request.
    #[inline]
    pub(crate) fn who<Req>(&self, core: &Core, request: &Req) -> Who
    where
        P: Rank<Req>,
    {
        if P::SILENT {
            return Who::any(1);
        }
        let rank = core.contain("rank", || self.rank.rank(request));
        Who {
            class: rank.flatten().map(Priority::class),
            ..Who::any(1)
        }
    }

    /// Its tenant: the same for all that have no key.
    pub(crate) fn tenant<Req>(&self, core: &Core, tenants: &KeySpace, request: &Req) -> u64
    where
        K: Key<Req>,
    {
        match core.contain("key", || tenants.id(&self.tenant, request)) {
            Some(Ok(id)) => id.as_u64(),
            _ => 0,
        }
    }
}

/// In which order a queue serves, and what it gives up.
///
/// The default serves first come first served, and gives up nobody before the
/// longest wait is over: fair while queues are short, and what is best for a
/// queue whose length is well bounded.
///
/// In a file: `"fifo"`, `"overload"`, or a table of which each key may be left out
/// ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// order = "adaptive-lifo"  # or "fifo"
/// codel_target = "5ms"
/// codel_interval = "100ms"
/// shares = [0.5, 0.25, 0, 0]
/// ```
///
/// The shares are those of [`Priority::Critical`], `Normal`, `BestEffort` and `Bulk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Discipline {
    order: Order,
    codel_target: Option<Duration>,
    codel_interval: Option<Duration>,
    shares: [Ratio; CLASSES],
}

#[cfg(feature = "serde")]
mod file {
    use std::fmt;
    use std::time::Duration;

    use serde::de::value::MapAccessDeserializer;
    use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

    use super::{CLASSES, Discipline, Order};
    use crate::policy::Ratio;

    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Table {
        order: Order,
        #[serde(deserialize_with = "crate::policy::durations::option")]
        codel_target: Option<Duration>,
        #[serde(deserialize_with = "crate::policy::durations::option")]
        codel_interval: Option<Duration>,
        shares: [Ratio; CLASSES],
    }

    struct WordOrTable;

    impl<'de> Visitor<'de> for WordOrTable {
        type Value = Discipline;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"fifo\", \"overload\" or a table")
        }

        fn visit_str<E: Error>(self, word: &str) -> Result<Discipline, E> {
            match word {
                "fifo" => Ok(Discipline::fifo()),
                "overload" => Ok(Discipline::overload()),
                _ => Err(E::unknown_variant(word, &["fifo", "overload"])),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Discipline, A::Error> {
            let table = Table::deserialize(MapAccessDeserializer::new(table))?;
            Ok(Discipline {
                order: table.order,
                codel_target: table.codel_target,
                codel_interval: table.codel_interval,
                shares: table.shares,
            })
        }
    }

    impl<'de> Deserialize<'de> for Discipline {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(WordOrTable)
        }
    }
}

/// Who of those of one priority and one tenant comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Order {
    /// Who came first.
    #[default]
    Fifo,
    /// Who came last, while the queue has not been empty for the interval
    /// (100 ms, or that of [`Discipline::codel`]): the callers who came first are
    /// the first to give up (Maurer, *Fail at Scale*, 2015). Then also the oldest
    /// makes room in a full queue.
    AdaptiveLifo,
}

/// The interval of RFC 8289.
const INTERVAL: Duration = Duration::from_millis(100);

impl Discipline {
    /// First come first served.
    pub fn fifo() -> Self {
        Self::default()
    }

    /// For services that are asked for more than they can do: the newest first,
    /// and `CoDel` with Facebook's 5 ms within 100 ms.
    pub fn overload() -> Self {
        Self::fifo()
            .order(Order::AdaptiveLifo)
            .codel(Duration::from_millis(5), INTERVAL)
    }

    /// Who comes first.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// `CoDel` (RFC 8289, in the form of Facebook's folly): if for a whole
    /// `interval` nobody was served within `target`, those who have waited for
    /// twice the target are shed instead of served, until somebody is. Both 1 ns
    /// to 10 years.
    pub fn codel(mut self, target: Duration, interval: Duration) -> Self {
        self.codel_target = Some(target);
        self.codel_interval = Some(interval);
        self
    }

    /// Guarantees a priority a share of the limit: while it has less in flight and
    /// somebody of it waits, that is who is served next, whoever waits above. What
    /// it does not use others may. All shares together are at most 1; none by
    /// default.
    ///
    /// It acts in the queue, and so once the limit is reached: before that, nothing is
    /// kept back, or it would be idle (partitions in Netflix's concurrency-limits do the
    /// same). Who comes when others have all of the limit waits for the next call that
    /// ends. Without a queue there are no shares.
    pub fn share(mut self, priority: Priority, share: Ratio) -> Self {
        self.shares[usize::from(priority.class())] = share;
        self
    }

    pub(crate) fn check(self) -> Result<Self, PolicyError> {
        positive("codel_target", self.codel_target)?;
        positive("codel_interval", self.codel_interval)?;
        let both = "allowed are both codel_target and codel_interval, or neither";
        match (self.codel_target, self.codel_interval) {
            (None, Some(_)) => return Err(PolicyError::missing("codel_target", both)),
            (Some(_), None) => return Err(PolicyError::missing("codel_interval", both)),
            _ => {}
        }
        let all: f64 = self.shares.iter().map(|share| share.fraction()).sum();
        if all > 1.0 + 1e-9 {
            let allowed = "allowed are shares of at most 1 together";
            return Err(PolicyError::new("shares", all, allowed));
        }
        Ok(self)
    }

    pub(crate) fn is_lifo(&self) -> bool {
        self.order == Order::AdaptiveLifo
    }

    pub(crate) fn interval(&self) -> Duration {
        self.codel_interval.unwrap_or(INTERVAL)
    }

    pub(crate) fn target(&self) -> Option<Duration> {
        self.codel_target
    }

    pub(crate) fn has_shares(&self) -> bool {
        self.shares.iter().any(|share| *share != Ratio::ZERO)
    }

    /// Whether a class with so many in flight has less than its share.
    pub(crate) fn is_owed(&self, class: usize, held: u64, limit: u32) -> bool {
        let share = self.shares.get(class).copied().unwrap_or(Ratio::ZERO);
        // One more would still be within it.
        share != Ratio::ZERO && share.fraction() * f64::from(limit) >= to_f64(held) + 1.0
    }
}

#[allow(clippy::cast_precision_loss)] // calls in flight
fn to_f64(calls: u64) -> f64 {
    calls as f64
}
