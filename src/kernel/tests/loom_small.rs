//! Counters, live numbers and guards.

use std::sync::{Arc, Mutex};

use loom::thread;

use super::model;
use crate::classify::Outcome;
use crate::kernel::counter::Counters;
use crate::kernel::guard::{Guard, Settle};
use crate::kernel::live::Live;
use crate::kernel::shared::{Shared, pooled};

/// A single writer of its own stripe and two of the shared one.
#[test]
fn loom_counter_sum() {
    model(2, || {
        let counters = Arc::new(Counters::<1>::with_owned(1));
        let others = [1, 2].map(|thread| {
            let counters = Arc::clone(&counters);
            thread::spawn(move || counters.add_from(thread, 0, 1))
        });
        counters.add_from(0, 0, 1);
        let first = counters.sum(0);
        counters.add_from(0, 0, 1);
        let second = counters.sum(0);
        assert!(first >= 1 && second > first, "{first} {second}");
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(counters.sum(0), 4);
    });
}

/// A number goes from one thread to the next.
#[test]
fn loom_counter_stripe_changes_hands() {
    model(3, || {
        let counters = Arc::new(Counters::<1>::with_owned(2));
        let owner = Arc::new(loom::sync::Mutex::new(0));
        let add = |counters: &Counters<1>, owner: &loom::sync::Mutex<u32>| {
            // As the pool of numbers does: who takes one sees what its last owner wrote.
            let mut owner = owner.lock().unwrap();
            *owner += 1;
            counters.add_from(0, 0, 1);
        };
        let other = {
            let (counters, owner) = (Arc::clone(&counters), Arc::clone(&owner));
            thread::spawn(move || add(&counters, &owner))
        };
        add(&counters, &owner);
        other.join().unwrap();
        assert_eq!(counters.sum(0), 2);
    });
}

#[test]
fn loom_live_swap_vs_read() {
    model(2, || {
        let live = Arc::new(Live::new([0, 0]));
        let writers = [1, 2].map(|n| {
            let live = Arc::clone(&live);
            thread::spawn(move || live.store([n, n * 10]))
        });
        for _ in 0..2 {
            let [a, b] = live.load();
            assert_eq!(b, a * 10, "torn");
        }
        for writer in writers {
            writer.join().unwrap();
        }
        let [a, b] = live.load();
        assert!(a > 0 && b == a * 10);
    });
}

#[test]
fn loom_live_versions_do_not_go_back() {
    model(3, || {
        let live = Arc::new(Live::new([0, 0]));
        let writer = {
            let live = Arc::clone(&live);
            thread::spawn(move || {
                live.store([1, 10]);
                live.store([2, 20]);
            })
        };
        let seen = [(); 2].map(|()| live.load());
        writer.join().unwrap();
        assert!(seen[0][0] <= seen[1][0], "{seen:?}");
        assert!(seen.iter().all(|[a, b]| *b == a * 10), "{seen:?}");
    });
}

#[derive(Debug, Default)]
struct Log(Mutex<Vec<Outcome>>);

pooled!(Log);

impl Settle for Log {
    type Token = ();
    fn settle(&self, (): &(), outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

/// A guard has one owner at a time: finished by one thread or dropped by another, it settles
/// once.
#[test]
fn loom_guard_exactly_once() {
    model(3, || {
        let log = Arc::new(Log::default());
        let shared = Shared::from_arc(Arc::clone(&log));
        let slot = Arc::new(loom::sync::Mutex::new(Some(Guard::new(&shared, ()))));
        let finisher = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                if let Some(guard) = slot.lock().unwrap().as_mut() {
                    guard.finish(Outcome::Success);
                }
            })
        };
        drop(slot.lock().unwrap().take());
        finisher.join().unwrap();
        assert_eq!(log.0.lock().unwrap().len(), 1);
    });
}
