//! TCP Vegas.

use super::baseline::{At, Baseline};
use super::{Algorithm, Window};

/// Keeps a short queue inside the service (Brakmo and Peterson, *TCP Vegas*,
/// 1994; the numbers are those of Netflix's `concurrency-limits`).
///
/// Of the limit, the share by which calls take longer than the baseline stands
/// in a queue. With `l = log10(limit)`, at least 1: up to `l` calls in the queue
/// the limit grows by `6l`, below `3l` by `l`; above `6l`, and after an overload,
/// it shrinks by `l`. Best where response times vary little: the queue it aims
/// at is short.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vegas(Baseline);

/// The unit of all steps.
fn unit(limit: f64) -> f64 {
    limit.log10().floor().max(1.0)
}

pub(super) fn step(at: At) -> f64 {
    let At { limit, base, mean } = at;
    let queue = (limit * (1.0 - base / mean)).ceil();
    let unit = unit(limit);
    if queue <= unit {
        limit + 6.0 * unit
    } else if queue < 3.0 * unit {
        limit + unit
    } else if queue > 6.0 * unit {
        limit - unit
    } else {
        limit
    }
}

pub(super) fn less(limit: f64) -> f64 {
    limit - unit(limit)
}

impl Algorithm for Vegas {
    fn update(&mut self, window: &Window) -> u32 {
        self.0.next(window, less, step)
    }

    fn name(&self) -> &'static str {
        "vegas"
    }
}
