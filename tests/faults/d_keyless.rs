//! D. Requests that have no key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_keep::event::{Event, Source};
use tower_keep::test_util::ManualClock;
use tower_keep::throttle::{self, MissingKey, ThrottleLayer};
use tower_keep::{Override, RejectionKind, Setup, key};

use crate::support::cases::rate;

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

/// The order of an operator comes before the form of a request.
#[test]
fn fault_053_bypass_lets_a_bad_key_through() {
    let time = ManualClock::new();
    let policy = throttle::Policy::builder()
        .rate(10, Duration::from_secs(1))
        .missing_key(MissingKey::Refuse)
        .build()
        .unwrap();
    let by_key = key::value(|n: &Option<u32>| *n);
    let layer = ThrottleLayer::keyed_with(policy, by_key, setup(&time));
    let handle = layer.handle();
    let ask = || handle.admit_for(&by_key, &None, 1).map_err(|r| r.kind());
    assert_eq!(ask(), Err(RejectionKind::BadKey));
    handle.set_override(Override::Bypass);
    assert_eq!(ask(), Ok(()));
    handle.set_override(Override::Close);
    assert_eq!(ask(), Err(RejectionKind::Closed));
}

#[test]
fn fault_053_requests_without_a_key_are_counted() {
    let time = ManualClock::new();
    let by_key = key::value(|n: &Option<u32>| *n);
    let layer = ThrottleLayer::keyed_with(rate(10), by_key, setup(&time));
    let handle = layer.handle();
    for request in [None, Some(1), None, Some(2)] {
        handle.admit_for(&by_key, &request, 1).unwrap();
    }
    assert_eq!(handle.snapshot().keyless, 2);
    let policy = rate(10).to_builder().missing_key(MissingKey::Refuse);
    handle.update(policy.build().unwrap());
    assert!(handle.admit_for(&by_key, &None, 1).is_err());
    handle.set_override(Override::Bypass);
    handle.admit_for(&by_key, &None, 1).unwrap();
    assert_eq!(handle.snapshot().keyless, 4);
}

/// Who works is told at once, and a flood is told of a few times.
#[test]
fn fault_053_listeners_hear_of_requests_without_a_key() {
    let time = ManualClock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let told = Arc::clone(&told);
        move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Keyless(requests) = event {
                told.lock().unwrap().push(*requests);
            }
        }
    };
    let by_key = key::value(|n: &Option<u32>| *n);
    let setup = setup(&time).with_listener(listener);
    let handle = ThrottleLayer::keyed_with(rate(10), by_key, setup).handle();
    handle.admit_for(&by_key, &Some(1), 1).unwrap();
    for _ in 0..1_000 {
        let _ = handle.admit_for(&by_key, &None, 1);
    }
    let told = told.lock().unwrap();
    let doublings: Vec<_> = (0..10).map(|power| 1 << power).collect();
    assert_eq!(*told, doublings);
}
