//! An exact concurrency limit whose permits are spread over stripes.
//!
//! A caller takes from its own stripe by compare-and-swap and, when that is
//! empty, from the others in two passes; it releases to its own. Two threads
//! therefore write one line only when the limit is nearly exhausted, and the
//! permits in all stripes, in flight and in debt always add up to the limit.
//!
//! What is rare shares one word, `cold`: how many permits the limit still owes
//! after it shrank (*debt*) and how many callers *wait*. Whoever changes it
//! does so by a read-modify-write **before** it scans the stripes with
//! read-modify-writes; whoever releases adds to its stripe by a
//! read-modify-write **before** it reads `cold`. One of the two is later in
//! the order of that stripe and sees the other: no wake-up is lost, and no
//! permit escapes a debt. `loom_limit.rs` explores this.

use std::task::{Context, Poll, Waker};

use super::core::quietly;
use super::counter::Counters;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering, Padded, ids, stripes};
pub use super::wait_queue::{Ask, Gone, WaitKey};
use crate::clock::Clock;
use crate::queue::{CLASSES, Discipline};

mod serve;

use serve::{Queue, Wakes};

/// Who asks for a permit while others wait gets none: they were first.
const WAITER: u64 = 1;
const DEBT: u64 = 1 << 32;

/// No permit, or no place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A limit on what is in flight at once.
#[derive(Debug)]
pub struct Limit {
    stripes: Box<[Padded<AtomicU64>]>,
    /// `debt << 32 | waiters`, changed under the lock of `queue` only.
    cold: Padded<AtomicU64>,
    queue: Mutex<Queue>,
    /// Calls of each class that began, and that ended.
    classes: Counters<{ 2 * CLASSES }>,
}

/// A waker that panics must not cost those behind it their wake-ups, nor a drop
/// its end.
fn wake_quietly(waker: Waker) {
    quietly(|| waker.wake());
}

impl Limit {
    /// A limit of `limit` permits over the machine's number of stripes.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self::with_stripes(limit, stripes())
    }

    /// As [`new`](Self::new), with a queue that serves so.
    #[must_use]
    pub fn with_queue(limit: u32, clock: Clock, discipline: Discipline) -> Self {
        let new = Self::new(limit);
        {
            let mut queue = new.queue.lock();
            queue.clock = clock;
            queue.discipline = discipline;
        }
        new
    }

    /// Another way to serve who waits.
    pub fn set_discipline(&self, discipline: Discipline) {
        self.queue.lock().discipline = discipline;
    }

    /// A call of a class begins, or ends: for who counts the shares.
    #[inline]
    pub fn count(&self, class: Option<u8>, ended: bool) {
        if let Some(class) = class {
            self.count_class(class.into(), ended);
        }
    }

    // Apart, so that those who have no class stay short.
    #[inline(never)]
    fn count_class(&self, class: usize, ended: bool) {
        self.classes.add(class + CLASSES * usize::from(ended), 1);
    }

    /// A limit over `count` stripes, rounded up to a power of two.
    #[must_use]
    pub fn with_stripes(limit: u32, count: usize) -> Self {
        let stripes: Box<[_]> = (0..count.max(1).next_power_of_two())
            .map(|_| Padded(AtomicU64::new(0)))
            .collect();
        let new = Self {
            stripes,
            cold: Padded(AtomicU64::new(0)),
            queue: Mutex::new(Queue::new(limit)),
            classes: Counters::default(),
        };
        new.spread(u64::from(limit));
        new
    }

    /// Puts permits into the stripes, evenly.
    fn spread(&self, permits: u64) {
        let count = self.stripes.len() as u64;
        let (each, rest) = (permits / count, permits % count);
        for (i, stripe) in (0..).zip(self.stripes.iter()) {
            let n = each + u64::from(i < rest);
            if n > 0 {
                stripe.0.fetch_add(n, Ordering::AcqRel);
            }
        }
    }

    #[inline]
    fn own(&self, thread: usize) -> usize {
        // A power of two, so that this is no division.
        thread & (self.stripes.len() - 1)
    }

    /// Takes `n` permits, or none.
    ///
    /// # Errors
    /// [`Full`] if fewer than `n` are free, or others wait for theirs.
    #[inline]
    pub fn try_acquire(&self, n: u32) -> Result<(), Full> {
        self.try_acquire_from(ids::thread_index() as usize, n)
    }

    /// As [`try_acquire`](Self::try_acquire), starting at a stripe.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_acquire_from(&self, thread: usize, n: u32) -> Result<(), Full> {
        let own = self.own(thread);
        let want = u64::from(n);
        if self.take(own, want, want) != want && !self.steal(own, want) {
            return Err(Full);
        }
        // The swap above is later, in its stripe, than the scan of whoever
        // announced something before this grant: so it is seen here.
        if self.cold.0.load(Ordering::Relaxed) == 0 {
            Ok(())
        } else {
            self.acquired_in_the_cold(own, want)
        }
    }

    /// Takes up to `want`, if there are at least `least`.
    #[inline]
    fn take(&self, stripe: usize, least: u64, want: u64) -> u64 {
        let word = &self.stripes[stripe].0;
        // Acquire: who sees that a permit has left this stripe also sees where
        // it went, if it looks there afterwards.
        let mut free = word.load(Ordering::Acquire);
        while free >= least && free > 0 {
            let taken = free.min(want);
            match word.compare_exchange_weak(
                free,
                free - taken,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return taken,
                Err(now) => free = now,
            }
        }
        0
    }

    /// Gathers `want` permits from all stripes, or puts back what it found. A
    /// permit can move to a stripe that was already looked at: hence twice.
    #[cold]
    fn steal(&self, own: usize, want: u64) -> bool {
        let count = self.stripes.len();
        // Nothing is taken from others that cannot be enough.
        let free = |stripe: &Padded<AtomicU64>| stripe.0.load(Ordering::Acquire);
        if want > 1 && self.stripes.iter().map(free).sum::<u64>() < want {
            return false;
        }
        let mut got = 0;
        for step in 0..count.saturating_mul(2) {
            got += self.take(self.own(own + step), 1, want - got);
            if got == want {
                return true;
            }
        }
        if got > 0 {
            self.put(own, got);
        }
        false
    }

    #[cold]
    fn acquired_in_the_cold(&self, own: usize, got: u64) -> Result<(), Full> {
        // The permits go to the debt and to those who wait, in this order.
        self.put(own, got);
        Err(Full)
    }

    /// Gives `n` permits back.
    #[inline]
    pub fn release(&self, n: u32) {
        self.release_from(ids::thread_index() as usize, n);
    }

    /// As [`release`](Self::release), to the stripe of a thread.
    #[inline]
    pub fn release_from(&self, thread: usize, n: u32) {
        self.put(self.own(thread), u64::from(n));
    }

    #[inline]
    fn put(&self, stripe: usize, n: u64) {
        self.stripes[stripe].0.fetch_add(n, Ordering::AcqRel);
        if self.cold.0.load(Ordering::Relaxed) != 0 {
            self.settle(self.queue.lock());
        }
    }

    /// Sends away who can never be served, pays the debt, and serves who waits,
    /// first come first served.
    #[cold]
    fn settle<'a>(&'a self, mut queue: MutexGuard<'a, Queue>) {
        loop {
            let mut wakes = Wakes::default();
            let more = self.serve(&mut queue, &mut wakes);
            drop(queue);
            wakes
                .iter_mut()
                .filter_map(Option::take)
                .for_each(wake_quietly);
            if !more {
                return;
            }
            queue = self.queue.lock();
        }
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// [`Full`] if `max` callers wait already and none of them makes room, or it
    /// asks for more than the limit.
    pub fn enqueue(&self, ask: impl Into<Ask>, max: u32) -> Result<WaitKey, Full> {
        let ask = ask.into();
        let mut queue = self.queue.lock();
        if ask.permits > queue.limit || max == 0 {
            return Err(Full);
        }
        let mut displaced = None;
        if queue.waiting.len() >= max {
            let oldest = queue.is_lifo(ask.since);
            let Some(victim) = queue.waiting.victim(&ask, oldest) else {
                return Err(Full);
            };
            displaced = self.dismiss(&mut queue, &victim, Gone::Shed);
        }
        let key = queue.waiting.push(ask);
        queue.standing.filled(ask.since);
        self.cold.0.fetch_add(WAITER, Ordering::AcqRel);
        self.settle(queue);
        if let Some(waker) = displaced {
            wake_quietly(waker);
        }
        Ok(key)
    }

    /// Whether the permits of `key` have arrived; then they are the caller's
    /// and the key is spent. Otherwise only the waker of the last poll is owed.
    ///
    /// # Errors
    /// [`Gone`] if it was sent away before its turn had come; the key is spent.
    pub fn poll_acquired(&self, key: WaitKey, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        // Cloned and dropped without the lock: both are foreign code.
        let mut waker = None;
        loop {
            let poll = self.queue.lock().waiting.poll(key, cx.waker(), &mut waker);
            match poll {
                Some(poll) => return poll,
                None => waker = Some(cx.waker().clone()),
            }
        }
    }

    /// Wakes all who wait; they keep their places.
    pub fn wake_all(&self) {
        let wakers = self.queue.lock().waiting.take_wakers();
        wakers.into_iter().for_each(wake_quietly);
    }

    /// Gives up a place in the queue, or the permits if they have just arrived.
    pub fn cancel(&self, key: WaitKey) {
        let mut queue = self.queue.lock();
        let left = queue.waiting.cancel(key);
        self.leave(&left);
        self.settle(queue);
        drop(left);
    }

    /// Changes the limit. Calls in flight beyond a lower one finish undisturbed;
    /// nobody is admitted until they are below it.
    pub fn resize(&self, limit: u32) {
        let mut queue = self.queue.lock();
        let old = std::mem::replace(&mut queue.limit, limit);
        if limit < old {
            self.cold
                .0
                .fetch_add(u64::from(old - limit) * DEBT, Ordering::AcqRel);
        } else {
            let grown = u64::from(limit - old);
            let forgiven = grown.min(self.cold.0.load(Ordering::Relaxed) / DEBT);
            self.cold.0.fetch_sub(forgiven * DEBT, Ordering::AcqRel);
            self.spread(grown - forgiven);
        }
        self.settle(queue);
    }

    /// The limit as it was set last.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.queue.lock().limit
    }

    /// Callers in the queue.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.queue.lock().waiting.len()
    }

    /// Permits in use: exact while nobody acquires or releases.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let queue = self.queue.lock();
        let owed = self.cold.0.load(Ordering::Relaxed) / DEBT;
        let free: u64 = self
            .stripes
            .iter()
            .map(|stripe| stripe.0.load(Ordering::Relaxed))
            .sum();
        let parked = u64::from(queue.waiting.gathered());
        (u64::from(queue.limit) + owed).saturating_sub(free + parked)
    }
}
