//! What happens under the lock: who waits, in which order it is served, and who
//! is sent away.

use std::task::Waker;

use super::{DEBT, Limit, WAITER};
use crate::clock::{Clock, Tick};
use crate::kernel::standing::Standing;
use crate::kernel::sync::Ordering;
use crate::kernel::wait_queue::{Gone, Left, Next, WaitQueue};
use crate::queue::{CLASSES, Discipline};

/// Wakers are called after the lock is gone, a handful at a time.
pub(super) type Wakes = [Option<Waker>; 8];

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) limit: u32,
    pub(super) waiting: WaitQueue,
    pub(super) clock: Clock,
    pub(super) discipline: Discipline,
    pub(super) standing: Standing,
}

impl Queue {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            waiting: WaitQueue::default(),
            clock: Clock::default(),
            discipline: Discipline::default(),
            standing: Standing::default(),
        }
    }

    /// Whether the newest comes first.
    pub(super) fn is_lifo(&self, now: Tick) -> bool {
        let interval = self.discipline.interval();
        self.discipline.is_lifo() && self.standing.stands(now, interval)
    }

    /// Whether who could be served is shed.
    fn sheds(&mut self, now: Tick, next: &Next) -> bool {
        let waited = now.saturating_since(next.ask.since);
        let interval = self.discipline.interval();
        self.discipline
            .target()
            .is_some_and(|target| self.standing.sheds(now, waited, target, interval))
    }
}

impl Limit {
    /// Which classes have less in flight than their share.
    fn owed(&self, queue: &Queue) -> [bool; CLASSES] {
        if !queue.discipline.has_shares() {
            return [false; CLASSES];
        }
        std::array::from_fn(|class| {
            let ended = self.classes.sum(class + CLASSES);
            let held = self.classes.sum(class).saturating_sub(ended);
            queue.discipline.is_owed(class, held, queue.limit)
        })
    }

    /// One round under the lock; true if it stopped because `wakes` is full.
    pub(super) fn serve(&self, queue: &mut Queue, wakes: &mut Wakes) -> bool {
        if queue.waiting.len() == 0 {
            queue.standing.emptied();
            self.pay_debt();
            return false;
        }
        let now = queue.clock.now();
        for wake in wakes {
            let owed = self.owed(queue);
            let newest = queue.is_lifo(now);
            let Some(next) = queue.waiting.next(owed, newest) else {
                queue.standing.emptied();
                self.pay_debt();
                return false;
            };
            // More than the limit, which was lowered meanwhile: nobody behind it
            // would ever be served. What it has gathered is free again.
            if next.ask.permits > queue.limit {
                *wake = self.dismiss(queue, &next, Gone::TooHeavy);
                continue;
            }
            if next.ask.due < now {
                *wake = self.dismiss(queue, &next, Gone::Late);
                continue;
            }
            if !self.pay_debt() {
                return false;
            }
            let missing = next.ask.permits - next.has;
            let got = self.scan(u64::from(missing));
            // At most `missing`, which is a u32.
            let got = u32::try_from(got).unwrap_or(missing);
            if got < missing {
                queue.waiting.give(&next, got);
                return false;
            }
            if queue.sheds(now, &next) {
                queue.waiting.give(&next, got);
                *wake = self.dismiss(queue, &next, Gone::Shed);
                continue;
            }
            *wake = queue.waiting.grant(&next, got);
            self.cold.0.fetch_sub(WAITER, Ordering::AcqRel);
        }
        true
    }

    /// Sends a waiter away; its waker is to be woken.
    pub(super) fn dismiss(&self, queue: &mut Queue, next: &Next, gone: Gone) -> Option<Waker> {
        let mut left = queue.waiting.refuse(next, gone);
        self.leave(&left);
        left.waker.take()
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
    pub(super) fn leave(&self, left: &Left) {
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
}
