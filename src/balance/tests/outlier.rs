//! Who is an outlier, and how many may go.

use std::time::Duration;

use proptest::prelude::*;

use crate::balance::outlier::Calls;
use crate::balance::{Cap, FailureShare, Outliers, SuccessRate};
use crate::policy::Ratio;

const NONE: [usize; 0] = [];

/// So many of a thousand calls succeeded.
fn of_thousand(succeeded: &[u64]) -> Vec<Calls> {
    let calls = |succeeded: &u64| Calls {
        succeeded: *succeeded,
        failed: 1_000 - succeeded,
    };
    succeeded.iter().map(calls).collect()
}

fn by_rate() -> Outliers {
    Outliers::default().failure_share(None)
}

fn by_share() -> Outliers {
    let rule = FailureShare::default();
    Outliers::default().success_rate(None).failure_share(rule)
}

#[test]
fn the_deviation_is_that_of_the_population() {
    // Mean 0.9, deviation 0.2, threshold 0.52; that of a sample would be 0.475.
    let calls = of_thousand(&[1_000, 1_000, 1_000, 1_000, 500]);
    assert_eq!(by_rate().judge(&calls), [4]);
    assert_eq!(by_rate().judge(&calls[1..]), NONE, "too few endpoints");
    let known = [0.521, 0.519].map(|rate: f64| {
        // Another set of the same mean and deviation: the threshold decides.
        let deviation = (1.0 - rate) / (1.0 - 0.5) * 0.2;
        let mean = (4.0 + rate) / 5.0;
        rate < mean - 1.9 * deviation
    });
    assert_eq!(
        known,
        [true, true],
        "one of five is always 2 deviations below"
    );
    let of = |deviations| {
        let rule = SuccessRate::default().deviations(deviations);
        by_rate().success_rate(rule).judge(&calls)
    };
    assert_eq!(of(1_999), [4]);
    assert_eq!(of(2_001), NONE);
}

#[test]
fn equals_are_no_outliers() {
    for rate in [0, 1, 333, 700, 999, 1_000] {
        assert_eq!(by_rate().judge(&of_thousand(&[rate; 7])), NONE, "{rate}");
    }
    assert_eq!(Outliers::default().judge(&[]), NONE);
}

#[test]
fn who_had_few_calls_is_not_judged() {
    let mut calls = of_thousand(&[1_000, 1_000, 1_000, 1_000, 1_000, 0]);
    calls[5] = Calls {
        succeeded: 0,
        failed: 99,
    };
    assert_eq!(by_rate().judge(&calls), NONE);
    calls[5].failed = 100;
    assert_eq!(by_rate().judge(&calls), [5]);
    calls[5].failed = 49;
    assert_eq!(by_share().judge(&calls), NONE);
    calls[5].failed = 50;
    assert_eq!(by_share().judge(&calls), [5]);
}

#[test]
fn a_share_is_exact() {
    let calls = of_thousand(&[1_000, 1_000, 1_000, 151, 150, 149]);
    assert_eq!(by_share().judge(&calls), [4, 5]);
}

#[test]
fn an_ejection_grows_and_ends() {
    let policy = Outliers::default();
    let times = [1, 2, 9, 10, 11, u32::MAX].map(|times| policy.time(times).as_secs());
    assert_eq!(times, [30, 60, 270, 300, 300, 300]);
    let long = policy.base_time(Duration::from_secs(400));
    assert_eq!([1, 2].map(|times| long.time(times).as_secs()), [400, 400]);
}

#[test]
fn the_cap_has_two_readings() {
    let out_of = |cap, all| {
        let policy = Outliers::default().cap(cap);
        (0..all)
            .take_while(|out| policy.may_eject(*out, all))
            .count()
    };
    for (all, grpc, envoy) in [
        (1, 0, 0),
        (2, 1, 0),
        (9, 1, 0),
        (10, 1, 1),
        (11, 2, 1),
        (20, 2, 2),
    ] {
        assert_eq!(out_of(Cap::UntilReached, all), grpc, "gRPC, {all}");
        assert_eq!(out_of(Cap::Never, all), envoy, "Envoy, {all}");
    }
}

#[test]
fn fault_090_the_last_one_stays() {
    let policy = Outliers::default().max_share(Ratio::ONE);
    for cap in [Cap::UntilReached, Cap::Never] {
        let policy = policy.cap(cap);
        for all in 0..20 {
            let out = (0..100)
                .take_while(|out| policy.may_eject(*out, all))
                .count();
            assert_eq!(out, all.saturating_sub(1));
        }
    }
    let none = Outliers::default().max_share(Ratio::ZERO);
    assert!(!none.may_eject(0, 100));
}

#[test]
fn what_is_out_of_range_is_named() {
    let zero = Duration::ZERO;
    let rate = SuccessRate::default();
    let share = FailureShare::default();
    let policy = Outliers::default;
    let bad = [
        ("outliers.consecutive", policy().consecutive(0)),
        ("outliers.interval", policy().interval(zero)),
        ("outliers.base_time", policy().base_time(Duration::MAX)),
        ("outliers.max_time", policy().max_time(zero)),
        (
            "outliers.success_rate.deviations",
            policy().success_rate(rate.deviations(0)),
        ),
        (
            "outliers.success_rate.min_calls",
            policy().success_rate(rate.min_calls(0)),
        ),
        (
            "outliers.success_rate.min_endpoints",
            policy().success_rate(rate.min_endpoints(u32::MAX)),
        ),
        (
            "outliers.failure_share.min_calls",
            policy().failure_share(share.min_calls(0)),
        ),
        (
            "outliers.failure_share.min_endpoints",
            policy().failure_share(share.min_endpoints(0)),
        ),
    ];
    for (field, policy) in bad {
        assert_eq!(policy.check().unwrap_err().field(), field);
    }
    assert!(policy().check().is_ok());
}

proptest! {
    #[test]
    fn outliers_are_those_of_the_definition(
        succeeded in prop::collection::vec((0..=1_000_u64, 0..1_000_u64), 0..40),
        deviations in 500..3_000_u32,
        percent in 0..=100_u32,
    ) {
        let calls: Vec<_> = succeeded
            .iter()
            .map(|&(succeeded, failed)| Calls { succeeded, failed })
            .collect();
        let rate = SuccessRate::default().deviations(deviations);
        let share = FailureShare::default().threshold(Ratio::percent(percent));
        let found = by_rate().success_rate(rate).failure_share(share).judge(&calls);

        let rate_of = |calls: &Calls| calls.succeeded as f64 / (calls.succeeded + calls.failed) as f64;
        let known = |least: u64| {
            let known = calls.iter().filter(move |calls| calls.succeeded + calls.failed >= least);
            known.collect::<Vec<_>>()
        };
        let judged = known(100);
        let n = judged.len() as f64;
        let mean = judged.iter().map(|calls| rate_of(calls)).sum::<f64>() / n;
        let variance = judged.iter().map(|calls| rate_of(calls).powi(2)).sum::<f64>() / n - mean * mean;
        let threshold = mean - f64::from(deviations) / 1e3 * variance.max(0.0).sqrt();
        for (index, calls) in calls.iter().enumerate() {
            let all = calls.succeeded + calls.failed;
            let far = all >= 100 && judged.len() >= 5 && rate_of(calls) < threshold;
            let many = all >= 50 && known(50).len() >= 5 && calls.failed * 100 >= u64::from(percent) * all;
            let close = all >= 100 && (rate_of(calls) - threshold).abs() < 1e-6;
            if !close || many {
                prop_assert_eq!(found.contains(&index), far || many, "{}: {:?}", index, calls);
            }
        }
        let mut once = found.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), found.len());
    }
}
