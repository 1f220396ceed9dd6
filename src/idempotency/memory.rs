//! Records in the memory of this process.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::record::{RecordKey, Token};
use super::state::{self, Decision, Entry};
use super::store::{Completion, ROOM, Reservation, Reserve, Store};
use crate::clock::Clock;
use crate::kernel::sync::{AtomicU64, Ordering, Padded};
use crate::policy::PolicyError;

/// Shards, each behind a lock of its own.
const SHARDS: usize = 64;
/// Entries that each newcomer looks at, to find those whose time is over.
const SWEEP: usize = 2;
/// The same, for one who finds the store full.
const SEARCH: usize = 32;
/// What an entry counts for, besides an answer longer than [`ROOM`].
const CHARGE: u64 = 256;

/// Records in the memory of this process: bounded by entries and by bytes, in
/// shards, without a background task. Clones are the same store.
///
/// Entries whose time is over go when their key is asked for again, and a few with
/// each new key. **Nothing is driven out before its time**: a store that is full
/// says so, and the policy decides.
///
/// It forgets everything when the process ends, and knows nothing of other
/// processes: with more than one instance of a service, a duplicate that reaches
/// another one runs again. For money, take a durable store.
///
/// # Cost
/// Flat in the number of keys: one lock of one shard for each step, one hash of 32
/// bytes, no allocation but for the growth of the tables.
#[derive(Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    hasher: RandomState,
    shards: Box<[Padded<Mutex<Shard>>]>,
    entries: AtomicU64,
    bytes: AtomicU64,
    max_entries: u64,
    max_bytes: u64,
}

/// How full a [`MemoryStore`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Keys that are reserved, unknown or completed, or were and are not swept yet.
    pub entries: u64,
    /// The most of them.
    pub max_entries: u64,
    /// Bytes that they count for.
    pub bytes: u64,
    /// The most of them.
    pub max_bytes: u64,
}

#[derive(Default)]
struct Shard {
    places: HashMap<Place, usize, Plain>,
    slots: Vec<Slot>,
    /// Where the sweep goes on.
    hand: usize,
    last_token: u64,
}

struct Slot {
    place: Place,
    entry: Option<Entry<Bytes>>,
}

/// A key with its hash, by a seed of the store's: nobody can choose keys that
/// meet in one place. Equality looks at all of the key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: u64,
    key: RecordKey,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// Takes the hash as it is.
#[derive(Clone, Copy, Default)]
struct Plain(u64);

impl BuildHasher for Plain {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Plain {
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

impl MemoryStore {
    /// At most so many entries, and so many bytes, on this clock: that of the layer.
    /// An entry counts for 256 bytes, and more if its answer is longer than 64.
    ///
    /// # Errors
    /// If one of the numbers is 0, or the bytes are not enough for one entry.
    pub fn new(max_entries: u64, max_bytes: u64, clock: Clock) -> Result<Self, PolicyError> {
        if max_entries == 0 {
            let allowed = "allowed are 1 to 18446744073709551615";
            return Err(PolicyError::new("max_entries", max_entries, allowed));
        }
        if max_bytes < CHARGE {
            let allowed = "allowed are 256 to 18446744073709551615";
            return Err(PolicyError::new("max_bytes", max_bytes, allowed));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                clock,
                hasher: RandomState::new(),
                shards: (0..SHARDS).map(|_| Padded::default()).collect(),
                entries: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                max_entries,
                max_bytes,
            }),
        })
    }

    /// How full it is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            entries: self.inner.entries.load(Ordering::Relaxed),
            max_entries: self.inner.max_entries,
            bytes: self.inner.bytes.load(Ordering::Relaxed),
            max_bytes: self.inner.max_bytes,
        }
    }
}

impl Default for MemoryStore {
    /// 100,000 entries and 256 MiB, on tokio's clock.
    fn default() -> Self {
        let inner = Inner {
            clock: Clock::default(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Padded::default()).collect(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            max_entries: 100_000,
            max_bytes: 256 * 1024 * 1024,
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

/// Takes `more` of what is left below `most`; `false` if it is not there.
fn take(used: &AtomicU64, more: u64, most: u64) -> bool {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(more).filter(|sum| *sum <= most)
    })
    .is_ok()
}

/// What an answer counts for beyond what its entry does.
fn excess(answer: &Bytes) -> u64 {
    answer.len().saturating_sub(ROOM) as u64
}

fn charge(entry: Option<&Entry<Bytes>>) -> u64 {
    entry.and_then(Entry::answer).map_or(0, excess)
}

impl Inner {
    fn place(&self, key: RecordKey) -> Place {
        let hash = self.hasher.hash_one(key);
        Place { hash, key }
    }

    #[allow(clippy::cast_possible_truncation)] // a remainder; the table takes other bits
    fn shard(&self, place: &Place) -> &Mutex<Shard> {
        &self.shards[(place.hash >> 32) as usize % SHARDS].0
    }

    fn reserve(&self, ask: &Reserve) -> Reservation {
        let place = self.place(ask.key);
        let now = self.clock.now();
        // Dropped behind the lock: buffers may be foreign.
        let mut gone = Vec::new();
        let mut shard = self.shard(&place).lock();
        let shard = &mut *shard;
        let at = match shard.places.get(&place) {
            Some(at) => *at,
            None => {
                shard.sweep(self, SWEEP, now, &mut gone);
                if !self.admit() {
                    shard.sweep(self, SEARCH, now, &mut gone);
                    if !self.admit() {
                        return Reservation::Full;
                    }
                }
                let at = shard.slots.len();
                shard.slots.push(Slot { place, entry: None });
                shard.places.insert(place, at);
                at
            }
        };
        let Some(slot) = shard.slots.get_mut(at) else {
            return Reservation::Full;
        };
        let before = charge(slot.entry.as_ref());
        let last_token = &mut shard.last_token;
        let decision = state::reserve(&mut slot.entry, ask, now, || {
            *last_token = last_token.saturating_add(1);
            Token::new(*last_token)
        });
        match decision {
            Decision::Granted { token, taken_over } => {
                self.bytes.fetch_sub(before, Ordering::Relaxed);
                Reservation::Granted { token, taken_over }
            }
            Decision::Busy(remaining) => Reservation::Busy { remaining },
            Decision::Unknown => Reservation::Unknown,
            Decision::Mismatch => Reservation::Mismatch,
            Decision::Completed(answer) => Reservation::Completed(answer),
        }
    }

    /// Room for one more entry.
    fn admit(&self) -> bool {
        if !take(&self.entries, 1, self.max_entries) {
            return false;
        }
        let taken = take(&self.bytes, CHARGE, self.max_bytes);
        if !taken {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    fn complete(
        &self,
        key: RecordKey,
        token: Token,
        record: Bytes,
        retention: Duration,
    ) -> Completion {
        let place = self.place(key);
        let now = self.clock.now();
        let mut shard = self.shard(&place).lock();
        let Some(slot) = shard.slot(&place) else {
            return Completion::Fenced;
        };
        let more = excess(&record);
        if !take(&self.bytes, more, self.max_bytes) {
            return Completion::NoRoom;
        }
        let before = charge(slot.entry.as_ref());
        let said = state::complete(&mut slot.entry, token, record, retention, now);
        // What was taken, less what it is charged for now.
        let surplus = more + before - charge(slot.entry.as_ref());
        self.bytes.fetch_sub(surplus, Ordering::Relaxed);
        said
    }

    fn release(&self, key: RecordKey, token: Token) -> Completion {
        let place = self.place(key);
        let now = self.clock.now();
        let mut shard = self.shard(&place).lock();
        let Some(slot) = shard.slot(&place) else {
            return Completion::Fenced;
        };
        let said = state::release(&mut slot.entry, token, now);
        if slot.entry.is_none() {
            shard.remove(self, &place);
        }
        said
    }

    fn abandon(&self, key: RecordKey, token: Token) {
        let place = self.place(key);
        let now = self.clock.now();
        if let Some(slot) = self.shard(&place).lock().slot(&place) {
            state::abandon(&mut slot.entry, token, now);
        }
    }
}

impl Shard {
    fn slot(&mut self, place: &Place) -> Option<&mut Slot> {
        let at = *self.places.get(place)?;
        self.slots.get_mut(at)
    }

    fn remove(&mut self, store: &Inner, place: &Place) -> Option<Entry<Bytes>> {
        let at = self.places.remove(place)?;
        let slot = self.slots.swap_remove(at);
        if let Some(moved) = self.slots.get(at) {
            self.places.insert(moved.place, at);
        }
        store.entries.fetch_sub(1, Ordering::Relaxed);
        let bytes = CHARGE + charge(slot.entry.as_ref());
        store.bytes.fetch_sub(bytes, Ordering::Relaxed);
        slot.entry
    }

    /// Looks at the next few entries, and takes out those whose time is over.
    fn sweep(
        &mut self,
        store: &Inner,
        few: usize,
        now: crate::clock::Tick,
        gone: &mut Vec<Entry<Bytes>>,
    ) {
        for _ in 0..few.min(self.slots.len()) {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some(slot) = self.slots.get(self.hand) else {
                return;
            };
            if slot.entry.as_ref().is_none_or(|entry| entry.is_over(now)) {
                let place = slot.place;
                gone.extend(self.remove(store, &place));
            } else {
                self.hand += 1;
            }
        }
    }
}

impl Store for MemoryStore {
    type Error = Infallible;

    async fn reserve(&self, ask: Reserve) -> Result<Reservation, Infallible> {
        Ok(self.inner.reserve(&ask))
    }

    async fn complete(
        &self,
        key: RecordKey,
        token: Token,
        record: Bytes,
        retention: Duration,
    ) -> Result<Completion, Infallible> {
        Ok(self.inner.complete(key, token, record, retention))
    }

    async fn release(&self, key: RecordKey, token: Token) -> Result<Completion, Infallible> {
        Ok(self.inner.release(key, token))
    }

    fn abandon(&self, key: RecordKey, token: Token) {
        self.inner.abandon(key, token);
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(keep_loom)))]
mod tests;
