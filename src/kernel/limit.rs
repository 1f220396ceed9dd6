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
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering, Padded, ids, stripes};
pub use super::wait_queue::WaitKey;
use super::wait_queue::{Left, WaitQueue};

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
}

#[derive(Debug)]
struct Queue {
    limit: u32,
    waiting: WaitQueue,
}

/// Wakers are called after the lock is gone, a handful at a time.
const WAKES: usize = 8;
type Wakes = [Option<Waker>; WAKES];

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

    /// A limit over `count` stripes, rounded up to a power of two.
    #[must_use]
    pub fn with_stripes(limit: u32, count: usize) -> Self {
        let stripes: Box<[_]> = (0..count.max(1).next_power_of_two())
            .map(|_| Padded(AtomicU64::new(0)))
            .collect();
        let new = Self {
            stripes,
            cold: Padded(AtomicU64::new(0)),
            queue: Mutex::new(Queue {
                limit,
                waiting: WaitQueue::default(),
            }),
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
            let mut wakes: Wakes = [const { None }; WAKES];
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

    /// One round under the lock; true if it stopped because `wakes` is full.
    fn serve(&self, queue: &mut Queue, wakes: &mut Wakes) -> bool {
        for wake in wakes {
            // More than the limit, which was lowered meanwhile: nobody behind it
            // would ever be served. What it has gathered is free again.
            if queue.waiting.head_weight() > Some(queue.limit) {
                let mut left = queue.waiting.refuse_head();
                *wake = left.waker.take();
                self.leave(&left);
                continue;
            }
            if !self.pay_debt() {
                return false;
            }
            let Some(missing) = queue.waiting.head_needs() else {
                return false;
            };
            let got = self.scan(u64::from(missing));
            // At most `missing`, which is a u32.
            let got = u32::try_from(got).unwrap_or(missing);
            if got < missing {
                queue.waiting.give_head(got);
                return false;
            }
            *wake = queue.waiting.grant_head(got);
            self.cold.0.fetch_sub(WAITER, Ordering::AcqRel);
        }
        true
    }

    /// Whether nothing is owed any more.
    fn pay_debt(&self) -> bool {
        let owed = self.cold.0.load(Ordering::Relaxed) / DEBT;
        if owed == 0 {
            return true;
        }
        let paid = self.scan(owed);
        self.cold.0.fetch_sub(paid * DEBT, Ordering::AcqRel);
        paid == owed
    }

    /// Somebody who waited has left, under the lock.
    fn leave(&self, left: &Left) {
        if left.was_waiting {
            self.cold.0.fetch_sub(WAITER, Ordering::AcqRel);
        }
        if left.permits > 0 {
            self.stripes[0]
                .0
                .fetch_add(u64::from(left.permits), Ordering::AcqRel);
        }
    }

    /// Takes up to `want` permits by read-modify-writes, even from stripes that
    /// look empty: whoever releases there later is then sure to see `cold`.
    fn scan(&self, want: u64) -> u64 {
        let mut got = 0;
        for stripe in &self.stripes {
            let mut free = stripe.0.fetch_add(0, Ordering::AcqRel);
            while free > 0 && got < want {
                let taken = free.min(want - got);
                match stripe.0.compare_exchange(
                    free,
                    free - taken,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => {
                        got += taken;
                        break;
                    }
                    Err(now) => free = now,
                }
            }
        }
        got
    }

    /// Queues for `n` permits behind everybody who waits already.
    ///
    /// # Errors
    /// [`Full`] if `max` callers wait already, or `n` is above the limit.
    pub fn enqueue(&self, n: u32, max: u32) -> Result<WaitKey, Full> {
        let mut queue = self.queue.lock();
        if n > queue.limit || queue.waiting.len() >= max {
            return Err(Full);
        }
        let key = queue.waiting.push(n);
        self.cold.0.fetch_add(WAITER, Ordering::AcqRel);
        self.settle(queue);
        Ok(key)
    }

    /// Whether the permits of `key` have arrived; then they are the caller's
    /// and the key is spent. Otherwise only the waker of the last poll is owed.
    ///
    /// # Errors
    /// [`Full`] if the limit was lowered below what it waits for before its turn
    /// had come; the key is spent.
    pub fn poll_acquired(&self, key: WaitKey, cx: &mut Context<'_>) -> Poll<Result<(), Full>> {
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
        let parked = u64::from(queue.waiting.head_has());
        (u64::from(queue.limit) + owed).saturating_sub(free + parked)
    }
}
