//! [`Keyed`]: one state per key, behind a hard cap.
//!
//! The map is [`scc::HashIndex`], whose lookups take no lock, allocate nothing and write no
//! shared line. It moves its entries when it grows and would then show an old copy of an atomic
//! to some readers and a new one to others; so what it holds is an `Arc`, and the state itself
//! never moves.
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

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::{clock::Tick, key::KeyId};

#[cfg(all(test, not(keep_loom)))]
mod tests;

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

/// A key and its state, at an address that never changes.
#[derive(Debug)]
pub struct Entry<V> {
    key: KeyId,
    value: V,
}

#[cfg(all(test, keep_loom))]
impl<V> Entry<V> {
    /// The state.
    pub const fn value(&self) -> &V {
        &self.value
    }
}

/// The map under [`Keyed`]: [`Index`], or a model of it.
///
/// Changes to one key are never concurrent (they take the lock of its shard); `peek` is
/// concurrent with everything.
pub trait Map<V>: Default {
    /// Runs `f` on the state of `key`. It may be one that is being removed, or was.
    fn peek<R>(&self, key: KeyId, f: impl FnOnce(&V) -> R) -> Option<R>;
    /// The entry of `key`, as of now.
    fn get(&self, key: KeyId) -> Option<Arc<Entry<V>>>;
    /// Adds an entry whose key is absent.
    fn insert(&self, key: KeyId, entry: Arc<Entry<V>>);
    /// Removes the entry of `key`.
    fn remove(&self, key: KeyId);
}

/// One state per key, never more than `cap` of them.
pub struct Keyed<V, M = Index<V>> {
    map: M,
    shards: Box<[Shard<V>]>,
    cap: usize,
    len: AtomicUsize,
    evicted: AtomicU64,
    overflowed: AtomicU64,
}

/// A shard's lock and entries.
#[repr(align(128))]
struct Shard<V>(Mutex<Ring<V>>);

/// The entries of a shard, with the hand of the clock.
struct Ring<V> {
    entries: Vec<Arc<Entry<V>>>,
    hand: usize,
}

impl<V: Evict + 'static, M: Map<V>> Keyed<V, M> {
    /// No keys yet, and room for `cap` of them (0 counts as 1).
    ///
    /// Memory follows use, about 130 bytes per key with a state of one word. The cap bounds
    /// entries: a removed one is freed when no lookup that began before is still under way, so
    /// evictions during a paused lookup add about 100 bytes each until it goes on.
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
        let shards = shards.clamp(1, SHARDS);
        Self {
            map: M::default(),
            shards: std::iter::repeat_with(shard).take(shards).collect(),
            cap: cap.max(1),
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
        mut f: impl FnMut(&V) -> Option<R>,
    ) -> Result<R, Overflow> {
        if let Some(Some(done)) = self.map.peek(key, &mut f) {
            return Ok(done);
        }
        self.with_locked(key, now, make, f)
    }

    /// Runs `f` on the state of `key`, if there is one.
    pub fn get<R>(&self, key: KeyId, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.map.peek(key, f)
    }

    /// Runs `f` on every state, under the locks of their shards: it must be short,
    /// and must not come back to this `Keyed`.
    pub fn each(&self, mut f: impl FnMut(&V)) {
        for shard in &self.shards {
            let ring = shard.0.lock();
            ring.entries.iter().for_each(|entry| f(&entry.value));
        }
    }

    #[cold]
    #[inline(never)]
    fn with_locked<R>(
        &self,
        key: KeyId,
        now: Tick,
        make: impl Fn() -> V,
        mut f: impl FnMut(&V) -> Option<R>,
    ) -> Result<R, Overflow> {
        let mut ring = self.shard(key).lock();
        loop {
            let entry = match self.map.get(key) {
                Some(entry) => entry,
                None => self.insert(&mut ring, key, now, &make)?,
            };
            // Evictors need the lock that we hold: only a state that was retired from outside
            // can be dead here, and that one makes room for a fresh one.
            if let Some(done) = f(&entry.value) {
                return Ok(done);
            }
            self.discard(&mut ring, &entry);
        }
    }

    fn insert(
        &self,
        ring: &mut Ring<V>,
        key: KeyId,
        now: Tick,
        make: impl Fn() -> V,
    ) -> Result<Arc<Entry<V>>, Overflow> {
        let Some(place) = self.reserve().or_else(|| self.evict(ring, now)) else {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return Err(Overflow);
        };
        let entry = Arc::new(Entry { key, value: make() });
        ring.entries.push(Arc::clone(&entry));
        self.map.insert(key, Arc::clone(&entry));
        place.fill();
        Ok(entry)
    }

    /// Takes one of the places that are left.
    fn reserve(&self) -> Option<Place<'_>> {
        // Only the count itself matters: what it guards is ordered by the locks.
        self.len
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |len| {
                (len < self.cap).then_some(len.saturating_add(1))
            })
            .ok()
            .map(|_| Place(Some(&self.len)))
    }

    /// Takes over the place of an entry that is idle.
    fn evict(&self, ring: &mut Ring<V>, now: Tick) -> Option<Place<'_>> {
        for _ in 0..PROBES.min(ring.entries.len()) {
            if ring.hand >= ring.entries.len() {
                ring.hand = 0;
            }
            let at = ring.hand;
            ring.hand = at.saturating_add(1);
            if ring.entries[at].value.try_retire(now) {
                // The newest entry moves to this place, behind the hand: it is asked last.
                let dead = ring.entries.swap_remove(at);
                self.map.remove(dead.key);
                self.evicted.fetch_add(1, Ordering::Relaxed);
                return Some(Place(Some(&self.len)));
            }
        }
        None
    }

    /// Removes an entry that was found dead.
    fn discard(&self, ring: &mut Ring<V>, dead: &Arc<Entry<V>>) {
        if let Some(at) = ring
            .entries
            .iter()
            .position(|entry| Arc::ptr_eq(entry, dead))
        {
            ring.entries.swap_remove(at);
            self.map.remove(dead.key);
            drop(Place(Some(&self.len)));
        }
    }

    fn shard(&self, key: KeyId) -> &Mutex<Ring<V>> {
        let shards = self.shards.len() as u64;
        // Always within the slice: at most 15.
        let at = usize::try_from(key.high() % shards).unwrap_or(0);
        &self.shards[at].0
    }
}

impl<V, M> Keyed<V, M> {
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

impl<V, M> fmt::Debug for Keyed<V, M> {
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
struct Place<'a>(Option<&'a AtomicUsize>);

impl Place<'_> {
    fn fill(mut self) {
        self.0 = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(len) = self.0 {
            len.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The map in production: a lock-free index of entries that stay where they are.
pub struct Index<V>(scc::HashIndex<KeyId, Arc<Entry<V>>, BuildHasherDefault<Fold>>);

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self(scc::HashIndex::default())
    }
}

impl<V> fmt::Debug for Index<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

impl<V: 'static> Map<V> for Index<V> {
    #[inline]
    fn peek<R>(&self, key: KeyId, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.peek_with(&key, |_, entry| f(&entry.value))
    }

    fn get(&self, key: KeyId) -> Option<Arc<Entry<V>>> {
        // Not `peek`: this one holds the bucket, so it cannot miss an entry that is on the move.
        self.0.get_sync(&key).map(|entry| Arc::clone(entry.get()))
    }

    fn insert(&self, key: KeyId, entry: Arc<Entry<V>>) {
        let added = self.0.insert_sync(key, entry).is_ok();
        debug_assert!(added, "the key was absent under its shard's lock");
    }

    fn remove(&self, key: KeyId) {
        let removed = self.0.remove_sync(&key);
        debug_assert!(removed, "the key was present under its shard's lock");
    }
}

/// The low half of a [`KeyId`]. It is the output of a keyed hash: to hash it again adds nothing.
///
/// Not both halves: the low one comes out of the hash first, so that the map is looked into while
/// the high one is worked out.
#[derive(Clone, Debug, Default)]
pub struct Fold(u64);

impl Hasher for Fold {
    #[inline]
    fn write_u64(&mut self, half: u64) {
        // The last of the two.
        self.0 = half;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by a `KeyId`; any spread will do.
        for &byte in bytes {
            self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
