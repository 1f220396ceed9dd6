use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{
    Barrier,
    mpsc::{Sender, channel},
};

use crate::kernel::counter::Counters;
use crate::kernel::sync::ids;

/// Additions per thread: all of the fault's million where it does not take long.
const ADDS: u64 = if cfg!(debug_assertions) {
    50_000
} else {
    1_000_000
};

/// Fault 36: sums are exact once the threads are joined, with stripes for all of them or few.
#[test]
fn fault_036_sums_are_exact() {
    for owned in [0, 1, 3, 64] {
        let counters = Counters::<3>::with_owned(owned);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let counters = &counters;
                scope.spawn(move || {
                    let mut last = 0;
                    for n in 0..ADDS {
                        counters.add_from(thread, 0, 1);
                        counters.add_from(thread, 1, n & 3);
                        counters.add_from(thread, 3, 1);
                        if n % 1024 == 0 {
                            let sum = counters.sum(0);
                            assert!(sum >= last && sum > n, "{sum} after {last}");
                            last = sum;
                        }
                    }
                });
            }
        });
        let sums = [0, 1, 2, 3].map(|which| counters.sum(which));
        assert_eq!(sums, [16 * ADDS, 16 * ADDS / 4 * 6, 0, 0]);
    }
}

/// Threads come and go: the next owner of a number continues where the last one stopped.
#[test]
fn sums_survive_their_threads() {
    let counters = Counters::<1>::with_owned(3);
    for _ in 0..50 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..200).for_each(|_| counters.add(0, 1)));
            }
        });
    }
    assert_eq!(counters.sum(0), 50 * 8 * 200);
}

/// Numbers are unique among the living, and come back.
#[test]
fn thread_numbers_are_unique_and_reused() {
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let barrier = Barrier::new(8);
        let numbers: Vec<u32> = std::thread::scope(|scope| {
            let number = || {
                let number = ids::thread_index();
                barrier.wait();
                assert_eq!(ids::thread_index(), number);
                number
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(number)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let unique: HashSet<_> = numbers.iter().collect();
        assert_eq!(unique.len(), 8, "{numbers:?}");
        seen.extend(numbers);
    }
    // Other tests have threads too.
    assert!(seen.len() < 140, "{} numbers for 8 threads", seen.len());
}

/// A thread counts to its very end, but not as the owner of a number that it has given back.
#[test]
fn the_end_of_a_thread_counts() {
    struct Late(&'static Counters<1>, Sender<u32>);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.add(0, 1);
            self.1.send(ids::thread_index()).unwrap();
        }
    }
    thread_local!(static LATE: RefCell<Vec<Late>> = const { RefCell::new(Vec::new()) });
    let counters: &'static Counters<1> = Box::leak(Box::new(Counters::with_owned(64)));
    let mut last = Vec::new();
    for first in [true, false] {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            // One is torn down before the number is given back, the other after.
            if first {
                counters.add(0, 1);
            }
            LATE.with_borrow_mut(|late| late.push(Late(counters, sender)));
            counters.add(0, 1);
        })
        .join()
        .unwrap();
        last.push(receiver.recv().unwrap());
    }
    assert_eq!(counters.sum(0), 5);
    let without = last.iter().filter(|&&number| number == ids::NO_THREAD);
    assert_eq!(without.count(), 1, "{last:?}");
}
