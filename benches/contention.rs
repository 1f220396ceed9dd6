//! What a second thread on the same layer is worth: the throughput of two
//! threads over that of one. 2 is the most; below 1 a second thread costs.
//!
//! `cargo bench --bench contention`. Each thread has a clone of one service, as
//! each connection of a server has. Passes over all rows are interleaved and the
//! medians are shown, since a shared machine drifts; a pass counts only if both
//! threads had a core for themselves. Two cores that share more than memory give
//! less than 2 even for nothing: compare with the bare rows.
#![allow(clippy::print_stdout, clippy::expect_used)]

mod rows;

use rows::ROWS;
use rows::measure::{calibrate, median, one_thread, two_threads};

const PASSES: usize = 9;

fn main() {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.shared).collect();
    let mut figures = vec![[const { Vec::new() }; 3]; rows.len()];
    rows::inside_runtime(2, async || {
        let made: Vec<_> = rows
            .iter()
            .map(|row| {
                let maker = (row.make)();
                let calls = calibrate(&maker, 2 * rows::KEYS);
                (maker, calls)
            })
            .collect();
        for _ in 0..PASSES {
            for ((maker, calls), figures) in made.iter().zip(&mut figures) {
                let one = one_thread(maker, *calls).await;
                figures[0].push(one);
                if let Some(two) = two_threads(maker, *calls).await {
                    figures[1].push(two);
                    figures[2].push(2.0 * one / two);
                }
            }
        }
    });
    println!(
        "{:<38}{:>12}{:>13}{:>8}{:>16}{:>8}",
        "ns per call and thread", "1 thread", "2 threads", "2T/1T", "range", "passes"
    );
    for (row, mut figures) in rows.iter().zip(figures) {
        let [one, two, ratio] = figures
            .each_mut()
            .map(|figures| median(figures).unwrap_or(f64::NAN));
        let [.., ratios] = figures;
        let range = match (ratios.first(), ratios.last()) {
            (Some(least), Some(most)) => format!("{least:.2} to {most:.2}"),
            _ => String::new(),
        };
        let (name, passes) = (row.name, ratios.len());
        println!("{name:<38}{one:>12.1}{two:>13.1}{ratio:>8.2}{range:>16}{passes:>8}");
    }
}
