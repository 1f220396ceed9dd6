//! Many threads on one limit.

use std::sync::{
    Arc, Barrier,
    atomic::{AtomicI64, AtomicU64, Ordering},
};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::Random;
use crate::kernel::limit::Limit;

const THREADS: usize = 8;

/// Runs `work` on all threads at once.
fn together<R: Send>(work: impl Fn(usize, Random) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(thread, Random::new(thread))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as a task does; a wake that never comes is a failure.
fn wait(limit: &Limit, n: u32) {
    let key = limit.enqueue(n, u32::MAX).unwrap();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    for _ in 0..10 {
        if limit
            .poll_acquired(key, &mut Context::from_waker(&waker))
            .is_ready()
        {
            return;
        }
        // It may return early, so the loop is long; a lost wake sleeps through all of it.
        std::thread::park_timeout(Duration::from_secs(2));
    }
    panic!("a wake was lost");
}

/// Never above the limit, and everything is back in the end.
#[test]
fn fault_031_never_above_the_limit() {
    for (permits, stripes) in [(1, 4), (5, 1), (5, 4), (20, 4)] {
        let limit = Limit::with_stripes(permits, stripes);
        let in_use = AtomicI64::new(0);
        let grants: u64 = together(|thread, mut random| {
            let mut grants = 0;
            for _ in 0..5_000 {
                let n = 1 + random.below(4);
                if limit.try_acquire_from(thread, n).is_ok() {
                    grants += 1;
                    let now = in_use.fetch_add(n.into(), Ordering::AcqRel) + i64::from(n);
                    assert!(now <= permits.into(), "{now} of {permits}");
                    if random.below(8) == 0 {
                        std::thread::yield_now();
                    }
                    in_use.fetch_sub(n.into(), Ordering::AcqRel);
                    // Not always where they came from.
                    let to = thread + random.below(2) as usize;
                    limit.release_from(to, n);
                }
            }
            grants
        })
        .into_iter()
        .sum();
        // A thread that is put aside with the only permit keeps it for long.
        assert!(grants > 0);
        assert_eq!((limit.in_flight(), limit.waiting()), (0, 0));
        assert_eq!(limit.try_acquire_from(0, permits), Ok(()));
    }
}

/// With a permit for each thread nobody should ever be refused. A permit that moves behind the
/// back of a search can be missed, twice in a row at that: how often is told here.
#[test]
fn refusals_with_a_free_permit_are_rare() {
    let asked = AtomicU64::new(0);
    let refused = AtomicU64::new(0);
    for stripes in [2, 4, 8] {
        let limit = Limit::with_stripes(u32::try_from(THREADS).unwrap(), stripes);
        together(|thread, mut random| {
            for _ in 0..10_000 {
                asked.fetch_add(1, Ordering::Relaxed);
                if limit.try_acquire_from(thread, 1).is_ok() {
                    limit.release_from(thread + random.below(3) as usize, 1);
                } else {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        assert_eq!(limit.in_flight(), 0);
    }
    let (asked, refused) = (asked.into_inner(), refused.into_inner());
    println!("{refused} of {asked} were refused with a permit free");
    assert!(refused * 1000 <= asked, "{refused} of {asked}");
}

/// Faults 16 and 32: callers that wait, go away, come back and try, while the limit changes.
#[test]
fn fault_016_no_wake_is_lost() {
    let limit = Limit::with_stripes(3, 4);
    let in_use = AtomicI64::new(0);
    // In rounds: a waiter that was forgotten would be served by the next arrival or
    // resize, of which each round has a last.
    for round in 0..150 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random::new(round);
                for _ in 0..5 {
                    limit.resize(3 + random.below(4));
                    std::thread::yield_now();
                }
                limit.resize(4);
            });
            together(|thread, _| {
                let mut random = Random::new(round * THREADS + thread);
                for _ in 0..10 {
                    let n = 1 + random.below(3);
                    match random.below(4) {
                        0 => {
                            let key = limit.enqueue(n, u32::MAX).unwrap();
                            if random.below(2) == 0 {
                                std::thread::yield_now();
                            }
                            limit.cancel(key);
                            continue;
                        }
                        1 if limit.try_acquire_from(thread, n).is_err() => continue,
                        1 => {}
                        _ => wait(&limit, n),
                    }
                    let now = in_use.fetch_add(n.into(), Ordering::AcqRel) + i64::from(n);
                    assert!(now <= 6, "{now} of 6");
                    in_use.fetch_sub(n.into(), Ordering::AcqRel);
                    limit.release_from(thread, n);
                }
            });
        });
    }
    assert_eq!((limit.in_flight(), limit.waiting()), (0, 0));
    assert_eq!(limit.try_acquire_from(0, 4), Ok(()));
    assert!(limit.try_acquire_from(0, 1).is_err());
}
