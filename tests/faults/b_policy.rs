//! B. Policies at their extremes, and changed while calls are in flight.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tower::Layer;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::policy::LONGEST;
use tower_keep::test_util::{Hand, ManualClock};
use tower_keep::throttle::{self, Headers, MissingKey, ThrottleLayer, WhenFull};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Override, PolicyError, Setup, key};

use crate::support::cases::{permits, rate};
use crate::support::watched::Watched;
use crate::support::{call, inner, request, secs};

pub(crate) const COUNTS: [Option<u32>; 4] = [None, Some(0), Some(1), Some(u32::MAX)];
pub(crate) const TIMES: [Option<Duration>; 5] = [
    None,
    Some(Duration::ZERO),
    Some(Duration::from_nanos(1)),
    Some(LONGEST),
    Some(Duration::MAX),
];

pub(crate) fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

/// A thousand calls on a moving clock, whatever they answer.
pub(crate) fn thousand_calls<L>(time: &ManualClock, layer: &L)
where
    L: Layer<crate::support::Inner>,
    L::Service: crate::support::cases::Subject,
{
    let (probe, ..) = inner(time);
    let mut service = layer.layer(probe);
    for turn in 0..1_000 {
        let mut hand = Hand::new(call(&mut service, request("a")));
        let _ = hand.poll();
        if turn % 10 == 0 {
            time.advance(Duration::from_nanos(1 << (turn % 60)));
        }
    }
}

/// An error that names one of the fields and what is allowed.
pub(crate) fn names(error: &PolicyError, fields: &[&str]) {
    let text = error.to_string();
    assert!(fields.contains(&error.field()), "{text}");
    assert!(text.starts_with(error.field()), "{text}");
    let allowed = error.allowed();
    let tells = allowed.contains("allowed") || allowed.contains("must");
    assert!(tells && text.ends_with(allowed), "{text}");
}

#[test]
fn fault_024_extremes_of_the_timeout() {
    let mut built = 0;
    for attempt in TIMES {
        for deadline in TIMES {
            for readiness in TIMES {
                let mut policy = timeout::Policy::builder();
                policy = attempt.map_or(policy, |t| policy.attempt(t));
                policy = deadline.map_or(policy, |t| policy.deadline(t));
                policy = readiness.map_or(policy, |t| policy.readiness(t));
                match policy.build() {
                    Err(error) => names(&error, &["attempt", "deadline", "readiness"]),
                    Ok(policy) => {
                        built += 1;
                        let time = ManualClock::new();
                        let layer = TimeoutLayer::with(policy, setup(&time));
                        thousand_calls(&time, &layer);
                        layer.handle().assert_quiet();
                        assert_eq!(policy.to_builder().build(), Ok(policy));
                    }
                }
            }
        }
    }
    assert_eq!(built, 3 * 3 * 3);
}

#[test]
fn fault_024_extremes_of_the_bulkhead() {
    let mut built = 0;
    for calls in COUNTS {
        for queue in COUNTS {
            for wait in TIMES {
                let mut policy = bulkhead::Policy::builder();
                policy = calls.map_or(policy, |n| policy.max_concurrent(n));
                policy = queue.map_or(policy, |n| policy.queue_length(n));
                policy = wait.map_or(policy, |t| policy.max_wait(t));
                match policy.build() {
                    Err(error) => names(&error, &["max_concurrent", "queue_length", "max_wait"]),
                    Ok(policy) => {
                        built += 1;
                        let time = ManualClock::new();
                        let layer = BulkheadLayer::with(policy, setup(&time));
                        thousand_calls(&time, &layer);
                        thousand_calls(&time, &layer.clone().queued());
                        thousand_calls(&time, &layer.clone().backpressure());
                        let handle = layer.handle();
                        let heavy = handle.admit_weighted(u32::MAX);
                        drop((heavy, handle.admit_weighted(0)));
                        handle.update(permits(1));
                        handle.update(policy);
                        handle.assert_quiet();
                        assert_eq!(handle.policy(), policy);
                    }
                }
            }
        }
    }
    assert_eq!(built, 2 * 3 * 3);
}

#[test]
fn fault_024_extremes_of_the_throttle() {
    const KEYS: [Option<usize>; 4] = [None, Some(0), Some(1), Some(usize::MAX)];
    let mut built = 0;
    let by = || key::value(|_: &http::Request<()>| Some(1));
    for permits in COUNTS {
        for per in TIMES.into_iter().flatten().chain([secs(1)]) {
            for burst in COUNTS {
                for wait in TIMES {
                    for keys in KEYS {
                        let mut policy = throttle::Policy::builder();
                        policy = permits.map_or(policy, |n| policy.rate(n, per));
                        policy = burst.map_or(policy, |n| policy.burst(n));
                        policy = wait.map_or(policy, |t| policy.max_wait(t));
                        policy = keys.map_or(policy, |n| policy.max_keys(n));
                        let policy = match policy.build() {
                            Err(error) => {
                                names(&error, &["rate", "burst", "max_wait", "max_keys"]);
                                continue;
                            }
                            Ok(policy) => policy,
                        };
                        built += 1;
                        let time = ManualClock::new();
                        let layer = ThrottleLayer::keyed_with(policy, by(), setup(&time));
                        thousand_calls(&time, &layer);
                        thousand_calls(&time, &layer.clone().waiting());
                        let handle = layer.handle();
                        let _ = (handle.admit(u32::MAX), handle.admit(0), handle.remaining());
                        handle.update(rate(1));
                        handle.update(policy);
                        assert_eq!(handle.policy(), policy);
                    }
                }
            }
        }
    }
    assert!(built > 50, "{built}");
}

#[test]
fn fault_025_zero_is_an_error_and_closing_is_explicit() {
    let error = bulkhead::Policy::max_concurrent(0).unwrap_err();
    assert_eq!(error.field(), "max_concurrent");
    assert!(error.to_string().contains("close the layer"), "{error}");
    let error = throttle::Policy::per_second(0).unwrap_err();
    assert_eq!(error.field(), "rate");
    assert!(error.to_string().contains("close the layer"), "{error}");
    let error = timeout::Policy::attempt(Duration::ZERO).unwrap_err();
    assert_eq!(error.field(), "attempt");
}

for_all_layers! { fault_025_closed_refuses_at_once }

mod laws {
    use tower::Layer;
    use tower_keep::test_util::Hand;
    use tower_keep::{AsRejection, Override, RejectionKind, Setup};

    use crate::support::cases::{Rig, Subject};
    use crate::support::watched::Watched;
    use crate::support::{Inner, call, poll_ready, request};

    pub(super) fn fault_025_closed_refuses_at_once<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        rig.handle.order(Override::Close);
        for turn in 1..=3 {
            // Asked again and again: it is still one refusal.
            assert!(poll_ready(&mut rig.service).is_ready());
            let poll = Hand::new(call(&mut rig.service, request("a"))).poll();
            let std::task::Poll::Ready(Err(error)) = poll else {
                panic!("a closed layer let a call through, or hung");
            };
            let rejection = error.as_rejection().unwrap();
            assert_eq!(rejection.kind(), RejectionKind::Closed);
            assert!(!rejection.reached_inner());
            assert_eq!(rig.handle.rejected(), turn);
        }
        assert_eq!(rig.watch.counts().calls, 0);
        rig.handle.order(Override::Bypass);
        for _ in 0..10 {
            assert!(
                Hand::new(call(&mut rig.service, request("a")))
                    .poll()
                    .is_ready()
            );
        }
        assert_eq!(rig.watch.counts().calls, 10);
        rig.handle.order(Override::None);
        rig.assert_quiet();
    }
}

/// Policies whose parts belong together, told by one number.
fn bulkhead_of(n: u32) -> bulkhead::Policy {
    let policy = bulkhead::Policy::builder()
        .max_concurrent(n)
        .queue_length(n);
    policy
        .max_wait(Duration::from_nanos(n.into()))
        .build()
        .unwrap()
}

fn throttle_of(n: u32) -> throttle::Policy {
    let policy = throttle::Policy::builder().rate(n, secs(n.into())).burst(n);
    let policy = policy
        .missing_key(MissingKey::Share)
        .when_full(WhenFull::Share);
    policy
        .max_wait(secs(n.into()))
        .headers(Headers::Never)
        .build()
        .unwrap()
}

fn timeout_of(n: u32) -> timeout::Policy {
    let time = secs(n.into());
    let policy = timeout::Policy::builder().attempt(time).deadline(time);
    policy.readiness(time).build().unwrap()
}

#[test]
fn fault_028_updates_are_never_torn() {
    let time = ManualClock::new();
    let bulkhead = BulkheadLayer::with(bulkhead_of(1), setup(&time)).handle();
    let throttle = ThrottleLayer::with(throttle_of(1), setup(&time)).handle();
    let timeout = TimeoutLayer::with(timeout_of(1), setup(&time)).handle();
    let done = AtomicBool::new(false);
    let whole = || {
        let seen = (bulkhead.policy(), throttle.policy(), timeout.policy());
        assert!((1..=8).any(|n| seen.0 == bulkhead_of(n)), "{seen:?}");
        assert!((1..=8).any(|n| seen.1 == throttle_of(n)), "{seen:?}");
        assert!((1..=8).any(|n| seen.2 == timeout_of(n)), "{seen:?}");
    };
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                whole();
                drop(bulkhead.admit());
                let _ = throttle.admit(1);
            }
        });
        let writers: Vec<_> = (1..=8)
            .map(|n| {
                let (bulkhead, throttle, timeout) = (&bulkhead, &throttle, &timeout);
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        bulkhead.update(bulkhead_of(n));
                        throttle.update(throttle_of(n));
                        timeout.update(timeout_of(n));
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    whole();
    bulkhead.assert_quiet();
}

#[test]
fn fault_028_a_lower_limit_drains_without_refusing_the_admitted() {
    let time = ManualClock::new();
    let handle = BulkheadLayer::with(permits(10), setup(&time)).handle();
    let mut held: Vec<_> = (0..10).map(|_| handle.admit().unwrap()).collect();
    handle.update(permits(3));
    assert_eq!(handle.in_flight(), 10);
    while held.len() > 3 {
        assert!(handle.admit().is_err());
        held.pop();
    }
    assert!(handle.admit().is_err());
    held.pop();
    held.push(handle.admit().unwrap());
    assert!(handle.admit().is_err());
    drop(held);
    handle.set_override(Override::None);
    handle.assert_quiet();
}
