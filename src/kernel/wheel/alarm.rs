//! The timers of one runtime: a wheel per thread, and one driver for all.
//!
//! A thread arms on its own shard, so that its lock is free nearly always. The
//! driver sleeps until the time that is *planned*; only who arms an earlier timer
//! has to see to it that it sleeps no longer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use super::{Place, Turn, Wheel};
use crate::clock::Tick;
use crate::kernel::core::drop_quietly;
use crate::kernel::sync::{AtomicU64, Mutex, Ordering, Padded};

/// Timers that are taken out under one hold of a lock.
const BATCH: usize = 32;
/// Timers that are looked at in one turn, before others have theirs: the tasks
/// that are woken, for one. More of them do not fit a worker's own queue.
const BUDGET: usize = 64;

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Let others run, and then take another turn.
    Yield,
    /// Take another turn when the [planned](Alarm::planned) time has come.
    Sleep,
}

#[derive(Debug, Default)]
struct Shard {
    /// Made when the first timer is armed.
    wheel: Option<Box<Wheel<Waker>>>,
    closed: bool,
}

/// Armed timers that share a driver.
#[derive(Debug)]
pub(crate) struct Alarm {
    shards: Box<[Padded<Mutex<Shard>>]>,
    /// When the driver has to take its next turn, in nanoseconds.
    planned: Padded<AtomicU64>,
}

impl Alarm {
    /// `shards` must be a power of two.
    pub(crate) fn new(shards: usize) -> Self {
        let shard = || Padded(Mutex::new(Shard::default()));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            planned: Padded(AtomicU64::new(u64::MAX)),
        }
    }

    /// The shard of a thread.
    #[inline]
    fn shard(&self, thread: u32) -> &Mutex<Shard> {
        &self.shards[thread as usize & (self.shards.len() - 1)].0
    }

    /// Arms a timer on the thread's shard, and tells whether it comes before what
    /// was planned: then the driver must be made to sleep no longer than the new
    /// plan, under a lock that it takes for the same.
    ///
    /// # Errors
    /// The waker, if the driver is gone.
    #[inline]
    pub(crate) fn arm(
        &self,
        thread: u32,
        due: Tick,
        now: Tick,
        waker: Waker,
    ) -> Result<(Place, bool), Waker> {
        let place = {
            let mut shard = self.shard(thread).lock();
            if shard.closed {
                return Err(waker);
            }
            let wheel = shard.wheel.get_or_insert_with(new_wheel);
            wheel.arm(due, now, waker)
        };
        // The driver plans anew before it locks a shard: either it has seen the
        // timer, or we see that it is planning.
        let due = due.as_nanos();
        let is_earlier = due < self.planned.0.load(Ordering::Relaxed)
            && self.planned.0.fetch_min(due, Ordering::AcqRel) > due;
        Ok((place, is_earlier))
    }

    /// When the driver has to take its next turn.
    pub(crate) fn planned(&self) -> Tick {
        Tick::from_nanos(self.planned.0.load(Ordering::Acquire))
    }

    /// Whether a timer is still armed; `waker` is woken when it fires.
    pub(crate) fn renew(&self, thread: u32, place: Place, waker: &Waker) -> bool {
        let same = {
            let mut shard = self.shard(thread).lock();
            let Some(old) = shard.wheel.as_mut().and_then(|wheel| wheel.waker(place)) else {
                return false;
            };
            old.will_wake(waker)
        };
        if same {
            return true;
        }
        // Wakers are foreign code: cloned before the lock, dropped after it.
        let mut waker = waker.clone();
        let mut shard = self.shard(thread).lock();
        let old = shard.wheel.as_mut().and_then(|wheel| wheel.waker(place));
        let armed = old.map(|old| std::mem::swap(old, &mut waker)).is_some();
        drop(shard);
        drop(waker);
        armed
    }

    /// Takes a timer out, if it has not fired.
    #[inline]
    pub(crate) fn cancel(&self, thread: u32, place: Place) {
        let mut shard = self.shard(thread).lock();
        let waker = shard.wheel.as_mut().and_then(|wheel| wheel.cancel(place));
        drop(shard);
        drop(waker);
    }

    /// The driver's turn: wakes what is due. It begins with another shard each
    /// time, or the last ones would have to wait until the first have nothing.
    pub(crate) fn turn(&self, now: Tick, number: usize) -> Next {
        // From here on everything is earlier than planned. A swap, and no store: who
        // lowers the plan meanwhile does so before it or after it.
        self.planned.0.swap(u64::MAX, Ordering::AcqRel);
        let mut budget = BUDGET;
        let mut until = u64::MAX;
        let first = number & (self.shards.len() - 1);
        let (before, after) = self.shards.split_at(first);
        for shard in after.iter().chain(before) {
            match drain(&shard.0, now, &mut budget) {
                Turn::More => return Next::Yield,
                Turn::Until(next) => until = until.min(next),
            }
        }
        self.planned.0.fetch_min(until, Ordering::AcqRel);
        Next::Sleep
    }

    /// The driver's end: everybody is woken, to arm elsewhere.
    pub(crate) fn close(&self) {
        for shard in &self.shards {
            let wheel = {
                let mut shard = shard.0.lock();
                shard.closed = true;
                shard.wheel.take()
            };
            if let Some(mut wheel) = wheel {
                wheel.clear(wake);
            }
        }
    }

    /// Whether the driver is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.shards
            .first()
            .is_none_or(|shard| shard.0.lock().closed)
    }

    /// Timers that are armed.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn armed(&self) -> usize {
        let armed = |shard: &Padded<Mutex<Shard>>| {
            let shard = shard.0.lock();
            shard.wheel.as_ref().map_or(0, |wheel| wheel.armed())
        };
        self.shards.iter().map(armed).sum()
    }
}

#[cold]
fn new_wheel() -> Box<Wheel<Waker>> {
    Box::new(Wheel::new())
}

/// Wakes what is due on one shard, outside its lock.
fn drain(shard: &Mutex<Shard>, now: Tick, budget: &mut usize) -> Turn {
    loop {
        let mut due = [const { None }; BATCH];
        let mut taken = 0;
        let mut allowed = BATCH.min(*budget);
        let turn = {
            let mut shard = shard.lock();
            let Some(wheel) = shard.wheel.as_mut() else {
                return Turn::Until(u64::MAX);
            };
            let before = allowed;
            let turn = wheel.turn(now, &mut allowed, |waker| {
                due[taken] = Some(waker);
                taken += 1;
            });
            *budget -= before - allowed;
            turn
        };
        due.into_iter().flatten().for_each(wake);
        if turn != Turn::More || *budget == 0 {
            return turn;
        }
    }
}

/// A waker that panics must not cost the others their wake.
fn wake(waker: Waker) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        drop_quietly(panic);
    }
}
