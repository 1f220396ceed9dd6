//! Runtimes that end, stand still, or are blocked.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_keep::clock::NoRuntime;
use tower_keep::test_util::{CountingWaker, armed_timers};
use tower_keep::timeout::{Policy, TimeoutLayer};
use tower_keep::{Error, RejectionKind};

use super::{after, current_thread, ms, paused, poll_once, within};

#[test]
fn fault_014_a_timer_moves_when_its_runtime_ends() {
    within(ms(5_000), "a timer whose runtime ended", || {
        let first = current_thread();
        let mut sleep = after(ms(50));
        let waker = CountingWaker::new();
        {
            let _inside = first.enter();
            assert!(poll_once(&mut sleep, &waker.waker()).is_pending());
        }
        first.block_on(tokio::task::yield_now());
        assert_eq!(waker.wakes(), 0);
        drop(first);
        assert_eq!(waker.wakes(), 1, "it must hear of the end");
        assert_eq!(waker.kept(), 0);
        let start = Instant::now();
        current_thread().block_on(&mut sleep).unwrap();
        assert!(start.elapsed() < ms(500));
    });
}

/// A runtime that exists, but that nobody runs, drives no timers: those of
/// another one on the same thread do not hang on it.
#[test]
fn fault_014_a_runtime_stands_still() {
    within(
        ms(5_000),
        "a timer beside a runtime that stands still",
        || {
            let still = current_thread();
            still.block_on(async {
                tokio::spawn(after(ms(5)));
                tokio::spawn(after(Duration::from_secs(3_600)));
                tokio::task::yield_now().await;
                assert_eq!(armed_timers(), 2);
            });
            let running = current_thread();
            let task = running.spawn(after(ms(30)));
        running.block_on(task).unwrap().unwrap();
        running.block_on(after(ms(30))).unwrap();

            // Nor does one that has been polled there before.
            let mut moves = after(ms(60));
            still.block_on(async {
                let once = poll_fn(|cx| Poll::Ready(Pin::new(&mut moves).poll(cx)));
                assert!(once.await.is_pending());
            });
            running.block_on(&mut moves).unwrap();
        },
    );
}

/// A thread that is blocked delays nobody but itself.
#[test]
fn fault_014_a_blocked_runtime_delays_no_other() {
    within(ms(10_000), "a timer beside a blocked runtime", || {
        let layer = TimeoutLayer::new(Policy::attempt(ms(20)).unwrap());
        let blocked = Arc::new(AtomicBool::new(false));
        let over = Arc::new(AtomicBool::new(false));
        let blocking = {
            let (layer, blocked, over) = (layer.clone(), blocked.clone(), over.clone());
            std::thread::spawn(move || {
                current_thread().block_on(async {
                    let call = tokio::spawn(call(&layer));
                    tokio::task::yield_now().await;
                    blocked.store(true, Ordering::Release);
                    while !over.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                    call.await.unwrap();
                });
            })
        };
        while !blocked.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let others: Vec<_> = (0..8)
            .map(|_| {
                let layer = layer.clone();
                std::thread::spawn(move || current_thread().block_on(call(&layer)))
            })
            .collect();
        for other in others {
            other.join().unwrap();
        }
        over.store(true, Ordering::Release);
        blocking.join().unwrap();
        assert_eq!(layer.handle().snapshot().timed_out, 9);
    });
}

/// A call that never ends but by its timeout.
fn call(layer: &TimeoutLayer) -> impl Future<Output = ()> + Send + 'static {
    let never = service_fn(|()| pending::<Result<(), Error<()>>>());
    let call = layer.layer(never).oneshot(());
    async move {
        let Err(Error::Rejected(rejection)) = call.await else {
            panic!("it never answers");
        };
        assert_eq!(rejection.kind(), RejectionKind::Timeout);
    }
}

#[test]
fn fault_013_an_abort_storm_leaves_no_timer() {
    within(ms(30_000), "an abort storm", || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(4)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..10_000_u64)
                .map(|n| tokio::spawn(after(ms(if n % 3 == 0 { 30 } else { 60_000 }))))
                .collect();
            for (n, task) in tasks.iter().enumerate() {
                if n % 3 != 0 {
                    task.abort();
                }
            }
            for (n, task) in tasks.into_iter().enumerate() {
                match task.await {
                    Ok(slept) => slept.unwrap(),
                    Err(error) => assert!(error.is_cancelled() && n % 3 != 0),
                }
            }
            assert_eq!(armed_timers(), 0);
        });
    });
}

#[test]
fn fault_014_a_runtime_ends_with_timers_armed() {
    within(ms(10_000), "the end of a runtime", || {
        let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
        let waker = CountingWaker::new();
        let mut outside: Vec<_> = (0..1_000).map(|_| after(ms(60_000))).collect();
        let tasks = {
            let _inside = runtime.enter();
            for sleep in &mut outside {
                assert!(poll_once(sleep, &waker.waker()).is_pending());
            }
            let task = |_| tokio::spawn(after(ms(60_000)));
            (0..1_000).map(task).collect::<Vec<_>>()
        };
        let start = std::time::Instant::now();
        drop(runtime);
        assert!(start.elapsed() < ms(1_000));
        assert!(tasks.iter().all(tokio::task::JoinHandle::is_finished));
        assert_eq!(waker.wakes(), 1_000);
        drop(outside);
        assert_eq!(waker.kept(), 0);
    });
}

#[test]
fn fault_025_no_timers_are_a_typed_refusal() {
    let waker = Waker::noop();
    assert_eq!(
        poll_once(&mut after(ms(5)), waker),
        Poll::Ready(Err(NoRuntime))
    );
    let timeless = Builder::new_current_thread().build().unwrap();
    timeless.block_on(async {
        assert_eq!(after(ms(5)).await, Err(NoRuntime));
        assert_eq!(after(Duration::ZERO).await, Ok(()), "it need not wait");
    });
    // A runtime that has shut down spawns nothing any more.
    let runtime = current_thread();
    let handle = runtime.handle().clone();
    drop(runtime);
    let _inside = handle.enter();
    assert_eq!(
        poll_once(&mut after(ms(5)), waker),
        Poll::Ready(Err(NoRuntime))
    );
    assert_eq!(
        poll_once(&mut after(ms(5)), waker),
        Poll::Ready(Err(NoRuntime))
    );
}

/// Nobody is woken while nothing is armed, nor long before it is due.
#[test]
fn fault_017_an_idle_driver_sleeps() {
    current_thread().block_on(async {
        let mut far = after(Duration::from_secs(3_600));
        assert!(poll_once(&mut far, Waker::noop()).is_pending());
        for _ in 0..1_000 {
            let mut sleep = after(ms(20));
            assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
        }
        let parks = || Handle::current().metrics().worker_park_count(0);
        tokio::time::sleep(ms(100)).await;
        let before = parks();
        tokio::time::sleep(ms(300)).await;
        let parked = parks() - before;
        assert!(parked <= 8, "woken {parked} times in 300 ms");
    });
}

/// Runtimes with paused time, side by side, and beside one with real time.
#[test]
fn fault_021_each_runtime_has_its_own_time() {
    within(ms(60_000), "paused runtimes in parallel", || {
        // This thread has armed in a runtime that runs on.
        let real = Builder::new_multi_thread().enable_time().build().unwrap();
        real.block_on(after(ms(1))).unwrap();
        let threads: Vec<_> = (1..=32_u64)
            .map(|hours| {
                std::thread::spawn(move || {
                    paused().block_on(async {
                        for _ in 0..100 {
                            let start = Instant::now();
                            after(Duration::from_secs(3_600 * hours)).await.unwrap();
                            assert_eq!(start.elapsed().as_secs(), 3_600 * hours);
                        }
                    });
                })
            })
            .collect();
        paused().block_on(async {
            let start = Instant::now();
            after(Duration::from_secs(86_400)).await.unwrap();
            assert_eq!(start.elapsed().as_secs(), 86_400);
        });
        real.block_on(after(ms(1))).unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A foreign executor inside a runtime's context is served as well.
#[test]
fn fault_016_another_executor_polls() {
    struct Unparks(std::thread::Thread);
    impl std::task::Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    within(ms(5_000), "a foreign executor", || {
        let runtime = Builder::new_multi_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let mut sleep = after(ms(20));
        let waker = Waker::from(Arc::new(Unparks(std::thread::current())));
        while poll_once(&mut sleep, &waker).is_pending() {
            std::thread::park();
        }
    });
}
