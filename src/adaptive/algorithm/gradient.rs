//! Limits that follow the ratio of two response times.

use super::baseline::{At, Baseline};
use super::{Algorithm, Window};

/// Multiplies the limit by how much longer than the baseline calls take, with a
/// quarter to spare, and adds its square root for a queue: the rule of Envoy's
/// adaptive concurrency filter.
///
/// Envoy measures its baseline by taking the limit down to three calls now and
/// then. Here a quarter is taken off, and more only while that makes calls
/// faster. After an overload it takes a tenth off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gradient(Baseline);

pub(super) fn step(at: At) -> f64 {
    let At { limit, base, mean } = at;
    let gradient = (base * 1.25 / mean).clamp(0.5, 2.0);
    let limit = limit * gradient;
    limit + limit.sqrt()
}

fn less(limit: f64) -> f64 {
    limit * 0.9
}

impl Algorithm for Gradient {
    fn update(&mut self, window: &Window) -> u32 {
        self.0.next(window, less, step)
    }

    fn name(&self) -> &'static str {
        "gradient"
    }
}

/// Compares the response time with its long-term average, and lets calls take
/// half as long again: Netflix's Gradient2, with two faults of the original
/// mended. It honours overload (a tenth off), and its average cannot follow a
/// standing queue upwards, nor stay behind a service that became slower: it stays
/// between the baseline and a tenth above.
///
/// It tolerates response times that vary, and is the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gradient2 {
    baseline: Baseline,
    /// Seconds.
    long: f64,
    seen: u32,
}

/// The average is a plain mean over so many windows, then an exponential one.
const WARM_UP: u32 = 10;
const LONG: f64 = 2.0 / 601.0;
/// How far the average may be above the baseline.
const ABOVE: f64 = 1.1;
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;
/// Calls that may always queue.
const QUEUE: f64 = 4.0;

impl Gradient2 {
    fn average(mut long: f64, seen: u32, mean: f64) -> f64 {
        let share = match seen {
            0..WARM_UP => 1.0 / f64::from(seen + 1),
            _ => LONG,
        };
        long += (mean - long) * share;
        // Calls have become much faster.
        if long > 2.0 * mean { long * 0.95 } else { long }
    }
}

pub(super) fn step2(long: f64, at: At) -> f64 {
    let gradient = (TOLERANCE * long / at.mean).clamp(0.5, 1.0);
    at.limit + SMOOTHING * (at.limit * gradient + QUEUE - at.limit)
}

impl Algorithm for Gradient2 {
    fn update(&mut self, window: &Window) -> u32 {
        let Self {
            baseline,
            long,
            seen,
        } = self;
        baseline.next(window, less, |at| {
            let average = Self::average(*long, *seen, at.mean);
            *long = average.clamp(at.base, ABOVE * at.base);
            *seen = seen.saturating_add(1);
            step2(*long, at)
        })
    }

    fn name(&self) -> &'static str {
        "gradient2"
    }
}
