//! Counts per call: instructions, locked instructions, clock reads, allocations.
//!
//! `cargo bench --bench icount` runs itself under callgrind, prints a table and
//! fails where a ceiling of `benches/icount.ceilings.toml` is exceeded;
//! `-- --write` stores what it has counted as the ceilings of this rustc.
//!
//! Callgrind tells how often each instruction was executed, `objdump` which of
//! them lock the bus or read the time stamp counter: so the counts are exact.
//! Instructions are those of the program itself, since libc differs between
//! machines; a clock read counts as one call of `clock_gettime` or one `rdtsc`,
//! an allocation as one call of `malloc` and its kin.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used)]

#[path = "icount/ceilings.rs"]
mod ceilings;
#[path = "icount/profile.rs"]
mod profile;
mod rows;

use std::process::{Command, ExitCode};

use profile::Counts;
use rows::driver::Runner;
use rows::{BARE, ROWS};

/// Calls per row; also enough to have touched every key before.
const CALLS: u64 = 2_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--under-callgrind") {
        run_rows();
        return ExitCode::SUCCESS;
    }
    let missing: Vec<&str> = ["valgrind", "objdump"]
        .into_iter()
        .filter(|tool| Command::new(tool).arg("--version").output().is_err())
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        println!("icount: nothing was counted and no ceiling was checked: no {missing} here");
        return match std::env::var("CI").as_deref() {
            Ok("true") => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        };
    }
    let counts = match profile::count() {
        Ok(counts) => counts,
        Err(problem) => {
            eprintln!("icount: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let named: Vec<(&str, Counts)> = ROWS.iter().map(|row| row.name).zip(counts).collect();
    if named.len() != ROWS.len() {
        eprintln!("icount: {} of {} rows counted", named.len(), ROWS.len());
        return ExitCode::FAILURE;
    }
    print_table(&named);
    let rustc = ceilings::rustc();
    if !are_alike(&named) {
        return ExitCode::FAILURE;
    }
    if args.iter().any(|arg| arg == "--write") {
        return ceilings::write(&rustc, &named);
    }
    ceilings::check(&rustc, &named)
}

/// All rows, each of them measured once.
fn run_rows() {
    rows::inside_runtime(1, async || {
        for row in ROWS {
            let mut runner = (row.make)()(0);
            runner(2 * rows::KEYS);
            icount_measured_calls(&mut runner);
            icount_row_ends();
        }
    });
}

/// What callgrind collects; it finds it by its name.
#[inline(never)]
fn icount_measured_calls(runner: &mut Runner) {
    runner(CALLS);
}

/// Where callgrind writes down what it has collected.
#[inline(never)]
fn icount_row_ends() {
    std::hint::black_box(());
}

/// Rows that cost the same, but for a twentieth: how long a refusal takes does not say
/// why, and a call costs what it costs however many were before it.
const ALIKE: &[&[&str]] = &[
    &[
        "breaker, open",
        "breaker, open, time and slow",
        "breaker, half-open, full",
    ],
    &[
        "breaker, closed, time and slow",
        "breaker, closed, time and slow, crowded",
    ],
];

fn are_alike(rows: &[(&str, Counts)]) -> bool {
    let mut alike = true;
    for group in ALIKE {
        let costs = |name: &&str| {
            let row = rows.iter().find(|(other, _)| other == name);
            row.map_or(f64::NAN, |(_, counts)| counts.instructions)
        };
        let all: Vec<f64> = group.iter().map(costs).collect();
        let near = |cost: &f64| (cost - all[0]).abs() <= all[0] * 0.05;
        if !all.iter().all(near) {
            eprintln!("icount: {group:?} should cost the same, not {all:?}");
            alike = false;
        }
    }
    alike
}

fn print_table(rows: &[(&str, Counts)]) {
    let bare = rows.iter().find(|(name, _)| *name == BARE);
    println!(
        "{:<34}{:>13}{:>12}{:>8}{:>8}{:>8}",
        "per call", "instructions", "above bare", "locked", "clock", "allocs"
    );
    for (name, counts) in rows {
        let above = bare.map_or(0.0, |(_, bare)| counts.instructions - bare.instructions);
        println!(
            "{name:<34}{:>13.1}{above:>12.1}{:>8.2}{:>8.2}{:>8.2}",
            counts.instructions, counts.locked, counts.clock, counts.allocations
        );
    }
}
