//! The one place that chooses between the atomics of `std` and those of `loom`,
//! and the one place that owns a `static` with an atomic or a lock in it.
//!
//! Loom weakens `SeqCst` loads and stores, so nothing in `kernel` uses them:
//! where a store must be seen before a later load, both are read-modify-writes.

#[cfg(keep_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(keep_loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// One turn of a loop that waits for another thread.
#[cold]
pub(crate) fn spin() {
    #[cfg(not(keep_loom))]
    std::thread::yield_now();
    #[cfg(keep_loom)]
    loom::thread::yield_now();
}

/// What [`Mutex::lock`] returns.
#[cfg(not(keep_loom))]
pub(crate) type MutexGuard<'a, T> = parking_lot::MutexGuard<'a, T>;
#[cfg(keep_loom)]
pub(crate) type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

/// A mutex for cold paths. Its guard does not poison: what it protects is
/// valid after every statement.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    #[cfg(not(keep_loom))]
    inner: parking_lot::Mutex<T>,
    #[cfg(keep_loom)]
    inner: loom::sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        #[cfg(not(keep_loom))]
        let inner = parking_lot::Mutex::new(value);
        #[cfg(keep_loom)]
        let inner = loom::sync::Mutex::new(value);
        Self { inner }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        #[cfg(not(keep_loom))]
        let guard = self.inner.lock();
        #[cfg(keep_loom)]
        let guard = self
            .inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        guard
    }
}

/// Gives a value a pair of cache lines of its own: 128 bytes, because x86-64
/// prefetches lines in pairs and Apple's aarch64 has lines of 128 bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// How many stripes a value that is written on every call is spread over:
/// twice the cores, so that the threads of a runtime seldom share one.
pub(crate) fn stripes() -> usize {
    static STRIPES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *STRIPES.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.saturating_mul(2).next_power_of_two().clamp(4, 256)
    })
}

/// Small dense numbers for threads, and for layers.
pub(crate) mod ids {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Not yet claimed by this thread.
    const UNKNOWN: u32 = u32::MAX;
    /// This thread is ending: it owns no number any more.
    pub(crate) const NO_THREAD: u32 = u32::MAX - 1;

    static FREE: parking_lot::Mutex<Free> = parking_lot::const_mutex(Free {
        next: 0,
        returned: Vec::new(),
    });

    struct Free {
        next: u32,
        returned: Vec<u32>,
    }

    /// Returns the number to the pool when its thread ends. The mutex orders
    /// everything the old owner wrote before anything the next one reads.
    struct Lease(u32);

    impl Drop for Lease {
        fn drop(&mut self) {
            // A thread without a number goes the shared way from here on.
            let _ = INDEX.try_with(|index| index.set(NO_THREAD));
            FREE.lock().returned.push(self.0);
        }
    }

    thread_local! {
        // Two cells: the first has no destructor, so that reading it costs
        // one load; the second is touched once per thread.
        static INDEX: Cell<u32> = const { Cell::new(UNKNOWN) };
        static LEASE: Cell<Option<Lease>> = const { Cell::new(None) };
    }

    /// The number of this thread: unique among the living ones, dense from 0,
    /// or [`NO_THREAD`] while the thread is being torn down.
    #[inline]
    pub(crate) fn thread_index() -> u32 {
        let index = INDEX.try_with(Cell::get).unwrap_or(NO_THREAD);
        if index == UNKNOWN { claim() } else { index }
    }

    #[cold]
    fn claim() -> u32 {
        let index = {
            let mut free = FREE.lock();
            free.returned.pop().unwrap_or_else(|| {
                let next = free.next;
                free.next = next.saturating_add(1).min(NO_THREAD - 1);
                next
            })
        };
        // Where it cannot be kept any more, its drop gives the number back.
        let lease = Lease(index);
        let kept = LEASE.try_with(move |cell| cell.set(Some(lease))).is_ok();
        if !kept {
            return NO_THREAD;
        }
        let _ = INDEX.try_with(|cell| cell.set(index));
        index
    }

    /// A number that no other layer of this process has.
    pub(crate) fn next_layer() -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

/// Values that could not be dropped where their last owner let go of them.
pub(crate) mod graveyard {
    use std::any::Any;

    type Dead = Vec<Box<dyn Any + Send>>;
    static DEAD: parking_lot::Mutex<Dead> = parking_lot::const_mutex(Vec::new());

    /// Keeps a value until [`clear`].
    pub(crate) fn bury(value: Box<dyn Any + Send>) {
        DEAD.lock().push(value);
    }

    /// Drops what was kept: called where layers are made, so that no more is
    /// kept than was alive since the last one.
    pub(crate) fn clear() {
        let dead = std::mem::take(&mut *DEAD.lock());
        drop(dead);
    }
}

/// The timers of each runtime of the process.
pub(crate) mod timers {
    use std::sync::Arc;

    use tokio::runtime::Id;

    use crate::clock::Timers;

    type All = Vec<(Id, Arc<Timers>)>;
    static ALL: parking_lot::Mutex<All> = parking_lot::const_mutex(Vec::new());

    fn of(all: &All, runtime: Id) -> Option<Arc<Timers>> {
        let found = all.iter().find(|(id, _)| *id == runtime);
        found.map(|(_, timers)| Arc::clone(timers))
    }

    /// Those of a runtime.
    pub(crate) fn find(runtime: Id) -> Option<Arc<Timers>> {
        of(&ALL.lock(), runtime)
    }

    /// Enters those of a runtime, or returns what was there before.
    pub(crate) fn enter(runtime: Id, timers: Arc<Timers>) -> (Arc<Timers>, bool) {
        let mut all = ALL.lock();
        if let Some(first) = of(&all, runtime) {
            return (first, false);
        }
        all.push((runtime, Arc::clone(&timers)));
        (timers, true)
    }

    /// Takes them out.
    pub(crate) fn leave(timers: &Arc<Timers>) {
        ALL.lock()
            .retain(|(_, entered)| !Arc::ptr_eq(entered, timers));
    }
}
