//! Additive increase, multiplicative decrease.

use std::time::Duration;

use super::{Algorithm, Estimate, Window};

/// Grows by one until something goes wrong, then takes a tenth off (Chiu and
/// Jain, *Analysis of the increase and decrease algorithms*, 1989; the numbers
/// are those of Netflix's `concurrency-limits`).
///
/// It needs a service that says when it is overloaded, or timeouts: without
/// either it grows until calls take longer than [`slow_after`](Self::slow_after).
/// Until the first time it doubles, as TCP's slow start does.
#[derive(Debug, Clone, Copy)]
pub struct Aimd {
    slow_after: Duration,
    /// What a limit that doubles was set to; none once it had to go back.
    doubled: Option<u32>,
}

impl Default for Aimd {
    fn default() -> Self {
        Self {
            slow_after: Duration::from_secs(5),
            doubled: Some(0),
        }
    }
}

impl Aimd {
    /// A mean response time above this counts as overload; 5 s by default.
    #[must_use]
    pub fn slow_after(self, slow_after: Duration) -> Self {
        Self { slow_after, ..self }
    }
}

impl Algorithm for Aimd {
    fn update(&mut self, window: &Window) -> u32 {
        let limit = window.limit;
        // Somebody else held it back.
        self.doubled = self.doubled.filter(|doubled| *doubled <= limit);
        if window.is_overloaded() || window.mean > self.slow_after {
            self.doubled = None;
            return Estimate::default().set(f64::from(limit) * 0.9);
        }
        if !window.is_limited() {
            return limit;
        }
        match &mut self.doubled {
            Some(doubled) => {
                *doubled = limit.saturating_mul(2);
                *doubled
            }
            None => limit.saturating_add(1),
        }
    }

    fn name(&self) -> &'static str {
        "aimd"
    }
}
