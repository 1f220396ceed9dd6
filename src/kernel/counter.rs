//! Counters that two cores never write to at once.
//!
//! A block of `N` counters lives in one stripe per thread. The first stripes
//! belong to exactly one thread each, which adds with a plain load and store;
//! threads beyond them share the last stripe with `fetch_add`. Sums are exact
//! once the writers are quiet, and never lower than a sum taken before.

use super::sync::{AtomicU64, Ordering, Padded, ids, stripes};

/// `N` monotone counters, striped by thread (at most 16 fill one stripe).
#[derive(Debug)]
pub struct Counters<const N: usize> {
    /// Each is written by the thread of its number alone.
    owned: Box<[Padded<[AtomicU64; N]>]>,
    /// Of all threads beyond.
    shared: Padded<[AtomicU64; N]>,
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self::with_owned(stripes())
    }
}

impl<const N: usize> Counters<N> {
    /// Counters with `owned` single-writer stripes and one shared one.
    #[must_use]
    pub fn with_owned(owned: usize) -> Self {
        let stripe = || Padded(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            owned: (0..owned).map(|_| stripe()).collect(),
            shared: stripe(),
        }
    }

    /// Adds `n` to counter `which`; an index out of range counts nothing.
    #[inline]
    pub fn add(&self, which: usize, n: u64) {
        self.add_from(ids::thread_index() as usize, which, n);
    }

    /// As [`add`](Self::add), for a thread whose number the caller knows.
    #[inline]
    pub fn add_from(&self, thread: usize, which: usize, n: u64) {
        let Some(own) = self.owned.get(thread) else {
            return self.add_shared(which, n);
        };
        if let Some(counter) = own.0.get(which) {
            // The only writer of this word is this thread.
            let old = counter.load(Ordering::Relaxed);
            counter.store(old.wrapping_add(n), Ordering::Relaxed);
        }
    }

    #[cold]
    fn add_shared(&self, which: usize, n: u64) {
        if let Some(counter) = self.shared.0.get(which) {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The sum over all threads.
    #[must_use]
    pub fn sum(&self, which: usize) -> u64 {
        self.owned
            .iter()
            .chain([&self.shared])
            .filter_map(|stripe| stripe.0.get(which))
            .fold(0, |sum, c| sum.wrapping_add(c.load(Ordering::Relaxed)))
    }
}
