//! The map for states that can be used again in their place.
//!
//! What costs a lookup most elsewhere is to be sure that the memory of an entry is not freed
//! meanwhile. Here it is never freed: entries lie in slots, and the slot of a retired one is given
//! to another key. So a slot may change its key between two steps of a user, and a user must ask
//! whether it still has the key ([`Held::is_current`]) **after** it has read the state and
//! **before** it changes it by a compare-and-swap. A retired state passes through a dead mark, and
//! the key is written before the mark is taken away: who reads the new state sees the new key, and
//! who has read the old one cannot swap it, as long as the same word does not come back
//! ([`Recycle`]).
//!
//! Slots are found through open addressing by a part of the key's hash, one index per shard. Only
//! who holds the shard's lock changes an index: an entry that is being moved can be missed by a
//! lookup, which then takes the lock.

use std::fmt;
use std::sync::OnceLock;

use super::super::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};
use super::{Evict, Map, Place};
use crate::key::KeyId;

/// State that can begin anew in its place.
///
/// A word that somebody may have read in an earlier life must not be taken for one of a later life.
/// Words that are times which have passed before a state may retire, and lie ahead when it is used
/// again, never are. The fresh word itself comes back every time: so users must go from there to
/// another one that says no more than the time, look again, and only then take what they want.
pub trait Recycle: Evict {
    /// Makes a state that is retired, or that nobody has used yet, like a fresh one. It must end
    /// with a release store of the word that users read first.
    fn renew(&self);
}

/// The state of a key, in a slot that may be given to another one.
pub struct Held<'a, V> {
    slot: &'a Slot<V>,
    key: KeyId,
}

impl<V> Copy for Held<'_, V> {}

impl<V> Clone for Held<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, V> Held<'a, V> {
    /// The state.
    #[must_use]
    #[inline]
    pub fn state(self) -> &'a V {
        &self.slot.state
    }

    /// Whether what was read of the state before (by an acquire load) is of this key.
    #[must_use]
    #[inline]
    pub fn is_current(self) -> bool {
        self.slot.is_of(self.key)
    }
}

impl<V> fmt::Debug for Held<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Held").field(&self.key).finish()
    }
}

/// In this order, so that a lookup and an admission find all they need in one cache line.
#[repr(C)]
struct Slot<V> {
    key: AtomicU64,
    state: V,
}

impl<V> Slot<V> {
    #[inline]
    fn is_of(&self, key: KeyId) -> bool {
        self.key.load(Ordering::Relaxed) == key.as_u64()
    }
}

/// How many slots are made at once.
const CHUNK: usize = if cfg!(keep_loom) { 1 } else { 256 };

/// How many cells an index begins with, and how often it may double.
const CELLS: usize = if cfg!(keep_loom) { 4 } else { 64 };
const LEVELS: usize = 27;
/// How far a lookup goes before it takes the lock: at most three quarters of the cells are in
/// use, so few go further.
const STEPS: usize = 16;

type Chunk<V> = OnceLock<Box<[Slot<V>]>>;

/// Slots that never move.
struct Slots<V> {
    chunks: Box<[Chunk<V>]>,
    room: Mutex<Room>,
}

/// What no key has.
struct Room {
    /// The first slot that nobody has had.
    next: usize,
    returned: Vec<u32>,
}

impl<V: Recycle> Slots<V> {
    fn new(cap: usize) -> Self {
        let chunks = cap.div_ceil(CHUNK);
        Self {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            room: Mutex::new(Room {
                next: 0,
                returned: Vec::new(),
            }),
        }
    }

    #[inline]
    fn get(&self, slot: u32) -> Option<&Slot<V>> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.get()?.get(slot % CHUNK)
    }

    /// A slot that no key has; `None` if there are no more.
    fn take(&self, make: impl Fn() -> V) -> Option<u32> {
        let mut room = self.room.lock();
        if let Some(slot) = room.returned.pop() {
            return Some(slot);
        }
        let slot = room.next;
        let fresh = || Slot {
            key: AtomicU64::new(0),
            state: make(),
        };
        self.chunks
            .get(slot / CHUNK)?
            .get_or_init(|| (0..CHUNK).map(|_| fresh()).collect());
        // Only now: what has panicked so far has taken nothing.
        room.next = slot + 1;
        u32::try_from(slot).ok()
    }
}

/// The index of one shard: hashes and numbers of slots.
struct Index {
    /// The one in use; the smaller ones before it stay as they are.
    level: AtomicUsize,
    levels: [OnceLock<Box<[AtomicU64]>>; LEVELS],
    used: AtomicUsize,
}

/// A cell: the hash in the upper half, the slot's number and 1 in the lower one.
const EMPTY: u64 = 0;

#[inline]
#[allow(clippy::cast_possible_truncation)] // a half
const fn hash(cell: u64) -> usize {
    (cell >> 32) as usize
}

#[inline]
#[allow(clippy::cast_possible_truncation)] // a half
const fn slot(cell: u64) -> u32 {
    (cell as u32).wrapping_sub(1)
}

/// What a key's cell holds in its upper half.
#[inline]
const fn tag(key: KeyId) -> u64 {
    key.as_u64() & !0xffff_ffff
}

impl Index {
    fn new() -> Self {
        let index = Self {
            level: AtomicUsize::new(0),
            levels: [const { OnceLock::new() }; LEVELS],
            used: AtomicUsize::new(0),
        };
        index.levels[0].get_or_init(|| cells(CELLS));
        index
    }

    #[inline]
    fn cells(&self) -> &[AtomicU64] {
        let level = self.level.load(Ordering::Acquire);
        self.levels
            .get(level)
            .and_then(OnceLock::get)
            .map_or(&[], |cells| cells)
    }

    /// The first of the key's slots that `found` wants, within so many steps.
    #[inline]
    fn find<R>(&self, key: KeyId, steps: usize, found: impl Fn(u32) -> Option<R>) -> Option<R> {
        let cells = self.cells();
        let last = cells.len().wrapping_sub(1);
        let tag = tag(key);
        for step in 0..steps {
            let cell = cells
                .get((hash(tag) + step) & last)?
                .load(Ordering::Acquire);
            if cell == EMPTY {
                return None;
            }
            if cell & !0xffff_ffff == tag
                && let Some(found) = found(slot(cell))
            {
                return Some(found);
            }
        }
        None
    }

    /// Adds a slot. Under the lock.
    fn insert(&self, key: KeyId, slot: u32) {
        let used = self.used.load(Ordering::Relaxed) + 1;
        self.used.store(used, Ordering::Relaxed);
        let mut cells = self.cells();
        if used > cells.len() / 4 * 3 {
            cells = self.grow(cells);
        }
        put(cells, tag(key) | (u64::from(slot) + 1));
    }

    /// Goes over to twice as many cells, or stays where there cannot be more.
    #[cold]
    fn grow<'a>(&'a self, old: &'a [AtomicU64]) -> &'a [AtomicU64] {
        let level = self.level.load(Ordering::Relaxed) + 1;
        let Some(next) = self.levels.get(level) else {
            return old;
        };
        let grown = next.get_or_init(|| {
            let grown = cells(old.len() * 2);
            let all = old.iter().map(|cell| cell.load(Ordering::Relaxed));
            all.filter(|cell| *cell != EMPTY)
                .for_each(|cell| put(&grown, cell));
            grown
        });
        self.level.store(level, Ordering::Release);
        grown
    }

    /// Takes a slot out. Under the lock.
    fn remove(&self, key: KeyId, slot: u32) {
        let cells = self.cells();
        let last = cells.len().wrapping_sub(1);
        let load = |at: usize| cells[at & last].load(Ordering::Relaxed);
        let cell = tag(key) | (u64::from(slot) + 1);
        let first = hash(cell);
        let Some(mut gap) = (first..first + cells.len()).find(|at| load(*at) == cell) else {
            return;
        };
        self.used
            .store(self.used.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        // Those behind it that would not be found any more move up.
        for at in gap + 1..gap + cells.len() {
            let moved = load(at);
            if moved == EMPTY {
                break;
            }
            let from_home = at.wrapping_sub(hash(moved)) & last;
            if from_home >= (at - gap) & last {
                cells[gap & last].store(moved, Ordering::Release);
                gap = at;
            }
        }
        cells[gap & last].store(EMPTY, Ordering::Release);
    }
}

fn cells(len: usize) -> Box<[AtomicU64]> {
    (0..len).map(|_| AtomicU64::new(EMPTY)).collect()
}

fn put(cells: &[AtomicU64], cell: u64) {
    let last = cells.len().wrapping_sub(1);
    let home = hash(cell);
    let empty = (home..home + cells.len())
        .map(|at| &cells[at & last])
        .find(|at| at.load(Ordering::Relaxed) == EMPTY);
    if let Some(empty) = empty {
        empty.store(cell, Ordering::Release);
    }
}

/// Slots and where they are.
pub struct Table<V> {
    slots: Slots<V>,
    shards: Box<[Index]>,
}

#[cfg(all(test, not(keep_loom)))]
impl<V> Table<V> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        let used = self.shards.iter().map(|index| &index.used);
        used.map(|used| used.load(Ordering::Relaxed)).sum()
    }
}

impl<V> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

impl<V: Recycle> Map<V> for Table<V> {
    type Entry = u32;
    type View<'a>
        = Held<'a, V>
    where
        V: 'a;

    const MOST: usize = 1 << 24;

    fn new(shards: usize, cap: usize) -> Self {
        Self {
            slots: Slots::new(cap),
            shards: (0..shards).map(|_| Index::new()).collect(),
        }
    }

    #[inline]
    fn peek<R>(&self, at: Place, f: impl FnOnce(Held<'_, V>) -> R) -> Option<R> {
        let key = at.key;
        let held = |slot| {
            let slot = self.slots.get(slot)?;
            slot.is_of(key).then_some(Held { slot, key })
        };
        self.shards.get(at.shard)?.find(key, STEPS, held).map(f)
    }

    fn get(&self, at: Place) -> Option<u32> {
        let is_of = |slot| self.slots.get(slot)?.is_of(at.key).then_some(slot);
        self.shards[at.shard].find(at.key, usize::MAX, is_of)
    }
    fn insert(&self, at: Place, make: impl Fn() -> V) -> Option<u32> {
        let number = self.slots.take(make)?;
        let slot = self.slots.get(number)?;
        slot.key.store(at.key.as_u64(), Ordering::Relaxed);
        slot.state.renew();
        self.shards[at.shard].insert(at.key, number);
        Some(number)
    }

    fn state<'a>(&'a self, entry: &'a u32) -> Option<&'a V> {
        self.slots.get(*entry).map(|slot| &slot.state)
    }

    fn view<'a>(&'a self, entry: &'a u32, key: KeyId) -> Option<Held<'a, V>> {
        let slot = self.slots.get(*entry)?;
        Some(Held { slot, key })
    }

    fn is(&self, one: &u32, other: &u32) -> bool {
        one == other
    }

    fn remove(&self, shard: usize, entry: &u32) {
        if let Some(slot) = self.slots.get(*entry) {
            let key = KeyId::new(slot.key.load(Ordering::Relaxed));
            self.shards[shard].remove(key, *entry);
            self.slots.room.lock().returned.push(*entry);
        }
    }
}
