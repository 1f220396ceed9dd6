//! Times of calls, failures, and the ramp of a newcomer.

use std::time::Duration;

use proptest::prelude::*;

use super::seconds;
use crate::balance::SlowStart;
use crate::balance::pick::latency::{ByLoad, code};
use crate::balance::pick::peak::{Decay, Peak, load};
use crate::balance::trouble::Trouble;
use crate::clock::Tick;
use crate::policy::Ratio;

const MS: u64 = 1_000_000;

fn decay() -> Decay {
    Decay::new(Duration::from_secs(10))
}

/// To a thousandth of a millisecond.
fn assert_ms(nanos: f64, ms: f64) {
    assert!((nanos / 1e6 - ms).abs() < 1e-3, "{nanos} ns for {ms} ms");
}

#[test]
fn peak_ewma_is_finagles() {
    let peak = Peak::default();
    let start = seconds(100.0);
    peak.record(decay(), start, 100 * MS);
    assert_ms(peak.cost(decay(), start), 100.0);
    assert_ms(peak.cost(decay(), seconds(110.0)), 36.788);
    assert_ms(peak.cost(decay(), seconds(106.931_47)), 50.0);
    peak.record(decay(), seconds(101.0), 20 * MS);
    assert_ms(peak.cost(decay(), seconds(101.0)), 92.387);
    // A longer time counts at once.
    peak.record(decay(), seconds(101.0), 93 * MS);
    assert_ms(peak.cost(decay(), seconds(101.0)), 93.0);
}

#[test]
fn who_has_not_answered_has_the_greatest_load() {
    assert!(load(0.0, 0) == 0.0);
    assert!(load(0.0, 3) == 140_737_488_355_330.0);
    assert!(load(50.0, 3) == 200.0);
}

#[test]
fn a_time_that_says_nothing_good_counts_if_it_is_long() {
    let peak = Peak::default();
    peak.record(decay(), seconds(1.0), 20 * MS);
    peak.record_worse(decay(), seconds(1.0), 0);
    assert_ms(peak.cost(decay(), seconds(1.0)), 20.0);
    peak.record_worse(decay(), seconds(1.0), 30 * MS);
    assert_ms(peak.cost(decay(), seconds(1.0)), 30.0);
}

#[test]
fn a_clock_that_jumps_leaves_a_number() {
    let peak = Peak::default();
    for now in [0, u64::MAX, 5, u64::MAX / 2, 1] {
        for took in [0, u64::MAX, MS] {
            peak.record(decay(), Tick::from_nanos(now), took);
            let cost = peak.cost(decay(), Tick::from_nanos(now));
            assert!(cost.is_finite() && cost >= 0.0, "{cost}");
        }
    }
    // Once the clock has gone back, time goes on from there.
    let start = Tick::from_nanos(1);
    let before = peak.cost(decay(), start);
    peak.record(decay(), start, 0);
    let later = peak.cost(decay(), seconds(10.0));
    assert!(later < before * 0.37, "{before} {later}");
}

proptest! {
    /// Against the formula, from call to call. Within a step nothing but a peak
    /// changes an average, whose error is then below what a step makes.
    #[test]
    fn an_average_follows_its_model(
        calls in prop::collection::vec((0..3_000_000_000_u64, 1..500 * MS), 1..60),
        constant in 1..20_u64,
    ) {
        let constant = Duration::from_secs(constant);
        let decay = Decay::new(constant);
        let (peak, mut model, mut at, mut now) = (Peak::default(), 0.0_f64, 0, 0);
        for (pause, took) in calls {
            now += pause;
            let took_ns = took as f64;
            let left = (-((now - at) as f64) / constant.as_nanos() as f64).exp();
            if took_ns > model {
                (model, at) = (took_ns, now);
            } else if u128::from(now - at) > constant.as_nanos() / 16_384 {
                (model, at) = (took_ns * (1.0 - left) + model * left, now);
            }
            peak.record(decay, Tick::from_nanos(now), took);
            let cost = peak.cost(decay, Tick::from_nanos(now));
            prop_assert!((cost / model - 1.0).abs() < 1e-3, "{} for {}", cost, model);
        }
    }

    /// The share is a mean of the latest, and the row is counted.
    #[test]
    fn failures_follow_their_model(ends in prop::collection::vec(prop::bool::weighted(0.4), 1..200)) {
        let (trouble, mut share, mut row) = (Trouble::default(), 0.0_f64, 0);
        for failed in ends {
            if failed {
                (share, row) = (share + (1.0 - share) / 8.0, row + 1);
                prop_assert_eq!(trouble.failed(), row);
            } else {
                (share, row) = (share * 7.0 / 8.0, 0);
                trouble.succeeded();
            }
            let now = trouble.now();
            prop_assert!((now.share() - share).abs() < 1e-3, "{} for {}", now.share(), share);
            if (share - 0.5).abs() > 1e-3 {
                prop_assert_eq!(now.is_suspect(), share > 0.5);
            }
        }
        // It is forgotten in the end, and not only nearly.
        for _ in 0..200 {
            trouble.succeeded();
        }
        prop_assert_eq!(trouble.now(), Trouble::default().now());
    }

    #[test]
    fn codes_are_ordered_and_fine(a in any::<u64>(), shift in 0..64_u32, by in 1..1_000_u64) {
        let a = (a >> shift).max(1);
        let b = a.saturating_add(by);
        prop_assert!(code(a) <= code(b));
        prop_assert!((1..=65_536).contains(&code(a)));
        // An eighth more is told apart.
        let eighth = a.saturating_add(a / 8 + 1);
        prop_assert!(eighth == u64::MAX || code(a) < code(eighth));
    }
}

#[test]
fn a_row_is_counted_to_the_end() {
    let trouble = Trouble::default();
    let rows: Vec<u32> = (0..7).map(|_| trouble.failed()).collect();
    assert_eq!(rows, [1, 2, 3, 4, 5, 6, 7]);
    assert!(trouble.now().is_suspect());
    trouble.succeeded();
    assert_eq!(trouble.failed(), 1);
    trouble.clear();
    assert_eq!(trouble.now(), Trouble::default().now());
}

#[test]
fn the_median_stays_where_most_are() {
    let by_load = ByLoad::default();
    // One in five takes a hundred times as long; the median is not moved by it.
    for n in 0..2_000_u64 {
        let took = if n % 5 == 0 {
            1_000 * MS
        } else {
            10 * MS + n % 7 * MS / 10
        };
        by_load.record(3, took);
    }
    let estimate = by_load.estimate(3);
    assert!(
        (code(9 * MS)..=code(12 * MS)).contains(&estimate),
        "{estimate}"
    );
    // It follows when all change.
    for _ in 0..300 {
        by_load.record(3, 80 * MS);
    }
    assert_eq!(by_load.estimate(3), code(80 * MS));
}

#[test]
fn what_is_not_known_is_taken_from_nearby() {
    let by_load = ByLoad::default();
    assert_eq!(by_load.estimate(9), 0);
    by_load.record(40, 8 * MS);
    by_load.record(1, 2 * MS);
    let estimates = [0, 1, 2, 40, 1_000].map(|in_flight| by_load.estimate(in_flight));
    assert_eq!(estimates, [2, 2, 2, 8, 8].map(|ms| code(ms * MS)));
    by_load.record_worse(1, MS);
    assert_eq!(by_load.estimate(1), code(2 * MS));
    by_load.record_worse(1, 3 * MS);
    assert!(by_load.estimate(1) > code(2 * MS));
}

#[test]
fn slow_start_is_envoys() {
    let ramp = |aggression| SlowStart::over(Duration::from_secs(60)).aggression(aggression);
    let share = |ramp: &SlowStart, after| ramp.share(seconds(7.0), seconds(7.0 + after));
    let known = [
        (100, 15.0, 0.25),
        (200, 15.0, 0.5),
        (100, 1.0, 0.1),
        (100, 0.0, 0.1),
        (100, 59.0, 59.0 / 60.0),
        (100, 60.0, 1.0),
        (100, 1e9, 1.0),
    ];
    for (aggression, after, expected) in known {
        let share = share(&ramp(aggression), after);
        assert!((share - expected).abs() < 1e-9, "{after}: {share}");
    }
    let none = ramp(100).floor(Ratio::ZERO);
    assert!(share(&none, 0.0) == 0.0);
    // A clock that went back begins anew.
    assert!(ramp(100).share(seconds(7.0), Tick::ZERO) == 0.1);
}
