//! Probes, and how they end.

use std::task::{Context, Poll};
use std::time::Duration;

use tower::Layer;
use tower_keep::circuit_breaker::{
    CircuitBreaker, CircuitBreakerLayer, CircuitState, CloseAfter, Handle, Permit,
};
use tower_keep::classify::Outcome;
use tower_keep::test_util::{Broken, Hand, ManualClock};
use tower_keep::{AsRejection, Error, Ratio, RejectionKind, Setup, key};

use crate::behaviour::{BAD, breaker, finish, fixed, state};
use crate::support::{ms, secs};

/// No probe's number looks like a state.
#[test]
fn the_second_probe_counts_after_an_update() {
    let policy = fixed()
        .consecutive(1)
        .probes(2)
        .close_after(CloseAfter::Successes(2));
    let (time, handle) = breaker(policy);
    finish(&handle, BAD);
    // The operator is more patient from now on.
    handle.update(policy.consecutive(5).build().unwrap());
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    finish(&handle, Outcome::Success);
    let seen = handle.snapshot();
    assert_eq!((seen.state, seen.probes), (CircuitState::Closed, 0));
}

/// Nor without an update.
#[test]
fn every_probe_counts() {
    let policy = fixed()
        .failure_ratio(Ratio::percent(50))
        .minimum_calls(1)
        .time_window(secs(1))
        .probes(1);
    let (time, handle) = breaker(policy);
    for round in 1..=70 {
        finish(&handle, BAD);
        time.advance(secs(2));
        finish(&handle, Outcome::Success);
        let seen = handle.snapshot();
        assert_eq!(
            (seen.state, seen.probes),
            (CircuitState::Closed, 0),
            "round {round}"
        );
    }
}

/// A late good end of another thread, at the very moment of a trip, costs no probe its
/// verdict.
#[test]
fn fault_041_threads_lose_no_probe() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut lost = 0;
    for _ in 0..300 {
        let policy = fixed()
            .consecutive(1)
            .probes(2)
            .close_after(CloseAfter::Successes(2));
        let (time, handle) = breaker(policy);
        let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    match handle.admit() {
                        Ok(permit) => permit.finish(Outcome::Success),
                        Err(_) => break,
                    }
                    n += 1;
                    if n == 5 {
                        ready.store(true, Ordering::Relaxed);
                    }
                }
            });
            while !ready.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            finish(&handle, BAD);
            stop.store(true, Ordering::Relaxed);
        });
        time.advance(secs(1));
        finish(&handle, Outcome::Success);
        finish(&handle, Outcome::Success);
        let seen = handle.snapshot();
        lost += u32::from((seen.state, seen.probes) == (CircuitState::HalfOpen, 1));
    }
    assert_eq!(lost, 0, "of 300");
}

/// A probe that has lost its place changes nothing, though nobody else has taken it.
#[test]
fn fault_041_a_late_probe_changes_nothing() {
    for end in [Outcome::Success, BAD] {
        let (time, handle) = breaker(fixed().consecutive(1).probe_timeout(secs(10)));
        finish(&handle, BAD);
        time.advance(secs(1));
        let probe = handle.admit().unwrap();
        time.advance(secs(3_600));
        probe.finish(end);
        let seen = handle.snapshot();
        assert_eq!(
            (seen.state, seen.late),
            (CircuitState::HalfOpen, 1),
            "{end:?}"
        );
    }
}

/// What has come back half may hang again.
#[test]
fn calls_in_flight_count_in_a_ramp() {
    let policy = fixed()
        .slow_ratio(Ratio::percent(50))
        .slow_minimum_calls(4)
        .slow_threshold(ms(160))
        .ramp(secs(100));
    let (time, handle) = breaker(policy);
    for _ in 0..4 {
        let slow = handle.admit().unwrap();
        time.advance(ms(200));
        slow.finish(Outcome::Success);
    }
    assert_eq!(state(&handle), CircuitState::Open);
    time.advance(secs(1));
    finish(&handle, Outcome::Success);
    assert!(handle.snapshot().ramping);
    let hanging: Vec<Permit> = (0..100).filter_map(|_| handle.admit().ok()).collect();
    assert_eq!(hanging.len(), 10);
    for _ in 0..10 {
        time.advance(secs(1));
        drop(handle.admit());
    }
    assert_eq!(handle.snapshot().trips, 2);
}

/// An update of the threshold counts at once.
#[test]
fn calls_in_flight_count_by_the_new_threshold() {
    let policy = fixed().slow_ratio(Ratio::percent(50)).slow_minimum_calls(4);
    let (time, handle) = breaker(policy.slow_threshold(secs(1600)));
    finish(&handle, Outcome::Success);
    handle.update(policy.slow_threshold(ms(160)).build().unwrap());
    let _hanging: Vec<Permit> = (0..8).map(|_| handle.admit().unwrap()).collect();
    for _ in 0..10 {
        time.advance(secs(1));
        drop(handle.admit());
    }
    assert_eq!(handle.snapshot().trips, 1);
}

/// A place that is lost is not shown as taken.
#[test]
fn lost_probes_are_not_under_way() {
    let (time, handle) = breaker(fixed().consecutive(1).probe_timeout(secs(10)).probes(1));
    finish(&handle, BAD);
    time.advance(secs(1));
    let _probe = handle.admit().unwrap();
    time.advance(secs(3_600));
    let seen = handle.snapshot();
    assert_eq!((seen.next_probe, seen.probes), (Some(Duration::ZERO), 0));
}

/// Is ready when it is asked for the second time, as a pool that connects.
#[derive(Clone)]
struct Connects(bool);

impl tower::Service<()> for Connects {
    type Response = ();
    type Error = Error<Broken>;
    type Future = std::future::Ready<Result<(), Error<Broken>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0 = !self.0;
        cx.waker().wake_by_ref();
        if self.0 {
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

fn connecting() -> (ManualClock, Handle, CircuitBreaker<Connects>) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = CircuitBreakerLayer::with(fixed().consecutive(1).build().unwrap(), setup);
    finish(&layer.handle(), BAD);
    (time, layer.handle(), layer.layer(Connects(false)))
}

fn drive(service: &mut CircuitBreaker<Connects>) -> Result<(), RejectionKind> {
    let mut hand = Hand::new(crate::support::call(service, ()));
    for _ in 0..5 {
        if let Poll::Ready(result) = hand.poll() {
            return result.map_err(|error| error.as_rejection().unwrap().kind());
        }
    }
    panic!("it waits for ever")
}

/// Who waits for readiness when the wait is over is a probe, and not told that he has not waited.
#[test]
fn the_first_call_after_the_wait_waits_for_its_service() {
    let (time, _, mut service) = connecting();
    time.advance(secs(5));
    assert_eq!(drive(&mut service), Ok(()));
}

/// Nor who has come all the time until then, however often.
#[test]
fn so_does_the_first_of_many() {
    for every in [ms(100), ms(1), Duration::from_micros(200)] {
        let (time, handle, mut service) = connecting();
        while handle.snapshot().next_probe != Some(Duration::ZERO) {
            assert_eq!(drive(&mut service), Err(RejectionKind::Open));
            time.advance(every);
        }
        assert_eq!(drive(&mut service), Ok(()), "{every:?}");
    }
}

/// Decided: for a service that many calls come to, nobody looks at the clock to see whether
/// the wait is over but the call itself. So after a sudden silence one of them finds that it
/// has not waited; only that one, and only of a service that is not ready at once.
#[test]
fn after_a_sudden_silence_one_call_has_not_waited() {
    for looks in [false, true] {
        let (time, handle, mut service) = connecting();
        for _ in 0..2 {
            assert_eq!(drive(&mut service), Err(RejectionKind::Open));
            time.advance(Duration::from_micros(20));
        }
        let mut fresh = service.clone();
        time.advance(secs(5));
        assert_eq!(drive(&mut service), Err(RejectionKind::NotReady));
        if looks {
            assert_eq!(handle.snapshot().next_probe, Some(Duration::ZERO));
        }
        assert_eq!(drive(&mut service), Ok(()));
        assert_eq!(drive(&mut fresh), Ok(()));
    }
}

/// A call that nobody has polled has not begun, probe or not, timed or not.
#[test]
fn a_call_that_was_never_polled_says_nothing() {
    use tower::Service;
    for policy in [
        fixed().consecutive(1),
        fixed().consecutive(1).slow_ratio(Ratio::ONE),
    ] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let layer = CircuitBreakerLayer::with(policy.build().unwrap(), setup);
        let handle = layer.handle();
        let (probe, _, _) = crate::support::inner(&time);
        let mut service = layer.layer(probe);
        let mut unpolled = || {
            assert!(crate::support::poll_ready(&mut service).is_ready());
            let unpolled = service.call(crate::support::request("a"));
            time.advance(secs(2));
            drop(unpolled);
        };
        unpolled();
        assert_eq!(
            (state(&handle), handle.snapshot().trips),
            (CircuitState::Closed, 0)
        );
        finish(&handle, BAD);
        time.advance(secs(1));
        unpolled();
        let seen = handle.snapshot();
        assert_eq!(
            (seen.state, seen.trips, seen.probes),
            (CircuitState::HalfOpen, 1, 0)
        );
    }
}

/// An open circuit refuses without asking the service whether it is ready.
#[test]
fn an_open_circuit_of_a_key_does_not_ask() {
    use tower::Service;
    use tower_keep::test_util::Ready;
    let by = key::value(|request: &http::Request<()>| Some(request.headers().len()));
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = fixed().consecutive(1).build().unwrap();
    let layer = CircuitBreakerLayer::keyed_with(policy, by, setup);
    let request = || crate::support::request("a");
    layer
        .handle()
        .admit_for(&by, &request())
        .unwrap()
        .finish(BAD);
    let (probe, script, _) = crate::support::inner(&time);
    let mut service = layer.layer(probe);
    script.then_ready(Ready::Never);
    let mut hand = Hand::new(service.call(request()));
    let Poll::Ready(Err(error)) = hand.poll() else {
        panic!("admitted")
    };
    assert_eq!(error.as_rejection().unwrap().kind(), RejectionKind::Open);
}

/// How long a probe takes nobody knows: no longer than the first wait is a good guess.
#[test]
fn a_refusal_beside_a_probe_is_not_for_its_timeout() {
    let (time, handle) = breaker(fixed().consecutive(1).probes(1).probe_timeout(secs(3600)));
    finish(&handle, BAD);
    time.advance(secs(1));
    let _probe = handle.admit().unwrap();
    let wait = handle.admit().unwrap_err().retry_after().unwrap();
    assert_eq!(wait, secs(1));
    let seen = handle.snapshot();
    assert_eq!(seen.next_probe, Some(secs(3600)), "at the latest");
}

/// Decided: a probe that never ends gives its place back and says nothing, so hanging ones
/// alone neither open nor close it: as many at once as there are places.
#[test]
fn fault_041_probes_that_hang_give_their_places_back() {
    let (time, handle) = breaker(fixed().consecutive(1).probes(3).probe_timeout(secs(10)));
    finish(&handle, BAD);
    time.advance(secs(1));
    let mut probes = Vec::new();
    for round in 1..=20 {
        probes.extend((0..9).filter_map(|_| handle.admit().ok()));
        assert_eq!(probes.len(), 3 * round);
        assert_eq!(state(&handle), CircuitState::HalfOpen);
        time.advance(secs(10));
    }
    assert_eq!(handle.snapshot().trips, 1);
}

/// Decided: nor does one that ends well after its place was lost. Calls that last want a
/// longer time for probes.
#[test]
fn fault_041_calls_that_last_want_a_longer_time_for_probes() {
    for (time_for_probes, expected) in [
        (secs(10), CircuitState::HalfOpen),
        (secs(13), CircuitState::Closed),
    ] {
        let policy = fixed().consecutive(1).probe_timeout(time_for_probes);
        let (time, handle) = breaker(policy);
        finish(&handle, BAD);
        time.advance(secs(1));
        for _ in 0..3 {
            let Ok(probe) = handle.admit() else { continue };
            time.advance(secs(12));
            probe.finish(Outcome::Success);
        }
        assert_eq!(state(&handle), expected);
    }
}

/// Decided: a probe that is dropped before the slow threshold gives its place back without a
/// verdict; after it, it has failed.
#[test]
fn fault_039_a_dropped_probe_is_judged_by_its_age() {
    for (age, expected) in [
        (ms(900), CircuitState::HalfOpen),
        (secs(1), CircuitState::Open),
    ] {
        let (time, handle) = breaker(fixed().consecutive(1).slow_threshold(secs(1)));
        finish(&handle, BAD);
        time.advance(secs(1));
        let probe = handle.admit().unwrap();
        time.advance(age);
        drop(probe);
        assert_eq!((state(&handle), handle.snapshot().probes), (expected, 0));
    }
}
