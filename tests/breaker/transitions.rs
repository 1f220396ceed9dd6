//! From state to state, and how it is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_keep::circuit_breaker::{CircuitBreakerLayer, CircuitState, CloseAfter, Mode, Policy};
use tower_keep::classify::Outcome;
use tower_keep::event::{Event, Source};
use tower_keep::test_util::ManualClock;
use tower_keep::{Ratio, Registry, Setup};

use crate::behaviour::{BAD, breaker, finish, fixed, state};
use crate::support::secs;

/// A probe under way does not open what an operator keeps closed.
#[test]
fn forced_closed_does_not_open() {
    let (time, handle) = breaker(fixed().consecutive(1));
    finish(&handle, BAD);
    time.advance(secs(1));
    let probe = handle.admit().unwrap();
    let trips = handle.snapshot().trips;
    handle.set_mode(Mode::ForcedClosed);
    probe.finish(BAD);
    assert_eq!(handle.snapshot().trips, trips);
    assert_eq!(state(&handle), CircuitState::Closed);
    handle.drain_probes();
    assert_eq!(state(&handle), CircuitState::Closed);
}

/// What passes because an operator wants it counts as well.
#[test]
fn forced_closed_counts_in_a_ramp() {
    let (time, handle) = breaker(fixed().consecutive(50).ramp(secs(100)));
    for _ in 0..50 {
        finish(&handle, BAD);
    }
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    handle.set_mode(Mode::ForcedClosed);
    for _ in 0..20 {
        finish(&handle, BAD);
    }
    assert_eq!(handle.snapshot().consecutive, 20, "counts the ends");
}

/// Nobody has to come for that.
#[test]
fn a_snapshot_knows_that_the_ramp_is_over() {
    let (time, handle) = breaker(fixed().consecutive(1).ramp(secs(10)));
    finish(&handle, BAD);
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    time.advance(secs(100));
    let seen = handle.snapshot();
    assert_eq!((seen.ramping, seen.trips_in_a_row), (false, 0));
}

/// Two windows of different traffic: a trip in the ramp after the ramp is over does not count
/// as one in a row.
#[test]
fn a_trip_after_the_ramp_is_the_first_in_a_row() {
    let policy = fixed()
        .consecutive(1)
        .ramp(secs(10))
        .max_open_wait(secs(60));
    let (time, handle) = breaker(policy);
    finish(&handle, BAD);
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    // Admitted in the ramp, and fails long after it.
    let long = handle.admit().unwrap();
    time.advance(secs(1_000));
    long.finish(BAD);
    let wait = handle.admit().unwrap_err().retry_after().unwrap();
    assert_eq!(
        wait,
        secs(1),
        "trips in a row: {}",
        handle.snapshot().trips_in_a_row
    );
}

/// A clock that goes back by an hour does not keep it open for an hour, nor for less than its
/// wait.
#[test]
fn a_clock_that_goes_back() {
    let (time, handle) = breaker(fixed().consecutive(1));
    time.advance(secs(7_200));
    finish(&handle, BAD);
    time.rewind(secs(3_600));
    let wait = handle.admit().unwrap_err().retry_after().unwrap();
    assert_eq!(wait, secs(1));
    time.advance(secs(1) - Duration::from_nanos(1));
    assert!(handle.admit().is_err());
    time.advance(Duration::from_nanos(1));
    assert!(handle.admit().is_ok());
}

/// Two threads may tell of two changes in either order: the numbers say which was first.
#[test]
fn events_say_what_came_first() {
    let time = ManualClock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&told);
    let listener = move |_: &Source<'_>, event: &Event<'_>| {
        if let Event::Transition(change) = event {
            list.lock()
                .unwrap()
                .push((change.number, change.from, change.to));
        }
    };
    let setup = Setup::new()
        .with_clock(time.clock())
        .with_listener(listener);
    let policy = Policy::builder()
        .consecutive(1)
        .jitter(Ratio::ZERO)
        .open_wait(Duration::from_nanos(1))
        .max_open_wait(Duration::from_nanos(1))
        .close_after(CloseAfter::Successes(1));
    let handle = CircuitBreakerLayer::with(policy.build().unwrap(), setup).handle();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (handle, time) = (&handle, &time);
            scope.spawn(move || {
                for n in 0..20_000 {
                    time.advance(Duration::from_nanos(1));
                    if let Ok(permit) = handle.admit() {
                        permit.finish(if (n + thread) % 3 == 0 {
                            BAD
                        } else {
                            Outcome::Success
                        });
                    }
                }
            });
        }
    });
    let mut told = told.lock().unwrap();
    told.sort_unstable_by_key(|(number, ..)| *number);
    let numbers = told.iter().map(|(number, ..)| *number);
    assert!(numbers.eq(1..=told.len() as u64));
    let broken = told
        .windows(2)
        .filter(|pair| pair[0].2 != pair[1].1)
        .count();
    let trips = told
        .iter()
        .filter(|(.., to)| *to == CircuitState::Open)
        .count() as u64;
    assert_eq!(trips, handle.snapshot().trips);
    assert_eq!(handle.snapshot().in_flight, 0);
    assert_eq!(broken, 0, "of {} events", told.len());
}

/// A report names the order of an operator, whichever it is.
#[test]
fn a_report_names_the_order() {
    let registry = Registry::new();
    let setup = Setup::new().in_registry(&registry);
    let layer = CircuitBreakerLayer::with(Policy::consecutive(1).unwrap(), setup);
    let mut seen = Vec::new();
    for mode in [
        Mode::Normal,
        Mode::Dark,
        Mode::ForcedOpen,
        Mode::ForcedClosed,
        Mode::Disabled,
    ] {
        layer.handle().set_mode(mode);
        let report = registry.reports().remove(0);
        let order = report.value("override").cloned();
        assert_eq!(
            order == Some("none".into()),
            mode == Mode::Normal,
            "{mode:?}"
        );
        assert!(!seen.contains(&order), "{order:?}");
        seen.push(order);
    }
}
