//! B. A breaker's policy at its extremes, and its clock.

use std::time::Duration;

use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, CloseAfter, Dropped, Handle, Kind, Policy, PolicyBuilder,
};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::clock::Tick;
use tower_keep::policy::LONGEST;
use tower_keep::test_util::ManualClock;
use tower_keep::{Ratio, Setup};

use crate::support::secs;

const BAD: Outcome = Outcome::Failure(Failure::Transient);
const NUMBERS: [u32; 3] = [0, 1, u32::MAX];
const TIMES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    LONGEST,
    Duration::MAX,
];

fn handle(time: &ManualClock, policy: Policy) -> Handle {
    let setup = Setup::new().with_clock(time.clock());
    CircuitBreakerLayer::with(policy, setup).handle()
}

/// A thousand calls on a moving clock, whatever becomes of them.
fn thousand_calls(time: &ManualClock, handle: &Handle) {
    let mut held = Vec::new();
    for turn in 0..1_000_u32 {
        let ends = [
            Outcome::Success,
            BAD,
            BAD,
            Outcome::Neutral,
            Outcome::Cancelled,
        ];
        if let Ok(permit) = handle.admit() {
            held.push(permit);
        }
        if turn % 3 == 0 && !held.is_empty() {
            let permit = held.swap_remove(turn as usize % held.len());
            permit.finish(ends[turn as usize % ends.len()]);
        }
        if turn % 10 == 0 {
            time.advance(Duration::from_nanos(1 << (turn % 60)));
        }
        if turn % 100 == 0 {
            handle.drain_probes();
            let _ = handle.snapshot();
        }
    }
    drop(held);
    assert_eq!(handle.snapshot().in_flight, 0);
}

/// Every setter with one extreme at a time, on several kinds of policy.
#[test]
fn fault_024_extremes_of_the_breaker() {
    type Set = fn(PolicyBuilder, u32, Duration) -> PolicyBuilder;
    let setters: [(&str, Set); 17] = [
        ("minimum_calls", |p, n, _| p.minimum_calls(n)),
        ("slow_minimum_calls", |p, n, _| p.slow_minimum_calls(n)),
        ("consecutive", |p, n, _| p.consecutive(n)),
        ("recent", |p, n, _| p.recent(n, n)),
        ("recent", |p, n, _| p.recent(1, n)),
        ("count_window", |p, n, _| p.count_window(n)),
        ("probes", |p, n, _| p.probes(n)),
        ("close_after", |p, n, _| {
            p.close_after(CloseAfter::Successes(n))
        }),
        ("close_after", |p, n, _| p.close_after(CloseAfter::Ratio(n))),
        ("aggression", |p, n, _| {
            p.kind(Kind::AdmissionControl { aggression: n })
        }),
        ("max_keys", |p, n, _| p.max_keys(n as usize)),
        ("slow_threshold", |p, _, t| p.slow_threshold(t)),
        ("time_window", |p, _, t| p.time_window(t)),
        ("open_wait", |p, _, t| p.open_wait(t)),
        ("max_retry_after", |p, _, t| p.max_retry_after(t)),
        ("probe_timeout", |p, _, t| p.probe_timeout(t)),
        ("ramp", |p, _, t| p.ramp(t)),
    ];
    let bases = [
        Policy::builder(),
        Policy::builder().consecutive(2).probes(1),
        Policy::builder()
            .slow_ratio(Ratio::ONE)
            .time_window(secs(1)),
        Policy::builder().kind(Kind::Ewma).dropped(Dropped::Failure),
    ];
    let (mut built, mut refused) = (0, 0);
    for base in bases {
        for (field, set) in setters {
            for number in NUMBERS {
                for span in TIMES {
                    match set(base, number, span).build() {
                        Ok(policy) => {
                            built += 1;
                            let time = ManualClock::new();
                            thousand_calls(&time, &handle(&time, policy));
                        }
                        Err(error) => {
                            refused += 1;
                            let fields = [field, "minimum_calls", "slow_minimum_calls"];
                            assert!(fields.contains(&error.field()), "{field}: {error}");
                            assert!(error.to_string().contains("allowed"), "{error}");
                        }
                    }
                }
            }
        }
    }
    assert!(built > 300 && refused > 200, "{built} {refused}");
}

#[test]
fn fault_024_ratios_are_shares() {
    for odd in [
        f64::NAN,
        f64::INFINITY,
        -f64::INFINITY,
        -1e-9,
        1.0 + 1e-9,
        -1.0,
    ] {
        assert_eq!(Ratio::new(odd).unwrap_err().field(), "ratio", "{odd}");
    }
    for fine in [0.0, -0.0, f64::MIN_POSITIVE, 1e-310, 0.1, 1.0] {
        let ratio = Ratio::new(fine).unwrap();
        assert!((ratio.fraction() - fine).abs() < 1e-9);
    }
    assert_eq!(Ratio::percent(1000), Ratio::ONE);
    for field in ["failure_ratio", "slow_ratio", "accept_share"] {
        let builder = Policy::builder();
        let policy = match field {
            "failure_ratio" => builder.failure_ratio(Ratio::ZERO),
            "slow_ratio" => builder.slow_ratio(Ratio::ZERO),
            _ => builder.accept_share(Ratio::ZERO),
        };
        assert_eq!(policy.build().unwrap_err().field(), field);
    }
    // A share that no binary fraction is: three of thirty are a tenth.
    let tenth = Policy::builder().failure_ratio(Ratio::new(0.1).unwrap());
    let time = ManualClock::new();
    let handle = handle(&time, tenth.minimum_calls(30).build().unwrap());
    for turn in 0..30 {
        let end = if turn < 3 { BAD } else { Outcome::Success };
        handle.admit().unwrap().finish(end);
    }
    assert_eq!(handle.snapshot().state, CircuitState::Open);
}

fn one_failure() -> Policy {
    let policy = Policy::builder().consecutive(1).jitter(Ratio::ZERO);
    policy
        .time_window(secs(10))
        .failure_ratio(Ratio::ONE)
        .build()
        .unwrap()
}

fn open(time: &ManualClock) -> Handle {
    let handle = handle(time, one_failure());
    handle.admit().unwrap().finish(BAD);
    assert_eq!(handle.snapshot().state, CircuitState::Open);
    handle
}

#[test]
fn fault_019_any_jump_ahead_is_half_open_once() {
    for jump in [secs(5), secs(86_400), 10 * LONGEST, Duration::MAX] {
        let time = ManualClock::new();
        let handle = open(&time);
        time.advance(jump);
        let probe = handle.admit().unwrap();
        assert_eq!(handle.snapshot().state, CircuitState::HalfOpen);
        time.advance(jump);
        probe.finish(Outcome::Success);
        assert_eq!(handle.snapshot().trips, 1);
    }
}

#[test]
fn fault_020_a_clock_that_goes_back_opens_nothing_early() {
    let time = ManualClock::new();
    let handle = open(&time);
    time.rewind(secs(60));
    // Its wait begins anew, neither shorter nor longer than it was to be.
    assert_eq!(handle.admit().unwrap_err().retry_after(), Some(secs(5)));
    time.advance(secs(5) - Duration::from_nanos(1));
    assert!(handle.admit().is_err());
    // Nothing lasts less than no time.
    time.advance(Duration::from_nanos(1));
    let probe = handle.admit().unwrap();
    time.set(Tick::ZERO);
    probe.finish(Outcome::Success);
    assert_eq!(handle.snapshot().since, Duration::ZERO);
}

#[test]
fn fault_021_a_clock_that_stands_still() {
    let time = ManualClock::new();
    let handle = open(&time);
    for _ in 0..10_000 {
        assert_eq!(handle.admit().unwrap_err().retry_after(), Some(secs(5)));
    }
    handle.reset();
    for turn in 0..10_000 {
        let end = if turn % 2 == 0 {
            Outcome::Success
        } else {
            Outcome::Neutral
        };
        handle.admit().unwrap().finish(end);
    }
    assert_eq!(handle.snapshot().window().calls, 5_000);
}

#[test]
fn fault_022_at_the_end_of_time_it_stays_open() {
    let time = ManualClock::starting_at(Tick::MAX);
    let handle = open(&time);
    // No time is left for a wait: it is over at once.
    assert!(handle.admit().is_ok());
    let slow = Policy::builder()
        .slow_ratio(Ratio::ONE)
        .slow_threshold(LONGEST);
    thousand_calls(&time, &self::handle(&time, slow.build().unwrap()));
}
