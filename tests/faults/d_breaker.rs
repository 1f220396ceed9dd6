//! D. What opens a breaker and what closes it, through the whole layer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower::Layer;
use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, CloseAfter, Handle, Policy, PolicyBuilder, Reason,
    Transition,
};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::{AsRejection, Ratio, RejectionKind, Setup, key};

use crate::support::{BROKEN, call, inner, ms, request, secs};

pub(crate) const BAD: Outcome = Outcome::Failure(Failure::Transient);

pub(crate) fn policy() -> PolicyBuilder {
    let policy = Policy::builder().consecutive(1).jitter(Ratio::ZERO);
    policy.open_wait(secs(1)).max_open_wait(secs(1))
}

fn breaker(policy: PolicyBuilder) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = CircuitBreakerLayer::with(policy.build().unwrap(), setup);
    (time, layer.handle())
}

pub(crate) fn finish(handle: &Handle, outcome: Outcome) {
    handle.admit().unwrap().finish(outcome);
}

/// Half-open, and nobody probes yet.
pub(crate) fn half_open(policy: PolicyBuilder) -> (ManualClock, Handle) {
    let (time, handle) = breaker(policy);
    finish(&handle, BAD);
    time.advance(secs(1));
    (time, handle)
}

pub(crate) fn assert_state(handle: &Handle, state: CircuitState) {
    assert_eq!(handle.snapshot().state, state);
}

#[test]
fn fault_033_no_end_is_lost_or_counted_twice_when_slots_change() {
    let policy = Policy::builder()
        .time_window(secs(1))
        .failure_ratio(Ratio::ONE);
    let policy = policy.minimum_calls(1_000_000);
    let (time, handle) = breaker(policy);
    let ended = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for bad in [true, false, true, false] {
            let (handle, ended) = (&handle, &ended);
            scope.spawn(move || {
                for _ in 0..20_000 {
                    finish(handle, if bad { BAD } else { Outcome::Success });
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Nine slots in all: the window still covers everything.
        for _ in 0..8 {
            let before = ended.load(Ordering::Relaxed);
            while ended.load(Ordering::Relaxed) < (before + 5_000).min(80_000) {
                std::thread::yield_now();
            }
            time.advance(ms(100));
        }
    });
    let window = handle.snapshot().time_window.unwrap();
    assert_eq!((window.calls, window.failures), (80_000, 40_000));
    time.advance(secs(2));
    assert_eq!(handle.snapshot().time_window.unwrap().calls, 0);
}

#[test]
fn fault_034_each_transition_is_told_once() {
    let told = Arc::new(log::List::default());
    let time = ManualClock::new();
    let listener = {
        let told = Arc::clone(&told);
        move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Transition(change) = event {
                told.push(*change);
            }
        }
    };
    let setup = Setup::new()
        .with_clock(time.clock())
        .with_listener(listener);
    let policy = policy().probes(2).close_after(CloseAfter::Successes(1));
    let handle = CircuitBreakerLayer::with(policy.build().unwrap(), setup).handle();
    for round in 1..=50 {
        let barrier = std::sync::Barrier::new(4);
        let admitted = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // All fail at once.
                    let permit = handle.admit();
                    barrier.wait();
                    permit.unwrap().finish(BAD);
                    assert!(handle.admit().is_err());
                    if barrier.wait().is_leader() {
                        time.advance(secs(1));
                    }
                    barrier.wait();
                    // And all want to probe at once.
                    let permit = handle.admit();
                    admitted.fetch_add(permit.is_ok().into(), Ordering::Relaxed);
                    barrier.wait();
                    if let Ok(permit) = permit {
                        permit.finish(Outcome::Success);
                    }
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 2, "round {round}");
        let states = [
            CircuitState::Open,
            CircuitState::HalfOpen,
            CircuitState::Closed,
        ];
        let seen: Vec<_> = told
            .take()
            .iter()
            .map(|change: &Transition| change.to)
            .collect();
        assert_eq!(seen, states, "round {round}");
    }
}

/// A list that a listener of a test can push to.
mod log {
    use std::sync::Mutex;
    use tower_keep::circuit_breaker::Transition;

    #[derive(Default)]
    pub(super) struct List(Mutex<Vec<Transition>>);

    impl List {
        pub(super) fn push(&self, change: Transition) {
            self.0.lock().unwrap().push(change);
        }
        pub(super) fn take(&self) -> Vec<Transition> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }
}

#[test]
fn fault_042_what_was_admitted_under_an_older_state_changes_nothing() {
    let (time, handle) = breaker(policy().close_after(CloseAfter::Successes(1)));
    let calls: Vec<_> = (0..20).map(|_| handle.admit().unwrap()).collect();
    let mut calls = calls.into_iter();
    let mut late = |outcome| calls.next().unwrap().finish(outcome);
    late(BAD);
    let before = handle.snapshot();
    late(BAD);
    late(Outcome::Success);
    assert_eq!(handle.snapshot().next_probe, before.next_probe, "open");
    time.advance(secs(1));
    let probe = handle.admit().unwrap();
    late(BAD);
    late(Outcome::Success);
    assert_state(&handle, CircuitState::HalfOpen);
    probe.finish(Outcome::Success);
    for _ in 0..5 {
        late(BAD);
    }
    assert_state(&handle, CircuitState::Closed);
    assert_eq!(
        (handle.snapshot().consecutive, handle.snapshot().late),
        (0, 9)
    );
}

#[test]
fn fault_045_below_the_minimum_nothing_opens() {
    let share = Policy::builder()
        .failure_ratio(Ratio::percent(1))
        .minimum_calls(10);
    for policy in [share.count_window(50), share.time_window(secs(10))] {
        let (_time, handle) = breaker(policy);
        for _ in 0..9 {
            finish(&handle, BAD);
        }
        assert_state(&handle, CircuitState::Closed);
        // It is the tenth call that decides, and not the way it ends.
        finish(&handle, Outcome::Success);
        assert_state(&handle, CircuitState::Open);
        let opened = handle.snapshot().opened.unwrap();
        assert_eq!(
            (opened.reason, opened.calls, opened.failures),
            (Reason::FailureRatio, 10, 9)
        );
    }
}

#[test]
fn fault_046_ten_million_calls_in_one_window() {
    let calls: u64 = if cfg!(debug_assertions) {
        300_000
    } else {
        10_000_000
    };
    let share = Policy::builder()
        .failure_ratio(Ratio::ONE)
        .slow_ratio(Ratio::ONE);
    let (_time, handle) = breaker(share.time_window(secs(10)).count_window(1_000));
    let end = |n: u64| {
        let bad = n.is_multiple_of(10);
        finish(&handle, if bad { BAD } else { Outcome::Success });
    };
    (0..10_000).for_each(end);
    let allocated = allocation_counter::measure(|| (0..calls).for_each(end));
    assert_eq!(
        allocated.count_total, 0,
        "memory does not depend on the calls"
    );
    assert_eq!(handle.snapshot().time_window.unwrap().calls, calls + 10_000);
}

/// A peer needs as many failures as there were successes.
#[test]
fn fault_046_the_window_slides_over_a_long_past() {
    let half = Policy::builder()
        .failure_ratio(Ratio::percent(50))
        .count_window(100);
    let (_time, handle) = breaker(half);
    for _ in 0..10_000 {
        finish(&handle, Outcome::Success);
    }
    for _ in 0..49 {
        finish(&handle, BAD);
    }
    assert_state(&handle, CircuitState::Closed);
    finish(&handle, BAD);
    assert_state(&handle, CircuitState::Open);
}

fn keyed(policy: PolicyBuilder) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let policy = policy.build().unwrap();
    let by = key::value(|n: &u32| Some(*n));
    (
        time,
        CircuitBreakerLayer::keyed_with(policy, by, setup).handle(),
    )
}

#[test]
fn fault_051_a_flood_of_keys_evicts_no_penalty() {
    let by = key::value(|n: &u32| Some(*n));
    let (time, handle) = keyed(
        policy()
            .max_keys(8)
            .open_wait(secs(50))
            .max_open_wait(secs(50)),
    );
    for n in 0..4 {
        handle.admit_for(&by, &n).unwrap().finish(BAD);
    }
    for n in 100..10_000 {
        if n % 1_000 == 0 {
            time.advance(secs(1));
        }
        handle.admit_for(&by, &n).unwrap().finish(Outcome::Success);
        assert!(handle.snapshot().keys <= 8);
    }
    for n in 0..4 {
        assert!(handle.admit_for(&by, &n).is_err(), "{n} has got away");
    }
    assert!(handle.snapshot().keys_evicted > 9_000);
    assert_eq!(handle.snapshot().not_closed, 4);
    // Who finds no room shares a circuit, and is still protected.
    let (_time, handle) = keyed(policy().max_keys(1));
    handle.admit_for(&by, &1).unwrap().finish(BAD);
    handle.admit_for(&by, &2).unwrap().finish(BAD);
    assert!(handle.admit_for(&by, &3).is_err());
    assert_eq!(handle.snapshot().keys_overflowed, 2);
}

#[test]
fn fault_007_an_open_breaker_does_not_wait_for_readiness() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = CircuitBreakerLayer::with(policy().build().unwrap(), setup);
    let (probe, script, watch) = inner(&time);
    let mut service = layer.layer(probe);
    script.then_call(Call::error(BROKEN));
    assert!(
        Hand::new(call(&mut service, request("a")))
            .poll()
            .is_ready()
    );
    script.then_ready(tower_keep::test_util::Ready::Never);
    let asked = watch.counts().ready_polls;
    let refused = Hand::new(call(&mut service, request("a"))).poll();
    let std::task::Poll::Ready(Err(error)) = refused else {
        panic!("it waits");
    };
    let rejection = error.as_rejection().unwrap();
    assert_eq!(
        (rejection.kind(), rejection.retry_after()),
        (RejectionKind::Open, Some(secs(1)))
    );
    assert_eq!(watch.counts().ready_polls, asked);
    // The wait is over: who comes waits for its service.
    time.advance(secs(1));
    let mut fresh = service.clone();
    assert!(
        Hand::new(call(&mut fresh, request("a")))
            .poll()
            .is_pending()
    );
    watch.assert_lawful();
}
