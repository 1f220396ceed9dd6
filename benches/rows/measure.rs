//! How long calls take, on a machine that others use too.

// The clock under the layers is not the one to measure them with.
#![allow(clippy::disallowed_methods)]

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::busy::busy;
use super::driver::{Maker, Runner};

/// How long one measurement takes, roughly.
const SPAN: Duration = Duration::from_millis(60);
/// How often a measurement of two threads is tried until each had a core.
const TRIES: usize = 5;

/// What one thread took for its calls.
#[derive(Clone, Copy, Debug)]
struct Took {
    wall: Duration,
    /// Time on a core; the same as `wall` where that is not known.
    busy: Duration,
}

impl Took {
    /// Whether the thread had a core for itself.
    fn alone(self) -> bool {
        self.wall <= self.busy.mul_f64(1.08)
    }
}

/// How many calls fill the span, if they begin with at least `least`.
pub(crate) fn calibrate(maker: &Maker, least: u64) -> u64 {
    let mut runner = maker(0);
    let mut calls = least;
    loop {
        let start = Instant::now();
        runner(calls);
        if start.elapsed() > SPAN / 2 {
            return calls * 2;
        }
        calls *= 2;
    }
}

/// Nanoseconds per call of one thread, by the time it was on a core.
pub(crate) async fn one_thread(maker: &Maker, calls: u64) -> f64 {
    let took = spread(maker, 1, calls).await;
    per_call(took[0].busy, calls)
}

/// Nanoseconds per call of the slower of two threads; `None` if they never
/// really ran at the same time.
pub(crate) async fn two_threads(maker: &Maker, calls: u64) -> Option<f64> {
    for _ in 0..TRIES {
        let took = spread(maker, 2, calls).await;
        if took.iter().all(|took| took.alone()) {
            let slower = took.iter().map(|took| took.busy).max();
            return slower.map(|slower| per_call(slower, calls));
        }
    }
    None
}

/// The middle one; `None` if there is none.
pub(crate) fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

#[allow(clippy::cast_precision_loss)] // far below 2^52
fn per_call(took: Duration, calls: u64) -> f64 {
    took.as_secs_f64() * 1e9 / calls as f64
}

async fn spread(maker: &Maker, threads: usize, calls: u64) -> Vec<Took> {
    let barrier = Arc::new(Barrier::new(threads));
    let tasks: Vec<_> = (0..threads)
        .map(|thread| {
            let (runner, barrier) = (maker(thread), barrier.clone());
            let work = async move { run(runner, &barrier, calls) };
            tokio::spawn(tokio::task::unconstrained(work))
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.push(task.await.expect("a finished task"));
    }
    took
}

fn run(mut runner: Runner, barrier: &Barrier, calls: u64) -> Took {
    runner(calls / 16);
    barrier.wait();
    let (start, before) = (Instant::now(), busy());
    runner(calls);
    let (after, wall) = (busy(), start.elapsed());
    let busy = before.zip(after).map(|(before, after)| after - before);
    Took {
        wall,
        busy: busy.unwrap_or(wall),
    }
}
