//! tower-keep side by side with other crates, in one run:
//! `cargo run --profile bench -p tower-keep-peers`, or with a part of a row's
//! name to run only that.
//!
//! Every row wraps the same inner service and is driven by the same loop. Passes
//! are interleaved and medians are shown, as nanoseconds on a core per call, so
//! that a shared machine is as unfair to one as to another. The allocator counts
//! allocations, which makes each about a nanosecond dearer.
#![allow(clippy::print_stdout, clippy::expect_used)]

#[path = "../../rows/busy.rs"]
mod busy;
#[path = "../../rows/driver.rs"]
mod driver;
#[path = "../../rows/measure.rs"]
mod measure;
mod others;
mod ours;
mod wrappers;

use driver::Maker;
use measure::{calibrate, median, one_thread, two_threads};

const PASSES: usize = 7;
/// Keys of the keyed rows.
const KEYS: u64 = 10_000;
/// Calls whose allocations are counted.
const COUNTED: u64 = 1_000;

/// One crate's way through one path.
struct Row {
    path: &'static str,
    who: &'static str,
    make: fn() -> Maker,
    /// Whether services of one layer can be called by two threads.
    shared: bool,
}

struct Figures {
    allocations: f64,
    calls: u64,
    one: Vec<f64>,
    ratios: Vec<f64>,
}

/// Who the others are compared with.
const OURS: &str = "tower-keep";

/// In the order of the table.
const PATHS: &[&str] = &[
    "bare",
    "timeout, ready",
    "timeout, pending once",
    "timeout, pending once, counted waker",
    "bulkhead, admit",
    "bulkhead, refuse",
    "throttle, admit",
    "throttle, refuse",
    "throttle, 10^4 keys",
    "throttle, hot key",
    "retry, ready",
    "balance, least request, 100",
    "breaker, closed, consecutive",
    "breaker, closed, count",
    "breaker, closed, time and slow",
    "breaker, open",
    "stack of three, ready",
    "stack of three, pending once",
];

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let all = || ours::ROWS.iter().chain(others::ROWS);
    let rows: Vec<&Row> = PATHS
        .iter()
        .filter(|path| path.contains(&wanted))
        .flat_map(|path| all().filter(move |row| row.path == *path))
        .collect();
    let mut figures = Vec::new();
    driver::inside_runtime(2, async || {
        let makers: Vec<Maker> = rows.iter().map(|row| (row.make)()).collect();
        figures.extend(makers.iter().map(prepare));
        for _ in 0..PASSES {
            for ((row, maker), figures) in rows.iter().zip(&makers).zip(&mut figures) {
                let one = one_thread(maker, figures.calls).await;
                figures.one.push(one);
                if row.shared
                    && let Some(two) = two_threads(maker, figures.calls).await
                {
                    figures.ratios.push(2.0 * one / two);
                }
            }
        }
    });
    print_table(&rows, figures);
}

fn prepare(maker: &Maker) -> Figures {
    let calls = calibrate(maker, 2 * KEYS);
    let mut runner = maker(0);
    runner(2 * KEYS);
    let allocations = allocation_counter::measure(|| runner(COUNTED)).count_total;
    Figures {
        allocations: f64::from(u32::try_from(allocations).unwrap_or(u32::MAX)) / 1_000.0,
        calls,
        one: Vec::new(),
        ratios: Vec::new(),
    }
}

fn print_table(rows: &[&Row], figures: Vec<Figures>) {
    println!("| path | crate | ns per call | against {OURS} | 2T/1T | allocations |");
    println!("|---|---|---:|---:|---:|---:|");
    let (mut path, mut ours) = ("", None);
    for (row, mut figures) in rows.iter().zip(figures) {
        let one = median(&mut figures.one).unwrap_or(f64::NAN);
        let label = if row.path == path { "" } else { row.path };
        if row.path != path {
            (path, ours) = (row.path, None);
        }
        if row.who == OURS {
            ours = Some(one);
        }
        let against = ours.map_or_else(String::new, |ours| format!("{:.2}", one / ours));
        let ratio = match median(&mut figures.ratios) {
            Some(ratio) => format!("{ratio:.2}"),
            None if row.shared => "never two cores".to_owned(),
            None => "one thread only".to_owned(),
        };
        let (who, allocations) = (row.who, figures.allocations);
        println!("| {label} | {who} | {one:.1} | {against} | {ratio} | {allocations:.2} |");
    }
}
