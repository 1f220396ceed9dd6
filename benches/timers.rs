//! Timers beside tokio's: how late they fire, what they cost while a million are
//! armed, and how long a storm keeps a thread from other work.
//!
//! `cargo bench --bench timers`, on a machine that does nothing else.
// Real time is what is measured here.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::expect_used)]

#[path = "rows/busy.rs"]
mod busy;

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use busy::busy;
use tokio::runtime::{Builder, Runtime};
use tower_keep::clock::Clock;

/// A kind of timer: fires so long from now.
trait Kind: Copy + Send + 'static {
    const NAME: &'static str;
    fn after(self, wait: Duration) -> impl Future + Send + 'static;
}

#[derive(Clone, Copy)]
struct Ours;

impl Kind for Ours {
    const NAME: &'static str = "tower-keep";
    fn after(self, wait: Duration) -> impl Future + Send + 'static {
        let clock = Clock::default();
        clock.sleep_until(clock.now().saturating_add(wait))
    }
}

#[derive(Clone, Copy)]
struct Tokio;

impl Kind for Tokio {
    const NAME: &'static str = "tokio";
    fn after(self, wait: Duration) -> impl Future + Send + 'static {
        tokio::time::sleep(wait)
    }
}

fn workers(threads: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .enable_time()
        .build()
        .expect("a runtime")
}

/// The time that this thread has had a core.
fn used() -> Duration {
    busy().unwrap_or_default()
}

/// Polls a timer for the first time.
fn arm(timer: Pin<&mut impl Future>) {
    let poll = timer.poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending(), "it fires before all are armed");
}

/// How late 4,000 timers fire that are spread over a second, in microseconds:
/// least, median, 99 %, 99.9 %, most.
fn lateness(kind: impl Kind) -> [u128; 5] {
    let mut late = workers(2).block_on(async {
        let tasks: Vec<_> = (0..4_000_u64)
            .map(|n| {
                let wait = Duration::from_micros(1_000 + n * 7_919_917 % 1_000_000);
                tokio::spawn(async move {
                    let due = Instant::now() + wait;
                    kind.after(wait).await;
                    let now = Instant::now();
                    assert!(now >= due, "early by {:?}", due - now);
                    (now - due).as_micros()
                })
            })
            .collect();
        let mut late = Vec::new();
        for task in tasks {
            late.push(task.await.expect("a timer"));
        }
        late
    });
    late.sort_unstable();
    let at = |per_mille: usize| late[(late.len() - 1) * per_mille / 1_000];
    [at(0), at(500), at(990), at(999), at(1_000)]
}

/// Nanoseconds to arm and to drop a timer, while so many others are armed: the
/// best of some passes.
#[allow(clippy::cast_precision_loss)]
fn cost(kind: impl Kind, armed: u32) -> f64 {
    const CALLS: u32 = 200_000;
    let runtime = workers(1);
    let work = async move {
        let mut others: Vec<_> = (0..armed)
            .map(|n| Box::pin(kind.after(Duration::from_secs(600 + u64::from(n % 5_000)))))
            .collect();
        others.iter_mut().for_each(|other| arm(other.as_mut()));
        let mut best = Duration::MAX;
        for _ in 0..15 {
            let start = used();
            for n in 0..CALLS {
                let wait = Duration::from_millis(1_000 + u64::from(n % 64));
                arm(pin!(kind.after(wait)));
            }
            best = best.min(used().saturating_sub(start));
            tokio::task::yield_now().await;
        }
        best
    };
    let best = runtime.block_on(async { tokio::spawn(work).await.expect("a task") });
    best.as_nanos() as f64 / f64::from(CALLS)
}

/// The longest that a thread works on something else than a task that yields all
/// the time, while 100,000 timers fire at once.
fn storm(kind: impl Kind) -> Duration {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut timers: Vec<Pin<Box<_>>> = (0..100_000)
            .map(|_| Box::pin(kind.after(Duration::from_millis(700))))
            .collect();
        timers.iter_mut().for_each(|timer| arm(timer.as_mut()));
        let end = Instant::now() + Duration::from_millis(1_500);
        let mut longest = Duration::ZERO;
        let mut before = used();
        while Instant::now() < end {
            tokio::task::yield_now().await;
            let now = used();
            longest = longest.max(now.saturating_sub(before));
            before = now;
        }
        longest
    })
}

fn show(kind: impl Kind) {
    fn name<K: Kind>(_: K) -> &'static str {
        K::NAME
    }
    let [least, median, most99, most999, most] = lateness(kind);
    println!("{}", name(kind));
    println!(
        "  late, µs: least {least}, median {median}, 99 % {most99}, 99.9 % {most999}, most {most}"
    );
    for armed in [0, 1_000_000] {
        println!(
            "  arm and drop beside {armed} others: {:.1} ns",
            cost(kind, armed)
        );
    }
    println!("  longest stall in a storm of 100,000: {:?}", storm(kind));
}

fn main() {
    show(Ours);
    show(Tokio);
}
