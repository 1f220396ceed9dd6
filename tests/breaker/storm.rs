//! Callers, an operator and a clock that goes both ways, all at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, CloseAfter, Handle, Kind, Mode, Policy, PolicyBuilder,
};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::key::{self, Key};
use tower_keep::policy::LONGEST;
use tower_keep::test_util::ManualClock;
use tower_keep::{Ratio, Setup};

use crate::behaviour::{BAD, breaker, finish, fixed};
use crate::random::Random;
use crate::support::{full_scale, ms, secs};

fn by() -> impl Key<u64> {
    key::value(|which: &u64| Some(*which))
}

fn policies() -> Vec<Policy> {
    let half = Ratio::percent(50);
    let windows = fixed().time_window(secs(1)).count_window(50);
    let all = [
        fixed().consecutive(3),
        fixed().consecutive(2).probes(1).ramp(secs(3)),
        windows.failure_ratio(half).minimum_calls(5),
        windows
            .slow_ratio(half)
            .slow_threshold(ms(16))
            .slow_minimum_calls(5),
        fixed()
            .recent(3, 9)
            .close_after(CloseAfter::Ratio(4))
            .probe_timeout(ms(5)),
        Policy::builder()
            .kind(Kind::ClientThrottle)
            .time_window(secs(1)),
        Policy::builder().kind(Kind::Ewma).time_window(secs(1)),
    ];
    all.map(|policy: PolicyBuilder| policy.max_keys(8).build().unwrap())
        .to_vec()
}

fn caller(handle: &Handle, keyed: bool, seed: u64, admitted: &AtomicU64) {
    let mut random = Random::new(seed);
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let which = random.below(20);
        let got = match keyed {
            true => handle.admit_for(&by(), &which),
            false => handle.admit(),
        };
        if let Ok(permit) = got {
            admitted.fetch_add(1, Ordering::Relaxed);
            held.push(permit);
        }
        if held.len() > 3 {
            let permit = held.swap_remove(usize::try_from(random.below(4)).unwrap());
            let retry_after = Some(secs(random.below(3)));
            match random.below(6) {
                0 | 1 => permit.finish(Outcome::Success),
                2 => permit.finish(BAD),
                3 => permit.finish(Outcome::Failure(Failure::Overload { retry_after })),
                4 => permit.finish(Outcome::Neutral),
                _ => drop(permit),
            }
        }
    }
}

fn operator(handle: &Handle, time: &ManualClock, seed: u64, stop: &AtomicBool) {
    let (mut random, policies) = (Random::new(seed), policies());
    let modes = [
        Mode::Normal,
        Mode::Dark,
        Mode::ForcedOpen,
        Mode::ForcedClosed,
        Mode::Disabled,
    ];
    while !stop.load(Ordering::Relaxed) {
        match random.below(12) {
            0 => handle.reset(),
            1 => handle.drain_probes(),
            2 => handle.update(policies[usize::try_from(random.below(7)).unwrap()]),
            3 => handle.set_mode(modes[usize::try_from(random.below(5)).unwrap()]),
            4 => handle.set_mode(Mode::Normal),
            5 => time.rewind(ms(random.below(500))),
            6 => time.advance(ms(random.below(3_000))),
            7 => assert!(handle.snapshot().keys <= 8),
            _ => time.advance(ms(random.below(5))),
        }
        std::thread::yield_now();
    }
}

/// Every admission ends once, whatever happens meanwhile, and nothing is stuck after it.
#[test]
fn nothing_is_lost_in_a_storm() {
    let mut evicted = 0;
    for seed in 1..=full_scale(200, 14) {
        let keyed = seed % 2 == 0;
        let time = ManualClock::new();
        let mut setup = Setup::new().with_clock(time.clock());
        if seed % 3 == 0 {
            setup = setup.with_listener(|_: &Source<'_>, _: &Event<'_>| {});
        }
        let policy = policies()[usize::try_from(seed).unwrap() % 7];
        let handle = match keyed {
            true => CircuitBreakerLayer::keyed_with(policy, by(), setup).handle(),
            false => CircuitBreakerLayer::with(policy, setup).handle(),
        };
        let (admitted, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let callers = [1, 2, 3].map(|n| {
                let (handle, admitted) = (&handle, &admitted);
                scope.spawn(move || caller(handle, keyed, seed * 10 + n, admitted))
            });
            scope.spawn(|| operator(&handle, &time, seed, &stop));
            for caller in callers {
                caller.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let seen = handle.snapshot();
        let ended = seen.succeeded + seen.failed + seen.neutral + seen.cancelled;
        assert_eq!(
            (seen.in_flight, ended),
            (0, admitted.into_inner()),
            "seed {seed}"
        );
        assert_eq!(seen.probes, 0);
        if keyed {
            assert!(seen.keys <= 8);
            evicted += seen.keys_evicted;
            let open = handle.open_circuits().len() as u64;
            let common = u64::from(seen.state != CircuitState::Closed);
            assert_eq!(seen.not_closed, open + common, "seed {seed}");
        }
        works(&handle, &time, keyed);
    }
    assert!(evicted > 100, "{evicted}");
}

/// It opens, probes and closes as if nothing had been.
fn works(handle: &Handle, time: &ManualClock, keyed: bool) {
    handle.set_mode(Mode::Normal);
    handle.update(fixed().consecutive(1).max_keys(8).build().unwrap());
    handle.reset();
    let admit = || match keyed {
        true => handle.admit_for(&by(), &3),
        false => handle.admit(),
    };
    assert_eq!(handle.snapshot().not_closed, 0);
    admit().unwrap().finish(BAD);
    assert!(admit().is_err());
    time.advance(secs(1));
    admit().unwrap().finish(Outcome::Success);
    assert!((0..100).all(|_| {
        admit()
            .map(|permit| permit.finish(Outcome::Success))
            .is_ok()
    }));
}

/// Nobody holds a lock while somebody listens: a listener may look, and steer.
#[test]
fn a_listener_may_steer() {
    type Steer = fn(&Handle);
    let ways: [Steer; 6] = [
        |handle| handle.reset(),
        |handle| handle.drain_probes(),
        |handle| handle.update(fixed().consecutive(5).build().unwrap()),
        |handle| handle.set_mode(Mode::ForcedOpen),
        |handle| drop(handle.admit()),
        |handle| assert!(handle.snapshot().trips > 0),
    ];
    for steer in ways {
        let (time, own) = (ManualClock::new(), Arc::new(OnceLock::<Handle>::new()));
        let told = Arc::new(AtomicU64::new(0));
        let listener = {
            let (own, told) = (Arc::clone(&own), Arc::clone(&told));
            move |_: &Source<'_>, event: &Event<'_>| {
                if let (Event::Transition(_), Some(handle)) = (event, own.get()) {
                    told.fetch_add(1, Ordering::Relaxed);
                    steer(handle);
                }
            }
        };
        let setup = Setup::new()
            .with_clock(time.clock())
            .with_listener(listener);
        let policy = fixed().consecutive(1).probes(1).build().unwrap();
        let handle = CircuitBreakerLayer::with(policy, setup).handle();
        own.set(handle.clone()).unwrap();
        finish(&handle, BAD);
        time.advance(secs(1));
        let _ = handle.admit().map(|permit| permit.finish(Outcome::Success));
        assert!(told.load(Ordering::Relaxed) >= 1);
        assert_eq!(handle.snapshot().in_flight, 0);
    }
}

/// Each transition is made, whoever panics when it is told.
#[test]
fn a_listener_that_panics_changes_no_transition() {
    let time = ManualClock::new();
    let listener = |_: &Source<'_>, _: &Event<'_>| panic!("of a listener");
    let setup = Setup::new()
        .with_clock(time.clock())
        .with_listener(listener);
    let policy = fixed().consecutive(1).ramp(secs(10)).build().unwrap();
    let handle = CircuitBreakerLayer::with(policy, setup).handle();
    let state = || handle.snapshot().state;
    for round in 1..=5 {
        finish(&handle, BAD);
        assert_eq!(state(), CircuitState::Open);
        assert!(handle.admit().is_err());
        time.advance(secs(1));
        let probe = handle.admit().unwrap();
        assert_eq!(state(), CircuitState::HalfOpen);
        probe.finish(Outcome::Success);
        assert_eq!(state(), CircuitState::Closed);
        time.advance(secs(10));
        finish(&handle, Outcome::Success);
        assert_eq!(handle.snapshot().trips, round);
    }
    handle.reset();
    assert_eq!(handle.snapshot().in_flight, 0);
}

/// However long a server asks to be left alone.
#[test]
fn a_hostile_retry_after_is_bounded() {
    let asks = [
        std::time::Duration::MAX,
        secs(u64::MAX),
        std::time::Duration::from_nanos(u64::MAX),
        std::time::Duration::ZERO,
    ];
    for asked in asks {
        for most in [ms(1), secs(30), LONGEST] {
            let policy = fixed().consecutive(1).max_retry_after(most);
            let (time, handle) = breaker(policy);
            let retry_after = Some(asked);
            finish(&handle, Outcome::Failure(Failure::Overload { retry_after }));
            let wait = handle.admit().unwrap_err().retry_after().unwrap();
            assert!(
                wait >= secs(1) && wait <= most.max(secs(1)),
                "{asked:?} {most:?}"
            );
            time.advance(wait);
            assert!(handle.admit().is_ok());
            // A shorter leash is for those that are open, too.
            let (_time, handle) = breaker(policy);
            finish(&handle, Outcome::Failure(Failure::Overload { retry_after }));
            handle.update(policy.max_retry_after(ms(1)).build().unwrap());
            assert_eq!(handle.admit().unwrap_err().retry_after(), Some(secs(1)));
        }
    }
}
