//! D. A limit that finds itself, through the whole layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tower_keep::adaptive::{AdaptiveLayer, Algorithm, Handle, Policy, Rule, Window};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::test_util::{Call, ManualClock, finish_on};
use tower_keep::{Override, RejectionKind};

use crate::c_contention::on_threads;
use crate::k_composition::setup;
use crate::support::cases::finding;
use crate::support::transcript::transcript;
use crate::support::watched::Watched;
use crate::support::{BROKEN, call, data, inner, ms, request, response, secs};

const RULES: [Rule; 4] = [Rule::Gradient2, Rule::Gradient, Rule::Vegas, Rule::Aimd];

fn limited(rule: Rule, limit: u32) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    let policy = finding(limit).to_builder().rule(rule).build().unwrap();
    let handle = AdaptiveLayer::with(policy, setup(&time)).handle();
    (time, handle)
}

/// As many calls as may be at once, all of which take `took` and end so.
fn round(time: &ManualClock, handle: &Handle, took: Duration, outcome: Outcome) {
    let calls: Vec<_> = std::iter::from_fn(|| handle.admit().ok()).collect();
    time.advance(took);
    for call in calls {
        call.finish(outcome);
    }
}

#[test]
fn fault_047_fast_failures_never_raise_the_limit() {
    for rule in RULES {
        for failure in [
            Failure::Transient,
            Failure::Permanent,
            Failure::Panic,
            Failure::Timeout,
            Failure::Overload { retry_after: None },
        ] {
            let (time, handle) = limited(rule, 20);
            for _ in 0..100 {
                round(&time, &handle, ms(20), Outcome::Success);
            }
            let mut limit = handle.snapshot().limit;
            for _ in 0..400 {
                round(
                    &time,
                    &handle,
                    Duration::from_millis(2),
                    Outcome::Failure(failure),
                );
                let now = handle.snapshot().limit;
                assert!(now <= limit, "{rule:?}, {failure:?}: {limit} to {now}");
                limit = now;
            }
            handle.assert_quiet();
        }
    }
}

/// A service that says of every call that it is overloaded is believed.
#[test]
fn fault_047_nothing_but_overload_takes_the_limit_to_its_floor() {
    for rule in RULES {
        let (time, handle) = limited(rule, 200);
        let overload = Outcome::Failure(Failure::Overload { retry_after: None });
        for _ in 0..8_000 {
            round(&time, &handle, ms(5), overload);
        }
        assert_eq!(handle.snapshot().limit, 1, "{rule:?}");
    }
}

#[test]
fn fault_047_an_idle_service_moves_nothing() {
    for rule in RULES {
        let (time, handle) = limited(rule, 20);
        for turn in 0..2_000 {
            // Six of twenty, slower and slower, then an hour of nothing.
            let calls: Vec<_> = (0..6).map(|_| handle.admit().unwrap()).collect();
            time.advance(ms(1 + turn / 100));
            drop(calls);
            let calls: Vec<_> = (0..6).map(|_| handle.admit().unwrap()).collect();
            time.advance(ms(1 + turn / 100));
            calls
                .into_iter()
                .for_each(|call| call.finish(Outcome::Success));
            if turn % 500 == 0 {
                time.advance(secs(3_600));
            }
            assert_eq!(handle.snapshot().limit, 20, "{rule:?}");
        }
    }
}

#[test]
fn fault_047_floor_and_ceiling_hold() {
    for rule in RULES {
        let (time, handle) = limited(rule, 50);
        let policy = handle.policy().to_builder().min_limit(40).max_limit(60);
        handle.update(policy.build().unwrap());
        for turn in 0..2_000_u64 {
            // Now it seems to become faster and faster, now slower and slower.
            let took = Duration::from_micros(1 + turn * turn % 100_000);
            round(&time, &handle, took, Outcome::Success);
            let limit = handle.snapshot().limit;
            assert!((40..=60).contains(&limit), "{rule:?}: {limit}");
        }
    }
}

#[test]
fn fault_025_clocks_that_jump_do_no_harm() {
    for rule in RULES {
        let (time, handle) = limited(rule, 20);
        let run = || {
            for _ in 0..600 {
                round(&time, &handle, ms(20), Outcome::Success);
            }
            handle.snapshot().limit
        };
        let usual = run();
        for jump in [secs(3_600), secs(300 * 365 * 86_400)] {
            let calls: Vec<_> = std::iter::from_fn(|| handle.admit().ok()).collect();
            time.rewind(jump);
            calls
                .into_iter()
                .for_each(|call| call.finish(Outcome::Success));
            assert!(
                handle.snapshot().limit >= usual.min(20),
                "{rule:?}, back by {jump:?}"
            );
            let calls: Vec<_> = std::iter::from_fn(|| handle.admit().ok()).collect();
            time.advance(jump);
            calls
                .into_iter()
                .for_each(|call| call.finish(Outcome::Success));
            let (jumped, after) = (handle.snapshot().limit, run());
            assert!(
                jumped >= usual / 2,
                "{rule:?}: {usual}, {jumped} after {jump:?}"
            );
            assert!(after >= usual / 2, "{rule:?}: {usual}, {after} in the end");
        }
    }
}

/// Says what it was asked, and answers the same.
#[derive(Debug)]
struct Scribe(Arc<AtomicU64>);

impl Algorithm for Scribe {
    fn update(&mut self, window: &Window) -> u32 {
        assert!(window.samples > 0 && !window.mean.is_zero());
        self.0.fetch_add(window.samples, Ordering::Relaxed);
        if window.limit == 13 {
            panic!("unlucky")
        } else {
            13
        }
    }
}

#[test]
fn an_algorithm_of_ones_own_may_panic() {
    let seen = Arc::new(AtomicU64::new(0));
    let time = ManualClock::new();
    let told = Arc::new(AtomicU64::new(0));
    let heard = Arc::clone(&told);
    let setup = setup(&time).with_listener(move |_: &Source<'_>, event: &Event<'_>| {
        if let Event::Limit { from: 10, to: 13 } = event {
            heard.fetch_add(1, Ordering::Relaxed);
        }
    });
    let layer = AdaptiveLayer::with(finding(10), setup).ruled_by(Scribe(Arc::clone(&seen)));
    let handle = layer.handle();
    assert_eq!(handle.snapshot().algorithm, "own");
    for _ in 0..100 {
        round(&time, &handle, ms(20), Outcome::Success);
    }
    assert_eq!(handle.snapshot().limit, 13);
    assert_eq!(told.load(Ordering::Relaxed), 1);
    assert!(seen.load(Ordering::Relaxed) > 900);
    // Another policy leaves it in force.
    handle.update(finding(10).to_builder().rule(Rule::Vegas).build().unwrap());
    assert_eq!(handle.snapshot().algorithm, "own");
}

#[test]
fn what_comes_is_told_and_not_only_what_is_admitted() {
    let time = ManualClock::new();
    let policy = finding(10).to_builder().min_limit(10).max_limit(10);
    let handle = AdaptiveLayer::with(policy.build().unwrap(), setup(&time)).handle();
    for _ in 0..40 {
        // Ten are admitted, twenty more refused, every 20 ms.
        let calls: Vec<_> = (0..30).filter_map(|_| handle.admit().ok()).collect();
        time.advance(ms(20));
        calls
            .into_iter()
            .for_each(|call| call.finish(Outcome::Success));
    }
    let load = handle.snapshot().load;
    // To the grain of the rounds at both ends of a window.
    assert!(
        (1_450..=1_550).contains(&load.offered_per_second),
        "{load:?}"
    );
    assert!((450..=550).contains(&load.served_per_second), "{load:?}");
    assert!((29..=31).contains(&load.demand), "{load:?}");
    assert!((9..=10).contains(&load.in_use), "{load:?}");
    assert!(
        load.response_time.abs_diff(ms(20)) < Duration::from_micros(2),
        "{load:?}"
    );
    assert_eq!(load.queue_time, Duration::ZERO);
    time.advance(secs(60));
    assert_eq!(
        handle.snapshot().load,
        tower_keep::adaptive::Load::default()
    );
}

#[test]
fn fault_028_a_limit_below_what_is_in_flight_drains() {
    let (_, handle) = limited(Rule::Vegas, 8);
    let mut held: Vec<_> = (0..8).map(|_| handle.admit().unwrap()).collect();
    let policy = finding(2).to_builder().max_limit(2).build().unwrap();
    handle.update(policy);
    assert_eq!(
        (handle.snapshot().limit, handle.snapshot().in_flight),
        (2, 8)
    );
    while held.len() > 2 {
        assert_eq!(
            handle.admit().unwrap_err().kind(),
            RejectionKind::LimitReached
        );
        held.pop();
    }
    held.pop();
    let last = handle.admit().unwrap();
    assert!(handle.admit().is_err());
    drop((held, last));
    handle.assert_quiet();
}

#[test]
fn fault_028_032_updates_windows_and_calls_on_many_threads() {
    let time = ManualClock::new();
    let policy = |n: u32| {
        let policy = Policy::builder().min_limit(1 + n % 3).max_limit(5 + n % 3);
        let policy = policy.min_samples(1).window(ms(1));
        policy.rule(RULES[n as usize % 4]).build().unwrap()
    };
    let handle = AdaptiveLayer::with(policy(0), setup(&time)).handle();
    let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
    on_threads(8, |i| {
        for turn in 0..3_000_u32 {
            match i {
                0 => handle.update(policy(turn)),
                1 => time.advance(ms(1)),
                _ => {
                    if let Ok(permit) = handle.admit() {
                        most.fetch_max(now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
                        now.fetch_sub(1, Ordering::AcqRel);
                        permit.finish(Outcome::Success);
                    }
                }
            }
        }
    });
    assert!(most.into_inner() <= 7, "more than the ceiling");
    handle.assert_quiet();
    let limit = handle.snapshot().limit;
    let held: Vec<_> = std::iter::from_fn(|| handle.admit().ok()).collect();
    assert_eq!(held.len(), limit as usize, "permits were lost or made");
}

#[test]
fn fault_100_around_a_healthy_service_nothing_differs() {
    let time = ManualClock::new();
    let (mut bare, bare_script, _) = inner(&time);
    let (probe, script, watch) = inner(&time);
    let layer = AdaptiveLayer::with(finding(4), setup(&time))
        .classify(tower_keep::classify::Http)
        .until_body_end();
    let mut service = tower::Layer::layer(&layer, probe);
    for turn in 0..3_000_u64 {
        let line = match usize::try_from(turn % 7).unwrap() {
            0 => Call::error(BROKEN),
            n => Call::respond(response(&time, [200, 404, 503][n % 3], [data("x")])),
        };
        let line = line.after(ms(turn * turn % 700));
        for script in [&bare_script, &script] {
            script.then_call(line.clone());
        }
        let expected = finish_on(&time, async {
            transcript(call(&mut bare, request("a")).await).await
        });
        let seen = finish_on(&time, async {
            transcript(call(&mut service, request("a")).await).await
        });
        assert_eq!(seen, expected, "call {turn}");
    }
    watch.assert_quiet();
    assert_eq!(layer.handle().snapshot().rejected, 0);
    layer.handle().set_override(Override::Close);
    assert!(layer.handle().admit().is_err());
}
