//! [`Keyed`]: one state per key, behind a hard cap.
//!
//! A lookup takes no lock, allocates nothing and writes no shared line. There are two maps for it:
//! [`Index`] for states of any kind, and [`Table`], with half of its cost, for states that can be
//! used again in their place.
//!
//! Everything else is cold and takes the lock of the key's shard:
//! 1. An insertion first reserves one of the `cap` places, or takes over the place of an entry
//!    that it evicts. So there are never more than `cap` entries.
//! 2. An eviction asks a few entries of its own shard, in clock order, to retire. A state does so
//!    only if it is equivalent to a fresh one, by one compare-and-swap to a dead mark: a use that
//!    comes first makes it refuse, a use that comes later sees the mark. So nothing that matters
//!    is ever evicted, and no use is lost.
//! 3. The mark and the removal from the map happen under one hold of the lock. So whoever saw the
//!    mark and then takes the lock finds either no entry or a live one.

use std::fmt;

use super::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::{clock::Tick, key::KeyId};

mod index;
mod table;
#[cfg(all(test, not(keep_loom)))]
mod tests;

pub use self::index::Index;
pub use self::table::{Held, Recycle, Table};

/// How many entries an insertion at the cap asks to retire before it gives up.
///
/// It bounds the time under the lock. If a share `p` of the entries is idle, an insertion fails
/// with probability `(1 - p)^16`: 3 % at a fifth.
pub const PROBES: usize = 16;

/// Most shards, and the fewest places that are worth one.
///
/// An insertion evicts in its own shard only, which is fair only while every shard has entries:
/// 256 on average means at least 200 for any keys, as ids are spread by a keyed hash.
const SHARDS: usize = 16;
const PLACES_PER_SHARD: usize = 256;

/// State that can be given up and made anew without a difference.
pub trait Evict {
    /// Retires the state if it is equivalent to a fresh one at `now`, and says whether it is
    /// retired after the call.
    ///
    /// It must be one atomic step: after `true`, every use of this value sees it dead, for ever;
    /// after `false`, nothing has changed.
    fn try_retire(&self, now: Tick) -> bool;
}

/// Every place is taken, and no entry among those asked was idle.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keyed: no room for another key")]
pub struct Overflow;

/// The map under [`Keyed`]: [`Index`], [`Table`], or a model of one.
///
/// Changes within a shard are never concurrent (they take its lock); `peek` is concurrent with
/// everything.
pub trait Map<V> {
    /// Where an entry is.
    type Entry: Clone;
    /// What a user sees of a state.
    type View<'a>
    where
        Self: 'a;

    /// Most entries of any.
    const MOST: usize = usize::MAX;

    /// An empty map of so many shards, for so many entries.
    fn new(shards: usize, cap: usize) -> Self;
    /// Runs `f` on the state of `key`. It may be one that is being removed, or was.
    fn peek<R>(&self, at: Place, f: impl FnOnce(Self::View<'_>) -> R) -> Option<R>;
    /// The entry of a key, as of now.
    fn get(&self, at: Place) -> Option<Self::Entry>;
    /// Adds an entry whose key is absent; `None` if there are no more numbers for entries.
    fn insert(&self, at: Place, make: impl Fn() -> V) -> Option<Self::Entry>;
    /// The state of an entry.
    fn state<'a>(&'a self, entry: &'a Self::Entry) -> Option<&'a V>;
    /// The state of an entry, for its key's users.
    fn view<'a>(&'a self, entry: &'a Self::Entry, key: KeyId) -> Option<Self::View<'a>>;
    /// Whether both are the same.
    fn is(&self, one: &Self::Entry, other: &Self::Entry) -> bool;
    /// Removes an entry.
    fn remove(&self, shard: usize, entry: &Self::Entry);
}

/// A key, and the shard that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub(crate) shard: usize,
    pub(crate) key: KeyId,
}

/// One state per key, never more than `cap` of them.
pub struct Keyed<V, M: Map<V> = Index<V>> {
    map: M,
    shards: Box<[Shard<M::Entry>]>,
    cap: usize,
    len: AtomicUsize,
    evicted: AtomicU64,
    overflowed: AtomicU64,
}

/// A shard's lock and entries.
#[repr(align(128))]
struct Shard<E>(Mutex<Ring<E>>);

/// The entries of a shard, with the hand of the clock.
struct Ring<E> {
    entries: Vec<E>,
    hand: usize,
}

impl<V: Evict, M: Map<V>> Keyed<V, M> {
    /// No keys yet, and room for `cap` of them (0 counts as 1, and more than the map can have as
    /// that).
    ///
    /// Memory follows use. With an [`Index`], about 130 bytes per key and a state of one word;
    /// the cap bounds entries: a removed one is freed when no lookup that began before is still
    /// under way, so evictions during a paused lookup add about 100 bytes each until it goes on.
    /// With a [`Table`], the state, its key and 30 to 60 bytes, and never more for evictions.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self::with_shards(cap, cap / PLACES_PER_SHARD)
    }

    /// As [`new`](Self::new), over `shards` locks (1 to 16).
    pub(crate) fn with_shards(cap: usize, shards: usize) -> Self {
        let shard = || {
            Shard(Mutex::new(Ring {
                entries: Vec::new(),
                hand: 0,
            }))
        };
        // A power of two, so that a mask finds the shard.
        let shards = 1 << shards.clamp(1, SHARDS).ilog2();
        let cap = cap.clamp(1, M::MOST);
        Self {
            map: M::new(shards, cap),
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            cap,
            len: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// Runs `f` on the state of `key`, made by `make` if absent.
    ///
    /// `f` returns `None` if and only if it found the state dead; then it runs again on a live
    /// one. For a key that is new it runs under the lock of a shard: it must be short, and must
    /// not come back to this `Keyed`. A panic of `make` or `f` passes through and leaves
    /// everything in order.
    ///
    /// # Errors
    /// [`Overflow`] if the key is new, every place is taken, and none of the entries that were
    /// asked was idle at `now`.
    #[inline]
    pub fn with<R>(
        &self,
        key: KeyId,
        now: Tick,
        make: impl Fn() -> V,
        mut f: impl FnMut(M::View<'_>) -> Option<R>,
    ) -> Result<R, Overflow> {
        let place = self.place(key);
        if let Some(Some(done)) = self.map.peek(place, &mut f) {
            return Ok(done);
        }
        self.with_locked(place, now, make, f)
    }

    /// Runs `f` on the state of `key`, if there is one.
    #[inline]
    pub fn get<R>(&self, key: KeyId, f: impl FnOnce(M::View<'_>) -> R) -> Option<R> {
        self.map.peek(self.place(key), f)
    }

    /// Runs `f` on the state of `key`, if there is one, under the lock of its shard: so none is
    /// being made.
    #[cfg(feature = "throttle")]
    pub fn visit(&self, key: KeyId, f: impl FnOnce(&V)) {
        let place = self.place(key);
        let _ring = self.shards[place.shard].0.lock();
        let entry = self.map.get(place);
        if let Some(state) = entry.as_ref().and_then(|entry| self.map.state(entry)) {
            f(state);
        }
    }

    /// Runs `f` on every state, under the locks of their shards: it must be short,
    /// and must not come back to this `Keyed`.
    pub fn each(&self, mut f: impl FnMut(&V)) {
        for shard in &self.shards {
            let ring = shard.0.lock();
            let states = ring
                .entries
                .iter()
                .filter_map(|entry| self.map.state(entry));
            states.for_each(&mut f);
        }
    }

    #[cold]
    #[inline(never)]
    fn with_locked<R>(
        &self,
        place: Place,
        now: Tick,
        make: impl Fn() -> V,
        mut f: impl FnMut(M::View<'_>) -> Option<R>,
    ) -> Result<R, Overflow> {
        let mut ring = self.shards[place.shard].0.lock();
        loop {
            let entry = match self.map.get(place) {
                Some(entry) => entry,
                None => self.insert(&mut ring, place, now, &make)?,
            };
            // Evictors need the lock that we hold: only a state that was retired from outside
            // can be dead here, and that one makes room for a fresh one.
            if let Some(done) = self.map.view(&entry, place.key).and_then(&mut f) {
                return Ok(done);
            }
            self.discard(&mut ring, place.shard, &entry);
        }
    }

    fn insert(
        &self,
        ring: &mut Ring<M::Entry>,
        place: Place,
        now: Tick,
        make: impl Fn() -> V,
    ) -> Result<M::Entry, Overflow> {
        let evict = || self.evict(ring, place.shard, now);
        if let Some(room) = self.reserve().or_else(evict)
            && let Some(entry) = self.map.insert(place, make)
        {
            ring.entries.push(entry.clone());
            room.fill();
            return Ok(entry);
        }
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        Err(Overflow)
    }

    /// Takes one of the places that are left.
    fn reserve(&self) -> Option<Room<'_>> {
        // Only the count itself matters: what it guards is ordered by the locks.
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < self.cap).then_some(len.saturating_add(1))
            })
            .ok()
            .map(|_| Room(Some(&self.len)))
    }

    /// Takes over the place of an entry that is idle.
    fn evict(&self, ring: &mut Ring<M::Entry>, shard: usize, now: Tick) -> Option<Room<'_>> {
        for _ in 0..PROBES.min(ring.entries.len()) {
            if ring.hand >= ring.entries.len() {
                ring.hand = 0;
            }
            let at = ring.hand;
            ring.hand = at.saturating_add(1);
            let state = self.map.state(&ring.entries[at]);
            if state.is_none_or(|state| state.try_retire(now)) {
                // The newest entry moves to this place, behind the hand: it is asked last.
                let dead = ring.entries.swap_remove(at);
                self.map.remove(shard, &dead);
                self.evicted.fetch_add(1, Ordering::Relaxed);
                return Some(Room(Some(&self.len)));
            }
        }
        None
    }

    /// Removes an entry that was found dead.
    fn discard(&self, ring: &mut Ring<M::Entry>, shard: usize, dead: &M::Entry) {
        let found = |entry: &M::Entry| self.map.is(entry, dead);
        if let Some(at) = ring.entries.iter().position(found) {
            ring.entries.swap_remove(at);
            self.map.remove(shard, dead);
            drop(Room(Some(&self.len)));
        }
    }

    #[inline]
    fn place(&self, key: KeyId) -> Place {
        // A power of two.
        let last = self.shards.len() - 1;
        #[allow(clippy::cast_possible_truncation)] // masked
        let shard = key.as_u64() as usize & last;
        Place { shard, key }
    }
}

impl<V, M: Map<V>> Keyed<V, M> {
    /// How many places are taken: entries, and insertions under way. Never more than the cap.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are no keys.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most entries.
    #[must_use]
    pub const fn cap(&self) -> usize {
        self.cap
    }

    /// Entries evicted since the beginning.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Lookups refused with [`Overflow`] since the beginning.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }
}

impl<V, M: Map<V>> fmt::Debug for Keyed<V, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("len", &self.len())
            .field("cap", &self.cap)
            .field("evicted", &self.evicted())
            .field("overflowed", &self.overflowed())
            .finish_non_exhaustive()
    }
}

/// A reserved place: given back on drop, also by a panic, unless it was filled.
struct Room<'a>(Option<&'a AtomicUsize>);

impl Room<'_> {
    fn fill(mut self) {
        self.0 = None;
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if let Some(len) = self.0 {
            len.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
