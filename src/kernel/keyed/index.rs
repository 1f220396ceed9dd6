//! The map for states of any kind.
//!
//! It is a [`scc::HashIndex`], which moves its entries when it grows and would then show an old
//! copy of an atomic to some readers and a new one to others; so what it holds is an `Arc`, and
//! the state itself never moves.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::{Map, Place};
use crate::key::KeyId;

/// A key and its state, at an address that never changes.
#[derive(Debug)]
#[allow(unnameable_types)] // an associated type of what is public to tests only
pub struct Entry<V> {
    key: KeyId,
    state: V,
}

/// A lock-free index of entries that stay where they are.
pub struct Index<V>(scc::HashIndex<KeyId, Arc<Entry<V>>, BuildHasherDefault<Fold>>);

impl<V> Index<V> {
    /// How many entries there are.
    #[cfg(all(test, not(keep_loom)))]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl<V> fmt::Debug for Index<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

impl<V: 'static> Map<V> for Index<V> {
    type Entry = Arc<Entry<V>>;
    type View<'a> = &'a V;

    fn new(_: usize, _: usize) -> Self {
        Self(scc::HashIndex::default())
    }

    #[inline]
    fn peek<R>(&self, at: Place, f: impl FnOnce(&V) -> R) -> Option<R> {
        self.0.peek_with(&at.key, |_, entry| f(&entry.state))
    }

    fn get(&self, at: Place) -> Option<Arc<Entry<V>>> {
        // Not `peek`: this one holds the bucket, so it cannot miss an entry that is on the move.
        self.0
            .get_sync(&at.key)
            .map(|entry| Arc::clone(entry.get()))
    }

    fn insert(&self, at: Place, make: impl Fn() -> V) -> Option<Arc<Entry<V>>> {
        let (key, state) = (at.key, make());
        let entry = Arc::new(Entry { key, state });
        let added = self.0.insert_sync(key, Arc::clone(&entry)).is_ok();
        debug_assert!(added, "the key was absent under its shard's lock");
        Some(entry)
    }

    fn state<'a>(&'a self, entry: &'a Arc<Entry<V>>) -> Option<&'a V> {
        Some(&entry.state)
    }

    fn view<'a>(&'a self, entry: &'a Arc<Entry<V>>, _: KeyId) -> Option<&'a V> {
        Some(&entry.state)
    }

    fn is(&self, one: &Arc<Entry<V>>, other: &Arc<Entry<V>>) -> bool {
        Arc::ptr_eq(one, other)
    }

    fn remove(&self, _: usize, entry: &Arc<Entry<V>>) {
        let removed = self.0.remove_sync(&entry.key);
        debug_assert!(removed, "the key was present under its shard's lock");
    }
}

/// A [`KeyId`] as it is: it is the output of a keyed hash, and to hash it again adds nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold(u64);

impl Hasher for Fold {
    #[inline]
    fn write_u64(&mut self, id: u64) {
        self.0 = id;
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
