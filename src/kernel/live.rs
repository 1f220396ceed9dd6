//! Numbers that are read on every call and changed once in a while: a sequence
//! lock over plain atomics. A reader writes nothing and costs a handful of
//! loads; it sees all numbers of one update or all of another, never a mix.

use super::sync::{AtomicU64, Mutex, Ordering, fence};

/// `N` words that change together.
#[derive(Debug)]
pub struct Live<const N: usize> {
    /// Odd while a writer is between its first and its last store.
    sequence: AtomicU64,
    words: [AtomicU64; N],
    writers: Mutex<()>,
}

/// The words as they are seen by [`Live::load_with`].
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a, const N: usize>(&'a [AtomicU64; N]);

impl<const N: usize> Seen<'_, N> {
    /// The word at this place.
    #[inline]
    #[must_use]
    pub fn get(self, at: usize) -> u64 {
        self.0[at].load(Ordering::Relaxed)
    }
}

impl<const N: usize> Live<N> {
    /// The first version.
    #[must_use]
    pub fn new(words: [u64; N]) -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: words.map(AtomicU64::new),
            writers: Mutex::new(()),
        }
    }

    /// All words of one version.
    #[inline]
    pub fn load(&self) -> [u64; N] {
        self.load_first()
    }

    /// The first `K` words of one version.
    #[inline]
    pub fn load_first<const K: usize>(&self) -> [u64; K] {
        const { assert!(K <= N) };
        self.load_with(|words| std::array::from_fn(|i| words.get(i)))
    }

    /// What `read` makes of the words of one version. It may be shown a mix of versions
    /// before, for nothing.
    #[inline]
    pub fn load_with<R>(&self, read: impl Fn(Seen<'_, N>) -> R) -> R {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let seen = read(Seen(&self.words));
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return seen;
            }
            self.wait_for_writer();
        }
    }

    /// One word of the latest version.
    #[inline]
    pub fn word<const I: usize>(&self) -> u64 {
        const { assert!(I < N) };
        self.words[I].load(Ordering::Relaxed)
    }

    /// A writer stores a few words under this lock: waiting for the lock is
    /// shorter than spinning beside a writer that was descheduled.
    #[cold]
    fn wait_for_writer(&self) {
        drop(self.writers.lock());
    }

    /// Publishes the next version.
    pub fn store(&self, words: [u64; N]) {
        let _writer = self.writers.lock();
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        // Readers that see one of the new words also see the odd sequence.
        fence(Ordering::Release);
        for (slot, word) in self.words.iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }
}
