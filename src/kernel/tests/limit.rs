//! One thread against a naive model.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::*;

use super::Wakes;
use crate::kernel::limit::{Full, Gone, Limit, WaitKey};

/// A limit as one would write it down.
#[derive(Debug, Default)]
struct Model {
    limit: i64,
    in_flight: i64,
    /// What the first waiter has gathered.
    parked: i64,
    /// (name, permits), first come first served.
    queue: VecDeque<(usize, i64)>,
    granted: HashMap<usize, i64>,
    refused: HashSet<usize>,
}

impl Model {
    /// Below zero: a debt.
    fn free(&self) -> i64 {
        self.limit - self.in_flight - self.parked
    }

    fn serve(&mut self) {
        while let Some(&(name, needs)) = self.queue.front() {
            if needs > self.limit {
                self.parked = 0;
                self.queue.pop_front();
                self.refused.insert(name);
                continue;
            }
            if self.free() < 0 {
                return;
            }
            self.parked += self.free().min(needs - self.parked);
            if self.parked < needs {
                return;
            }
            self.parked = 0;
            self.in_flight += needs;
            self.queue.pop_front();
            self.granted.insert(name, needs);
        }
    }

    fn cancel(&mut self, name: usize) {
        if let Some(place) = self.queue.iter().position(|waiter| waiter.0 == name) {
            self.queue.remove(place);
            if place == 0 {
                self.parked = 0;
            }
        } else if let Some(permits) = self.granted.remove(&name) {
            self.in_flight -= permits;
        } else {
            self.refused.remove(&name);
        }
        self.serve();
    }

    /// It has been told something, or will be by its waker.
    fn decided(&self, name: usize) -> bool {
        self.granted.contains_key(&name) || self.refused.contains(&name)
    }
}

/// Somebody in the queue, with the wakers it has shown.
struct Waiter {
    name: usize,
    key: WaitKey,
    shown: Vec<Arc<Wakes>>,
}

impl Waiter {
    fn poll(&mut self, limit: &Limit, again: bool) -> Poll<Result<(), Gone>> {
        if !again || self.shown.is_empty() {
            self.shown.push(Arc::default());
        }
        let waker = Waker::from(Arc::clone(self.shown.last().unwrap()));
        limit.poll_acquired(self.key, &mut Context::from_waker(&waker))
    }

    /// The last waker alone is owed one wake, and none before the decision.
    fn check(&self, decided: bool) {
        for (i, wakes) in self.shown.iter().rev().enumerate() {
            assert_eq!(wakes.count(), u32::from(decided && i == 0), "{}", self.name);
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(
        stripes in 0..5usize,
        first in 0..12u32,
        ops in prop::collection::vec((0..17u32, 0..6u32, any::<usize>()), 1..200),
    ) {
        let limit = Limit::with_stripes(first, stripes);
        let mut model = Model { limit: first.into(), ..Model::default() };
        let mut held: Vec<u32> = Vec::new();
        let mut waiters: Vec<Waiter> = Vec::new();
        let mut spent: Vec<WaitKey> = Vec::new();
        for (name, (op, n, some)) in ops.into_iter().enumerate() {
            match op {
                0..4 => {
                    let free = model.queue.is_empty() && model.free() >= n.into();
                    let got = limit.try_acquire_from(some, n);
                    prop_assert_eq!(got, if free { Ok(()) } else { Err(Full) });
                    if free {
                        model.in_flight += i64::from(n);
                        held.push(n);
                    }
                }
                4..8 if !held.is_empty() => {
                    let n = held.swap_remove(some % held.len());
                    model.in_flight -= i64::from(n);
                    model.serve();
                    limit.release_from(some, n);
                }
                8 => {
                    let to = n * 3;
                    model.limit = to.into();
                    model.serve();
                    limit.resize(to);
                    prop_assert_eq!(limit.limit(), to);
                }
                9..12 => {
                    let max = 6;
                    match limit.enqueue(n, max) {
                        Ok(key) => {
                            prop_assert!(model.queue.len() < max as usize);
                            prop_assert!(i64::from(n) <= model.limit);
                            model.queue.push_back((name, n.into()));
                            model.serve();
                            waiters.push(Waiter { name, key, shown: Vec::new() });
                        }
                        Err(Full) => prop_assert!(
                            model.queue.len() == max as usize || i64::from(n) > model.limit
                        ),
                    }
                }
                12..15 if !waiters.is_empty() => {
                    let index = some % waiters.len();
                    let waiter = &mut waiters[index];
                    if model.decided(waiter.name) {
                        let granted = model.granted.remove(&waiter.name);
                        let result = granted.map(|_| ()).ok_or(Gone::TooHeavy);
                        prop_assert_eq!(waiter.poll(&limit, true), Poll::Ready(result));
                        // The key is spent: nothing more comes of it.
                        limit.cancel(waiter.key);
                        prop_assert_eq!(waiter.poll(&limit, true), Poll::Pending);
                        held.extend(granted.map(|n| u32::try_from(n).unwrap()));
                        spent.push(waiters.swap_remove(index).key);
                    } else {
                        prop_assert_eq!(waiter.poll(&limit, n < 3), Poll::Pending);
                    }
                }
                15 if !waiters.is_empty() => {
                    let waiter = waiters.swap_remove(some % waiters.len());
                    let decided = model.decided(waiter.name);
                    limit.cancel(waiter.key);
                    waiter.check(decided);
                    model.cancel(waiter.name);
                    spent.push(waiter.key);
                }
                // A spent key does nothing to whoever has its place now.
                16 if !spent.is_empty() => {
                    let mut waiter = Waiter {
                        name,
                        key: spent[some % spent.len()],
                        shown: Vec::new(),
                    };
                    prop_assert_eq!(waiter.poll(&limit, false), Poll::Pending);
                    limit.cancel(waiter.key);
                    waiter.check(false);
                }
                _ => {}
            }
            prop_assert_eq!(i64::try_from(limit.in_flight()).unwrap(), model.in_flight);
            prop_assert_eq!(limit.waiting() as usize, model.queue.len());
            for waiter in &waiters {
                waiter.check(model.decided(waiter.name));
            }
        }
        for waiter in waiters {
            limit.cancel(waiter.key);
        }
        held.into_iter().for_each(|n| limit.release_from(0, n));
        prop_assert_eq!((limit.in_flight(), limit.waiting()), (0, 0));
        prop_assert_eq!(limit.try_acquire_from(1, limit.limit()), Ok(()));
        prop_assert_eq!(limit.try_acquire_from(0, 1), Err(Full));
    }
}

fn waiter(limit: &Limit, name: usize, n: u32) -> Waiter {
    let key = limit.enqueue(n, u32::MAX).unwrap();
    let mut waiter = Waiter {
        name,
        key,
        shown: Vec::new(),
    };
    assert!(waiter.poll(limit, true).is_pending());
    waiter
}

/// Fault 18: a thousand waiters are served as they came, one per release.
#[test]
fn fault_018_first_come_first_served() {
    let limit = Limit::with_stripes(4, 4);
    (0..4).for_each(|thread| limit.try_acquire_from(thread, 1).unwrap());
    let mut waiters: Vec<_> = (0..1000).map(|name| waiter(&limit, name, 1)).collect();
    for next in 0..1000 {
        limit.release_from(next % 4, 1);
        // Nobody barges in.
        assert_eq!(limit.try_acquire_from(next % 4, 1), Err(Full));
        for waiter in &waiters {
            waiter.check(waiter.name <= next);
        }
        assert!(waiters[next].poll(&limit, true).is_ready());
    }
    assert_eq!((limit.in_flight(), limit.waiting()), (4, 0));
}

/// Fault 18: permits are gathered for a heavy waiter, whoever asks for a light one meanwhile.
#[test]
fn fault_018_a_heavy_waiter_needs_ten_releases() {
    let limit = Limit::with_stripes(16, 4);
    (0..16).for_each(|thread| limit.try_acquire_from(thread, 1).unwrap());
    let heavy = waiter(&limit, 0, 10);
    let light = waiter(&limit, 1, 1);
    for released in 0..10 {
        heavy.check(false);
        assert_eq!(limit.in_flight(), 16 - released);
        limit.release_from(3, 1);
        assert_eq!(limit.try_acquire_from(3, 1), Err(Full));
    }
    heavy.check(true);
    light.check(false);
    limit.release_from(3, 1);
    light.check(true);
}

/// More waiters than wakers are taken out of the lock at once.
#[test]
fn one_resize_wakes_all_it_has_room_for() {
    let limit = Limit::with_stripes(1, 2);
    limit.try_acquire_from(0, 1).unwrap();
    let waiters: Vec<_> = (0..100).map(|name| waiter(&limit, name, 1)).collect();
    limit.resize(100);
    for waiter in &waiters {
        waiter.check(waiter.name < 99);
    }
    assert_eq!((limit.in_flight(), limit.waiting()), (100, 1));
}

/// Whoever waits for more than a lowered limit is sent away, with what it had
/// gathered, and does not hold up those behind it.
#[test]
fn who_can_never_be_served_blocks_nobody() {
    let limit = Limit::with_stripes(8, 2);
    (0..8).for_each(|thread| limit.try_acquire_from(thread, 1).unwrap());
    let mut heavy: Vec<_> = (0..20).map(|name| waiter(&limit, name, 6)).collect();
    let mut light = waiter(&limit, 20, 2);
    (0..4).for_each(|thread| limit.release_from(thread, 1));
    limit.resize(5);
    for waiter in &mut heavy {
        waiter.check(true);
        assert_eq!(waiter.poll(&limit, true), Poll::Ready(Err(Gone::TooHeavy)));
    }
    assert_eq!((limit.in_flight(), limit.waiting()), (4, 1));
    light.check(false);
    limit.release_from(0, 1);
    light.check(true);
    assert_eq!(light.poll(&limit, true), Poll::Ready(Ok(())));
    assert_eq!(limit.enqueue(6, u32::MAX), Err(Full));
    assert_eq!((limit.in_flight(), limit.waiting()), (5, 0));
}

/// Fault 28: a lower limit takes effect by and by.
#[test]
fn fault_028_a_lower_limit_drains() {
    let limit = Limit::with_stripes(10, 4);
    (0..10).for_each(|thread| limit.try_acquire_from(thread, 1).unwrap());
    limit.resize(3);
    for left in (3..10).rev() {
        limit.release_from(left, 1);
        assert_eq!(limit.try_acquire_from(left, 1), Err(Full));
        assert_eq!(limit.in_flight(), left as u64);
    }
    limit.release_from(0, 1);
    assert_eq!(limit.try_acquire_from(1, 1), Ok(()));
    assert_eq!(limit.try_acquire_from(1, 1), Err(Full));
}

/// Fault 22: extreme limits and weights.
#[test]
fn fault_022_extremes() {
    for stripes in [0, 1, 3] {
        let limit = Limit::with_stripes(u32::MAX, stripes);
        assert_eq!(limit.try_acquire_from(usize::MAX, u32::MAX), Ok(()));
        assert_eq!(limit.try_acquire_from(0, 1), Err(Full));
        limit.resize(0);
        limit.resize(u32::MAX);
        let waiting = waiter(&limit, 0, u32::MAX);
        limit.resize(0);
        waiting.check(true);
        assert_eq!(limit.enqueue(1, 1), Err(Full));
        limit.resize(u32::MAX);
        let waiting = waiter(&limit, 0, u32::MAX);
        limit.release_from(1, u32::MAX);
        waiting.check(true);
        assert_eq!(limit.in_flight(), u64::from(u32::MAX));
    }
}

/// A waker of somebody else's making, which its place alone keeps.
struct Rude(Arc<Limit>);

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("a waker that panics");
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        // Waits for the lock of the queue.
        let _ = self.0.waiting();
    }
}

fn poll_rudely(limit: &Arc<Limit>, key: WaitKey) {
    let waker = Waker::from(Arc::new(Rude(Arc::clone(limit))));
    let poll = limit.poll_acquired(key, &mut Context::from_waker(&waker));
    assert!(poll.is_pending());
}

/// Fault 16: a waker that panics costs neither those behind it their wake-ups, nor the caller.
#[test]
fn fault_016_a_waker_that_panics() {
    let limit = Arc::new(Limit::with_stripes(1, 2));
    limit.try_acquire_from(0, 1).unwrap();
    let mut waiters = Vec::new();
    for name in 0..20 {
        poll_rudely(&limit, limit.enqueue(1, u32::MAX).unwrap());
        waiters.push(waiter(&limit, name, 1));
    }
    // One is shown another waker, one leaves: theirs are dropped without the lock.
    for _ in 0..2 {
        poll_rudely(&limit, waiters[0].key);
    }
    limit.cancel(waiters.remove(0).key);
    limit.resize(40);
    for waiter in &waiters {
        waiter.check(true);
    }
    assert_eq!((limit.in_flight(), limit.waiting()), (40, 0));
}
