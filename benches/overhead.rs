//! Nanoseconds per call, by criterion: `cargo bench --bench overhead`, or with a
//! part of a row's name to run only that.
//!
//! Times are noisy on shared machines; `icount` counts what is not.
#![allow(clippy::expect_used)]

mod rows;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    rows::inside_runtime(1, async || {
        for row in rows::ROWS {
            let mut runner = (row.make)()(0);
            criterion.bench_function(row.name, |bencher| {
                bencher.iter_custom(|calls| time(|| runner(calls)));
            });
        }
    });
    criterion.final_summary();
}

#[allow(clippy::disallowed_methods)] // the clock under the layers is not the one to measure with
fn time(work: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    work();
    start.elapsed()
}
