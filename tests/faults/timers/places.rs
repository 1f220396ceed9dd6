//! Busy workers, and threads that serve several runtimes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tower_keep::clock::{Clock, Sleep};

use super::{after, current_thread, ms, paused, poll_once, within};

fn multi(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

async fn once(sleep: &mut Sleep) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *sleep).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// A task that arms a timer and then computes in the same poll holds the driver
/// in its worker's LIFO slot, from which nobody steals: all timers of the runtime
/// stand still, while another worker is idle. Tokio's own do not.
#[test]
fn fault_016_a_busy_task_stops_no_timers() {
    within(ms(20_000), "a busy task", || {
        let runtime = multi(2);
        let (theirs, ours) = runtime.block_on(async {
            tokio::spawn(after(ms(1))).await.unwrap().unwrap();
            let start = Instant::now();
            let theirs = tokio::spawn(async move {
                tokio::time::sleep(ms(100)).await;
                start.elapsed()
            });
            let ours = tokio::spawn(async move {
                after(ms(100)).await.unwrap();
                start.elapsed()
            });
            tokio::time::sleep(ms(20)).await;
            let busy = tokio::spawn(async {
                let mut sleep = after(ms(10));
                once(&mut sleep).await;
                std::thread::sleep(ms(2_000));
            });
            let took = (theirs.await.unwrap(), ours.await.unwrap());
            busy.await.unwrap();
            took
        });
        eprintln!("tokio's: {theirs:?}, ours: {ours:?}");
        assert!(theirs < ms(1_000), "not tokio's either: {theirs:?}");
        assert!(ours < ms(1_000), "{ours:?} instead of 100 ms");
    });
}

/// As above, without a timer that is earlier than others.
#[test]
fn fault_016_nor_if_it_arms_the_first_one() {
    within(ms(20_000), "a busy task", || {
        let runtime = multi(2);
        let took = runtime.block_on(async {
            let busy = tokio::spawn(async {
                let mut sleep = after(Duration::from_secs(60));
                once(&mut sleep).await;
                std::thread::sleep(ms(2_000));
            });
            std::thread::sleep(ms(50));
            let start = Instant::now();
            let victim = tokio::spawn(async move {
                after(ms(100)).await.unwrap();
                start.elapsed()
            });
            let took = victim.await.unwrap();
            busy.await.unwrap();
            took
        });
        assert!(took < ms(1_000), "{took:?} instead of 100 ms");
    });
}

/// A thread that once ran a local task of a multi-thread runtime takes every
/// later task for one of that runtime.
#[test]
fn fault_021_local_tasks_and_then_paused_time() {
    within(ms(5_000), "paused time after a LocalSet", || {
        let first = multi(1);
        let local = tokio::task::LocalSet::new();
        local.block_on(&first, async {
            tokio::task::spawn_local(after(ms(1)))
                .await
                .unwrap()
                .unwrap();
        });
        paused().block_on(async {
            let task = tokio::spawn(after(Duration::from_secs(3_600)));
            task.await.unwrap().unwrap();
        });
        drop(first);
    });
}

/// The timers of a running runtime hang on one whose only worker is blocked.
#[test]
fn fault_014_a_blocked_worker_delays_no_other_runtime() {
    within(ms(20_000), "a runtime beside a blocked one", || {
        let first = multi(1);
        let local = tokio::task::LocalSet::new();
        local.block_on(&first, async {
            tokio::task::spawn_local(after(ms(1)))
                .await
                .unwrap()
                .unwrap();
        });
        let over = Arc::new(AtomicBool::new(false));
        let blocked = over.clone();
        first.spawn(async move {
            while !blocked.load(Ordering::Acquire) {
                std::thread::sleep(ms(1));
            }
        });
        std::thread::sleep(ms(20));
        std::thread::spawn(move || {
            std::thread::sleep(ms(2_000));
            over.store(true, Ordering::Release);
        });
        let took = current_thread().block_on(async {
            let start = Instant::now();
            tokio::spawn(after(ms(50))).await.unwrap().unwrap();
            start.elapsed()
        });
        assert!(took < ms(1_000), "{took:?} instead of 50 ms");
    });
}

/// Another runtime within `block_in_place`.
#[test]
fn fault_021_paused_time_within_a_task() {
    within(ms(5_000), "paused time in block_in_place", || {
        let outer = multi(2);
        let task = outer.spawn(async {
            after(ms(1)).await.unwrap();
            tokio::task::block_in_place(|| {
                paused()
                    .block_on(after(Duration::from_secs(3_600)))
                    .unwrap();
            });
        });
        outer.block_on(task).unwrap();
    });
}

/// Another runtime within `spawn_blocking`.
#[test]
fn fault_021_paused_time_on_a_blocking_thread() {
    within(ms(5_000), "paused time in spawn_blocking", || {
        let outer = multi(2);
        let task = outer.spawn_blocking(|| {
            Handle::current().block_on(after(ms(1))).unwrap();
            paused()
                .block_on(after(Duration::from_secs(3_600)))
                .unwrap();
        });
        outer.block_on(task).unwrap();
    });
}

/// A thread of one runtime drives another one for a moment, and takes that for
/// its own from then on.
#[test]
fn fault_014_a_thread_serves_one_after_the_other() {
    within(ms(20_000), "a thread that was led astray", || {
        let outer = multi(1);
        let other = multi(1);
        let handle = other.handle().clone();
        let over = Arc::new(AtomicBool::new(false));
        let blocked = over.clone();
        let task = outer.spawn_blocking(move || {
            handle.block_on(after(ms(1))).unwrap();
            handle.spawn(async move {
                while !blocked.load(Ordering::Acquire) {
                    std::thread::sleep(ms(1));
                }
            });
            std::thread::spawn(move || {
                std::thread::sleep(ms(2_000));
                over.store(true, Ordering::Release);
            });
            std::thread::sleep(ms(20));
            let start = std::time::Instant::now();
            Handle::current().block_on(after(ms(50))).unwrap();
            start.elapsed()
        });
        let took = outer.block_on(task).unwrap();
        assert!(took < ms(1_000), "{took:?} instead of 50 ms");
    });
}

/// Beyond 292 years the time is zero.
#[test]
fn fault_019_time_does_not_go_back_to_zero() {
    paused().block_on(async {
        let clock = Clock::tokio();
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(300 * 31_536_000)).await;
        assert!(clock.now() > before, "{:?}", clock.now());
    });
}

#[test]
fn fault_019_three_centuries_pass() {
    within(ms(5_000), "three centuries", || {
        paused()
            .block_on(after(Duration::from_secs(300 * 31_536_000)))
            .unwrap();
    });
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

struct Token(Arc<AtomicUsize>);
impl Drop for Token {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a runtime consists of is kept by the waker of its driver.
#[test]
fn fault_014_nothing_is_kept_of_a_runtime() {
    within(ms(10_000), "ended runtimes", || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let before = descriptors();
        let mut during = 0;
        for _ in 0..8 {
            let token = Token(dropped.clone());
            let runtime = Builder::new_current_thread()
                .enable_all()
                .on_thread_park(move || {
                    let _ = &token;
                })
                .build()
                .unwrap();
            runtime.block_on(after(ms(1))).unwrap();
            during = during.max(descriptors());
            drop(runtime);
        }
        let kept = 8 - dropped.load(Ordering::Acquire);
        eprintln!(
            "descriptors: {before} before, {} after, at most {during}",
            descriptors()
        );
        assert_eq!(kept, 0, "runtimes of 8 are kept");
    });
}

/// A timer that is armed in one runtime, and polled once in the context of one
/// that has shut down.
#[test]
fn fault_014_a_dead_context_does_not_disarm() {
    let dead = {
        let runtime = current_thread();
        runtime.handle().clone()
    };
    let alive = multi(1);
    let mut sleep = after(ms(200));
    alive.block_on(once(&mut sleep));
    let _inside = dead.enter();
    assert!(poll_once(&mut sleep, Waker::noop()).is_pending());
}
