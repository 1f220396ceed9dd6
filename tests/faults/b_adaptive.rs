//! B. Policies of limits that find themselves, at their extremes.

use std::time::Duration;

use tower_keep::adaptive::{self, AdaptiveLayer, Rule};
use tower_keep::classify::Http;
use tower_keep::key;
use tower_keep::test_util::ManualClock;
use tower_keep::throttle::learned::{self, LearnedLayer};
use tower_keep::throttle::{self, Mode, ThrottleLayer};

use crate::b_policy::{COUNTS, TIMES, names, setup, thousand_calls};
use crate::support::watched::Watched;
use crate::support::{ms, secs};

const RULES: [Rule; 4] = [Rule::Gradient, Rule::Gradient2, Rule::Vegas, Rule::Aimd];
const FIELDS: &[&str] = &[
    "initial_limit",
    "min_limit",
    "max_limit",
    "window",
    "min_samples",
    "queue_length",
    "max_wait",
];

/// All limits and counts, with all times.
fn policies() -> impl Iterator<Item = adaptive::PolicyBuilder> {
    let windows = TIMES.into_iter().chain([Some(ms(1)), Some(secs(3_600))]);
    let each = |of: fn(adaptive::PolicyBuilder, u32) -> adaptive::PolicyBuilder| {
        move |policy: adaptive::PolicyBuilder| COUNTS.map(|n| n.map_or(policy, |n| of(policy, n)))
    };
    let mut all = vec![adaptive::Policy::builder()];
    for of in [
        adaptive::PolicyBuilder::initial_limit,
        adaptive::PolicyBuilder::min_limit,
        adaptive::PolicyBuilder::max_limit,
        adaptive::PolicyBuilder::min_samples,
        adaptive::PolicyBuilder::queue_length,
    ] {
        all = all.into_iter().flat_map(each(of)).collect();
    }
    let all = all.into_iter().flat_map(move |policy| {
        let windows = windows.clone();
        windows.map(move |window| window.map_or(policy, |window| policy.window(window)))
    });
    all.flat_map(|policy| TIMES.map(|wait| wait.map_or(policy, |wait| policy.max_wait(wait))))
}

#[test]
fn fault_024_extremes_of_the_adaptive_limit() {
    let (mut all, mut built) = (0, 0);
    for policy in policies() {
        all += 1;
        let policy = match policy.build() {
            Err(error) => {
                names(&error, FIELDS);
                continue;
            }
            Ok(policy) => policy,
        };
        assert_eq!(policy.to_builder().build(), Ok(policy));
        built += 1;
        // One in so many, with one of the rules, in turn.
        let rule = RULES[built % RULES.len()];
        let policy = policy.to_builder().rule(rule).build().unwrap();
        if built % 21 != 0 {
            continue;
        }
        let time = ManualClock::new();
        let layer = AdaptiveLayer::with(policy, setup(&time)).classify(Http);
        thousand_calls(&time, &layer);
        thousand_calls(&time, &layer.clone().queued());
        let handle = layer.handle();
        drop((handle.admit(), handle.acquire()));
        handle.update(adaptive::Policy::default());
        handle.update(policy);
        handle.assert_quiet();
        assert_eq!(handle.policy(), policy);
    }
    assert_eq!(all, 4usize.pow(5) * 7 * 5);
    assert!(built > 300, "{built} of {all}");
}

#[test]
fn fault_024_extremes_of_what_threads_hold() {
    let mut built = 0;
    for permits in COUNTS {
        for per in TIMES.into_iter().flatten().chain([secs(1)]) {
            for burst in COUNTS.into_iter().chain([Some(64), Some(100_000)]) {
                let mut policy = throttle::Policy::builder().mode(Mode::Leased);
                policy = permits.map_or(policy, |n| policy.rate(n, per));
                policy = burst.map_or(policy, |n| policy.burst(n));
                let Ok(policy) = policy.build() else {
                    continue;
                };
                built += 1;
                let time = ManualClock::new();
                let layer = ThrottleLayer::with(policy, setup(&time));
                thousand_calls(&time, &layer);
                thousand_calls(&time, &layer.clone().waiting());
                let handle = layer.handle();
                let _ = (handle.admit(u32::MAX), handle.admit(0), handle.remaining());
                handle.update(policy.to_builder().mode(Mode::Exact).build().unwrap());
                handle.update(policy);
                assert_eq!(handle.policy(), policy);
            }
        }
    }
    assert!(built > 10, "{built}");
}

#[test]
fn fault_024_extremes_of_the_learnt_limit() {
    let by = || key::value(|_: &http::Request<()>| Some(1));
    let mut built = 0;
    for wait in TIMES {
        for keys in [None, Some(0), Some(1), Some(usize::MAX)] {
            let mut policy = learned::Policy::builder();
            policy = wait.map_or(policy, |t| policy.max_wait(t));
            policy = keys.map_or(policy, |n| policy.max_keys(n));
            let policy = match policy.build() {
                Err(error) => {
                    names(&error, &["max_wait", "max_keys"]);
                    continue;
                }
                Ok(policy) => policy,
            };
            built += 1;
            let time = ManualClock::new();
            let layer = LearnedLayer::keyed_with(policy, Http, by(), setup(&time));
            let too_much = tower_keep::classify::Failure::Overload { retry_after: None };
            let request = http::Request::new(());
            for pause in [Duration::ZERO, secs(1), secs(1_000_000)] {
                time.advance(pause);
                if let Ok(permit) = layer.handle().admit_for(&by(), &request) {
                    permit.finish(tower_keep::classify::Outcome::Failure(too_much));
                }
                thousand_calls(&time, &layer);
                thousand_calls(&time, &layer.clone().waiting());
            }
            let handle = layer.handle();
            handle.update(learned::Policy::default());
            handle.update(policy);
            assert_eq!(handle.policy(), policy);
            handle.assert_quiet();
        }
    }
    assert_eq!(built, 3 * 3);
}
