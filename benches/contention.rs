//! What a second thread on the same layer is worth: the throughput of two
//! threads over that of one. 2 is the most; below 1 a second thread costs.
//!
//! `cargo bench --bench contention`. Each thread has a clone of one service, as
//! each connection of a server has. Passes over all rows are interleaved and the
//! medians are shown, since a shared machine drifts.
#![allow(clippy::print_stdout, clippy::expect_used)]
// The clock under the layers is not the one to measure them with.
#![allow(clippy::disallowed_methods)]

mod rows;

use std::time::{Duration, Instant};

use rows::{Maker, ROWS, Runner};

const PASSES: usize = 9;
/// How long one measurement takes, roughly.
const SPAN: Duration = Duration::from_millis(60);

fn main() {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.shared).collect();
    let mut figures = vec![[const { Vec::new() }; 3]; rows.len()];
    rows::inside_runtime(2, async || {
        let made: Vec<(Maker, u64)> = rows
            .iter()
            .map(|row| {
                let maker = (row.make)();
                let calls = calibrate(&maker);
                (maker, calls)
            })
            .collect();
        for _ in 0..PASSES {
            for ((maker, calls), figures) in made.iter().zip(&mut figures) {
                let one = measure(maker, 1, *calls).await;
                let two = measure(maker, 2, *calls).await;
                figures[0].push(one);
                figures[1].push(two);
                figures[2].push(2.0 * one / two);
            }
        }
    });
    println!(
        "{:<38}{:>12}{:>13}{:>8}{:>16}",
        "ns per call and thread", "1 thread", "2 threads", "2T/1T", "range"
    );
    for (row, figures) in rows.iter().zip(figures) {
        let [one, two, mut ratios] = figures;
        let (one, two) = (median(one), median(two));
        ratios.sort_by(f64::total_cmp);
        let range = format!("{:.2} to {:.2}", ratios[0], ratios[PASSES - 1]);
        let ratio = median(ratios);
        println!(
            "{:<38}{one:>12.1}{two:>13.1}{ratio:>8.2}{range:>16}",
            row.name
        );
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// How many calls fill the span.
fn calibrate(maker: &Maker) -> u64 {
    let mut runner = maker(0);
    let mut calls = 2 * rows::KEYS;
    loop {
        let start = Instant::now();
        runner(calls);
        if start.elapsed() > SPAN / 2 {
            return calls * 2;
        }
        calls *= 2;
    }
}

/// Nanoseconds per call of the slowest of so many threads.
async fn measure(maker: &Maker, threads: usize, calls: u64) -> f64 {
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(threads));
    let tasks: Vec<_> = (0..threads)
        .map(|thread| {
            let (runner, barrier) = (maker(thread), barrier.clone());
            tokio::spawn(async move { run(runner, &barrier, calls) })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for task in tasks {
        slowest = slowest.max(task.await.expect("a finished task"));
    }
    slowest.as_secs_f64() * 1e9 / f64::from(u32::try_from(calls).expect("not that many"))
}

fn run(mut runner: Runner, barrier: &std::sync::Barrier, calls: u64) -> Duration {
    runner(calls / 16);
    barrier.wait();
    let start = Instant::now();
    runner(calls);
    start.elapsed()
}
