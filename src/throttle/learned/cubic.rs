//! The rule: CUBIC (RFC 9438) over a rate instead of a window, as the SDKs of AWS
//! have it in their adaptive retry mode.

use std::time::Duration;

use crate::clock::Tick;

/// What is left of the rate after an answer that it was too much.
const BETA: f64 = 0.7;
/// How fast it grows again.
const SCALE: f64 = 0.4;
/// How much the latest half second counts in what was measured.
const SMOOTH: f64 = 0.8;
/// Half a second in nanoseconds.
const SPAN: u64 = 500_000_000;
/// The slowest rate, and the fastest, a second. Above the latter, nobody needs this.
const SLOWEST: f64 = 0.5;
const FASTEST: f64 = 4e6;

/// What has been measured, and what was learnt of it. Rates are requests a second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cubic {
    /// What was sent, smoothed over half seconds.
    measured: f64,
    /// The half second that has begun, and what had been sent before it.
    begun: u64,
    before: u64,
    /// The rate in force.
    rate: Option<f64>,
    /// The rate at which it was too much, and when that was.
    most: f64,
    since: Tick,
}

impl Cubic {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            measured: 0.0,
            begun: now.as_nanos() / SPAN,
            before: 0,
            rate: None,
            most: 0.0,
            since: Tick::ZERO,
        }
    }

    /// The rate in force, if there is one.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// What is sent a second, as far as half seconds have ended.
    pub(super) fn measured(&self) -> f64 {
        self.measured
    }

    /// Takes note that so many have been sent since the beginning.
    pub(super) fn measure(&mut self, now: Tick, sent: u64) {
        let begun = now.as_nanos() / SPAN;
        // A clock that goes back counts anew.
        let spans = begun.saturating_sub(self.begun);
        if spans > 0 {
            let seconds = to_f64(spans) / 2.0;
            let latest = to_f64(sent.saturating_sub(self.before)) / seconds;
            self.measured = latest * SMOOTH + self.measured * (1.0 - SMOOTH);
            self.before = sent;
        }
        if begun != self.begun {
            self.begun = begun;
        }
    }

    /// Whether a request that was sent at `sent` tells anything about the rate in
    /// force: those that were under way when it was lowered were sent too fast, but
    /// that is known.
    pub(super) fn is_news(&self, sent: Tick) -> bool {
        self.rate.is_none() || sent >= self.since
    }

    /// It was too much: the rate from now on.
    pub(super) fn too_much(&mut self, now: Tick, sent: u64) -> f64 {
        self.measure(now, sent);
        // A burst after a pause has not been measured yet.
        let burst = to_f64(sent.saturating_sub(self.before)) * 2.0;
        let measured = self.measured.max(burst);
        self.most = self.rate.map_or(measured, |rate| measured.min(rate));
        self.since = now;
        self.set(self.most * BETA)
    }

    /// It was not: the rate from now on, if there is one.
    pub(super) fn grow(&mut self, now: Tick) -> Option<f64> {
        self.rate?;
        let curve = self.curve(now.saturating_since(self.since));
        Some(self.set(curve.min(2.0 * self.measured)))
    }

    fn set(&mut self, rate: f64) -> f64 {
        let rate = rate.clamp(SLOWEST, FASTEST);
        self.rate = Some(rate);
        rate
    }

    /// The rate so long after it was too much: flat around where that was.
    fn curve(&self, past: Duration) -> f64 {
        let flat = (self.most * (1.0 - BETA) / SCALE).cbrt();
        SCALE * (past.as_secs_f64() - flat).powi(3) + self.most
    }
}

#[allow(clippy::cast_precision_loss)] // requests
fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(tenths: u64) -> Tick {
        Tick::from_nanos(tenths * SPAN / 5)
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9 * b.abs().max(1.0)
    }

    /// The vectors of AWS for the curve: ten a second were too much at 0.
    #[test]
    fn the_curve() {
        let cubic = Cubic {
            most: 10.0,
            ..Cubic::new(at(0))
        };
        for (past, rate) in [
            (0, 7.0),
            (1, 9.648_936_009_66),
            (2, 10.000_030_849_917_364),
            (3, 10.453_284_520_772_092),
            (4, 13.408_697_022_224_185),
            (5, 21.266_268_354_273_64),
            (6, 36.425_998_516_920_465),
        ] {
            let curve = cubic.curve(Duration::from_secs(past));
            assert!((curve - rate).abs() < 1e-8, "{curve} at {past}");
        }
    }

    /// The vectors of AWS for what is measured and for the rate: an answer each 200 ms,
    /// of which the tenth and the sixteenth say that it was too much.
    #[test]
    fn sending_rates() {
        let mut cubic = Cubic::new(at(0));
        for (n, measured, rate) in [
            (1, 0.0, None),
            (2, 0.0, None),
            (3, 4.8, None),
            (4, 4.8, None),
            (5, 4.16, None),
            (6, 4.16, None),
            (7, 4.16, None),
            (8, 5.632, None),
            (9, 5.632, None),
            (10, 4.3264, Some(3.028_48)),
            (11, 4.3264, Some(3.486_639_173_470_26)),
            (12, 4.3264, Some(3.821_874_416_040_255)),
            (13, 5.665_28, Some(4.053_385_727_709_987)),
            (14, 5.665_28, Some(4.200_373_108_479_454)),
            (15, 4.333_056, Some(4.282_036_558_348_658)),
            (16, 4.333_056, Some(2.997_425_590_844_06)),
            (17, 4.333_056, Some(3.452_226_394_386_346_3)),
        ] {
            let now = at(n * 2);
            match n {
                10 | 16 => {
                    cubic.too_much(now, n);
                }
                _ => {
                    cubic.measure(now, n);
                    cubic.grow(now);
                }
            }
            assert!(close(cubic.measured(), measured), "{n}: {cubic:?}");
            let same = cubic
                .rate()
                .map(|got| rate.is_some_and(|rate| close(got, rate)));
            assert_eq!(same, rate.map(|_| true), "{n}: {cubic:?}");
        }
    }

    /// A burst after a long pause is measured by itself, not over the pause.
    #[test]
    fn a_burst_after_a_pause() {
        let mut cubic = Cubic::new(at(0));
        cubic.measure(at(36_000), 1);
        let rate = cubic.too_much(at(36_001), 101);
        assert!(close(rate, 200.0 * BETA), "{rate}");
    }

    proptest! {
        /// Whatever comes: a rate within its bounds, lower after too much, never more
        /// than twice what is sent, and back to where it was.
        #[test]
        fn stays_within(
            steps in prop::collection::vec((0..2_000_000_000u64, 0..100_000u64, 0..8u8), 1..80),
            start in any::<u32>(),
        ) {
            let mut now = Tick::from_nanos(u64::from(start));
            let (mut cubic, mut sent) = (Cubic::new(now), 0);
            for (past, more, what) in steps {
                now = match what {
                    // The clock goes back.
                    7 => Tick::from_nanos(now.as_nanos() / 2),
                    _ => now.saturating_add(Duration::from_nanos(past)),
                };
                sent += more;
                let before = cubic.rate();
                if what == 0 {
                    let rate = cubic.too_much(now, sent);
                    prop_assert!(before.is_none_or(|before| rate <= (before * BETA).max(SLOWEST)));
                } else {
                    cubic.measure(now, sent);
                    let rate = cubic.grow(now);
                    prop_assert_eq!(rate.is_some(), before.is_some());
                    let most = (2.0 * cubic.measured()).max(SLOWEST);
                    prop_assert!(rate.is_none_or(|rate| rate <= most));
                }
                if let Some(rate) = cubic.rate() {
                    prop_assert!((SLOWEST..=FASTEST).contains(&rate), "{rate}");
                }
                prop_assert!(cubic.measured().is_finite() && cubic.measured() >= 0.0);
            }
        }
    }
}
