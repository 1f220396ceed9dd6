//! No growth that brings nothing.

use std::collections::VecDeque;

use super::{Algorithm, Estimate, Window};

/// Another algorithm, held back where its growth brings no throughput.
///
/// Over the last 20 windows that were limited: if calls took longer the higher
/// the limit was (correlation above 0.5), and the throughput did not follow
/// (correlation below 0.3, or hardly any change), then what was gained is a
/// queue, and it goes back to the lowest of these limits that had 95 % of the best
/// throughput. The condition is that of failsafe-go's adaptive limiter; it needs
/// no baseline.
#[derive(Debug, Clone, Default)]
pub struct Guarded<A> {
    inner: A,
    windows: VecDeque<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    limit: f64,
    throughput: f64,
    mean: f64,
}

const WINDOWS: usize = 20;

impl<A: Algorithm> Guarded<A> {
    /// `inner`, guarded.
    pub fn new(inner: A) -> Self {
        Self {
            inner,
            windows: VecDeque::with_capacity(WINDOWS),
        }
    }

    fn brings_nothing(&self) -> bool {
        if self.windows.len() < WINDOWS {
            return false;
        }
        let by_time = self.correlation(|point| point.mean);
        let by_throughput = self.correlation(|point| point.throughput);
        by_time > 0.5 && (by_throughput < 0.3 || self.variation(|point| point.throughput) < 0.05)
    }

    /// The lowest limit that served nearly as many as any.
    fn enough(&self) -> Option<f64> {
        let rates = self.windows.iter().map(|point| point.throughput);
        let most = rates.fold(0.0, f64::max);
        let enough = self
            .windows
            .iter()
            .filter(|point| point.throughput >= 0.95 * most);
        enough.map(|point| point.limit).min_by(f64::total_cmp)
    }

    fn average(&self, of: impl Fn(&Point) -> f64) -> f64 {
        let sum: f64 = self.windows.iter().map(of).sum();
        sum / f64::from(u32::try_from(self.windows.len()).unwrap_or(u32::MAX)).max(1.0)
    }

    /// The standard deviation, as a share of the mean.
    fn variation(&self, of: impl Fn(&Point) -> f64) -> f64 {
        let mean = self.average(&of);
        let square = self.average(|point| (of(point) - mean).powi(2));
        square.sqrt() / mean.max(f64::MIN_POSITIVE)
    }

    /// Pearson's, with the limit; 0 if either never changed.
    fn correlation(&self, of: impl Fn(&Point) -> f64) -> f64 {
        let (limit, mean) = (self.average(|point| point.limit), self.average(&of));
        let both = self.average(|point| (point.limit - limit) * (of(point) - mean));
        let spread = self.variation(|point| point.limit) * limit * self.variation(&of) * mean;
        if spread > 0.0 { both / spread } else { 0.0 }
    }
}

impl<A: Algorithm> Algorithm for Guarded<A> {
    fn update(&mut self, window: &Window) -> u32 {
        let next = self.inner.update(window);
        if !window.is_limited() {
            return next;
        }
        while self.windows.len() >= WINDOWS {
            self.windows.pop_front();
        }
        self.windows.push_back(Point {
            limit: window.limit.into(),
            throughput: window.throughput(),
            mean: window.seconds(),
        });
        if self.brings_nothing()
            && let Some(enough) = self.enough()
        {
            self.windows.clear();
            return next.min(Estimate::default().set(enough));
        }
        next
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
