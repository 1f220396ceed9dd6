//! C. Layers under contention. The kernels are explored by loom; here real
//! threads go through whole layers.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tower::Layer;
use tower_keep::Setup;
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::classify::Outcome;
use tower_keep::key;
use tower_keep::test_util::{Hand, ManualClock};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::TimeoutLayer;

use crate::support::cases::{permits, rate, timeouts};
use crate::support::watched::Watched;
use crate::support::{call, full_scale, inner, request, secs};

pub(crate) fn on_threads(threads: usize, work: impl Fn(usize) + Sync) {
    let work = &work;
    let start = &Barrier::new(threads);
    thread::scope(|scope| {
        for i in 0..threads {
            scope.spawn(move || {
                start.wait();
                work(i);
            });
        }
    });
}

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

#[test]
fn fault_016_no_wake_is_lost_between_a_release_and_a_waiter() {
    // Its clock stands still: a lost wake-up would wait for ever.
    let time = ManualClock::new();
    let handle = BulkheadLayer::with(permits(2), setup(&time)).handle();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    let all = async {
        // In rounds: a waiter that was forgotten would be served by the next
        // arrival, of which each round has a last.
        for _ in 0..2_000 {
            let mut tasks = Vec::new();
            for _ in 0..16 {
                let handle = handle.clone();
                tasks.push(tokio::spawn(async move {
                    let permit = handle.acquire().await.unwrap();
                    tokio::task::yield_now().await;
                    permit.finish(Outcome::Success);
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        }
    };
    let done = runtime.block_on(async { tokio::time::timeout(secs(60), all).await });
    assert!(done.is_ok(), "somebody waits for ever: {handle:?}");
    assert_eq!(handle.snapshot().succeeded, 32_000);
    handle.assert_quiet();
}

#[test]
fn fault_031_nothing_is_granted_twice() {
    let time = ManualClock::new();
    for round in 0..20 {
        let throttle = ThrottleLayer::with(rate(1_000), setup(&time)).handle();
        let granted = AtomicU64::new(0);
        on_threads(8, |_| {
            for _ in 0..300 {
                granted.fetch_add(throttle.admit(1).is_ok().into(), Ordering::Relaxed);
            }
        });
        assert_eq!(granted.into_inner(), 1_000, "round {round}");
        let bulkhead = BulkheadLayer::with(permits(3), setup(&time)).handle();
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        on_threads(8, |_| {
            for _ in 0..300 {
                if let Ok(permit) = bulkhead.admit() {
                    most.fetch_max(now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                    now.fetch_sub(1, Ordering::AcqRel);
                    drop(permit);
                }
            }
        });
        assert!(most.into_inner() <= 3);
        bulkhead.assert_quiet();
    }
}

#[test]
fn fault_032_acquire_release_and_resize() {
    let time = ManualClock::new();
    let handle = BulkheadLayer::with(permits(4), setup(&time)).handle();
    let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(8, |i| {
        for turn in 0..2_000_u32 {
            if i == 0 {
                handle.update(permits(1 + turn % 7));
            } else if i == 1 {
                // Waiters come and go.
                let mut waiter = Hand::new(handle.acquire());
                let _ = waiter.poll();
            } else if let Ok(permit) = handle.admit() {
                most.fetch_max(now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                now.fetch_sub(1, Ordering::AcqRel);
                drop(permit);
            }
        }
    });
    assert!(most.into_inner() <= 7);
    handle.assert_quiet();
    handle.update(permits(5));
    let held: Vec<_> = std::iter::from_fn(|| handle.admit().ok()).collect();
    assert_eq!(held.len(), 5, "permits were lost or made");
}

#[test]
fn fault_035_a_call_ends_exactly_once() {
    let time = ManualClock::new();
    let layer = BulkheadLayer::with(permits(1_000), setup(&time));
    let timeout = TimeoutLayer::with(timeouts(), setup(&time));
    let calls = AtomicU64::new(0);
    on_threads(8, |i| {
        let (probe, ..) = inner(&ManualClock::new());
        let mut service = layer.layer(timeout.layer(probe));
        for turn in 0..500 {
            let mut hand = Hand::new(call(&mut service, request("a")));
            calls.fetch_add(1, Ordering::Relaxed);
            // Some end and are then dropped, some are only dropped.
            if turn % 3 > 0 {
                assert!(hand.poll().is_ready());
            } else {
                calls.fetch_sub(1, Ordering::Relaxed); // never begun
            }
            drop(hand);
            let permit = layer.handle().admit().unwrap();
            calls.fetch_add(1, Ordering::Relaxed);
            if (turn + i) % 2 == 0 {
                permit.finish(Outcome::Success);
            } // else its drop cancels it
        }
    });
    assert_eq!(layer.handle().ended().unwrap().sum(), calls.into_inner());
    layer.handle().assert_quiet();
    timeout.handle().assert_quiet();
}

#[test]
fn fault_036_sums_over_threads_are_exact() {
    let each = full_scale(1_000_000, 50_000);
    let time = ManualClock::new();
    let handle = BulkheadLayer::with(permits(u32::MAX), setup(&time)).handle();
    on_threads(16, |_| {
        for _ in 0..each {
            handle.admit().unwrap().finish(Outcome::Neutral);
        }
    });
    assert_eq!(handle.snapshot().neutral, 16 * each);
    handle.assert_quiet();

    let throttle = ThrottleLayer::with(rate(1_000), setup(&time)).handle();
    on_threads(16, |_| {
        for _ in 0..each {
            let _ = throttle.admit(1);
        }
    });
    let counted = throttle.snapshot();
    assert_eq!(counted.admitted, 1_000);
    assert_eq!(counted.admitted + counted.rejected, 16 * each);

    let timeout = TimeoutLayer::with(timeouts(), setup(&time));
    on_threads(16, |_| {
        let echo = tower::service_fn(async |()| Ok::<_, tower_keep::Rejection>(()));
        let mut service = timeout.layer(echo);
        for _ in 0..each {
            assert!(Hand::new(call(&mut service, ())).poll().is_ready());
        }
    });
    assert_eq!(timeout.handle().snapshot().finished, 16 * each);
    timeout.handle().assert_quiet();
}

#[test]
fn fault_037_one_bucket_per_key_while_keys_come_and_go() {
    let time = ManualClock::new();
    let by = || key::value(|n: &u64| Some(*n));
    let policy = rate(100).to_builder().max_keys(16).build().unwrap();
    let layer = ThrottleLayer::keyed_with(policy, by(), setup(&time));
    let handle = layer.handle();
    let granted = AtomicU64::new(0);
    on_threads(8, |i| {
        let id = i as u64;
        for turn in 0..500_u64 {
            let hot = handle.admit_for(&by(), &7, 1).is_ok();
            granted.fetch_add(hot.into(), Ordering::Relaxed);
            // Free requests of strangers: they take places, and leave no mark.
            let _ = handle.admit_for(&by(), &(1_000 + id * 1_000 + turn), 1);
        }
    });
    let granted = granted.into_inner();
    assert!(granted <= 100, "{granted} of 100 for one key");
    assert!(handle.snapshot().keys <= 16);
}
