//! A limit that is learnt from a server's answers.

use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::Response;
use tower::{Layer, Service};
use tower_keep::classify::{Failure, Http, Outcome};
use tower_keep::deadline::Deadline;
use tower_keep::event::{Event, Source};
use tower_keep::test_util::{Call, Hand, ManualClock, ScriptBody, finish_on};
use tower_keep::throttle::learned::{Handle, LearnedLayer, Policy};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::{AsRejection, Override, RejectionKind, Setup, key};

use crate::support::{inner, ms, request, response, secs};

const TOO_MUCH: Outcome = Outcome::Failure(Failure::Overload { retry_after: None });

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

fn handle(time: &ManualClock) -> Handle {
    LearnedLayer::with(Policy::default(), Http, setup(time)).handle()
}

fn answered(time: &ManualClock, status: u16) -> Response<ScriptBody> {
    response(time, status, [])
}

/// The end of a future that was polled before.
fn finish<F: Future>(time: &ManualClock, mut hand: Hand<F>) -> F::Output {
    loop {
        let seen = hand.wakes();
        if let Poll::Ready(output) = hand.poll() {
            return output;
        }
        while hand.wakes() == seen {
            time.set(time.next_due().unwrap());
        }
    }
}

/// The server says no to what is more than this a second.
fn server(time: &ManualClock, permits: u32) -> throttle::Handle {
    let policy = throttle::Policy::builder().rate(permits, secs(1));
    let policy = policy.burst(permits / 10).build().unwrap();
    ThrottleLayer::with(policy, setup(time)).handle()
}

/// A client that wants three times what the server allows, and after a minute it
/// allows a third: what it sends too much, and what is served, in these seconds.
fn run(time: &ManualClock, client: Option<&Handle>) -> [(u64, u64); 2] {
    let server = server(time, 100);
    let mut sums = [(0, 0); 2];
    for (permits, (wrong, right)) in [100, 33].into_iter().zip(&mut sums) {
        let rate = server.policy().to_builder().rate(permits, secs(1));
        server.update(rate.build().unwrap());
        for tick in 0..60 * 300 {
            time.advance(Duration::from_nanos(1_000_000_000 / 300));
            let permit = match client {
                Some(client) => match client.admit() {
                    Ok(permit) => Some(permit),
                    Err(_) => continue,
                },
                None => None,
            };
            let served = server.admit(1).is_ok();
            if let Some(permit) = permit {
                permit.finish(if served { Outcome::Success } else { TOO_MUCH });
            }
            // The first ten seconds are for learning.
            if tick >= 10 * 300 {
                *(if served { &mut *right } else { &mut *wrong }) += 1;
            }
        }
    }
    sums
}

#[test]
fn a_server_is_asked_as_fast_as_it_allows() {
    let time = ManualClock::new();
    for (wrong, right) in run(&time, None) {
        assert!(wrong > right, "{wrong} of {right} without the layer");
    }
    let client = handle(&time);
    for ((wrong, right), limit) in run(&time, Some(&client)).into_iter().zip([100, 33]) {
        let all = 50 * limit;
        assert!(right >= all * 4 / 5, "{right} of {all} served");
        assert!(wrong <= all / 20, "{wrong} too much of {all}");
    }
    let pace = client.snapshot().pace;
    let interval = pace.interval.unwrap();
    assert!((ms(10)..ms(60)).contains(&interval), "{pace:?}");
    assert!((20..50).contains(&pace.sent_per_second), "{pace:?}");
}

/// Until a server says no nothing is refused, whatever else goes wrong.
#[test]
fn nothing_is_learnt_from_other_ends() {
    let time = ManualClock::new();
    let handle = handle(&time);
    let others = [
        Outcome::Success,
        Outcome::Neutral,
        Outcome::Cancelled,
        Outcome::Failure(Failure::Transient),
        Outcome::Failure(Failure::Timeout),
        Outcome::Failure(Failure::Permanent),
        Outcome::Failure(Failure::Panic),
    ];
    for outcome in others.into_iter().cycle().take(10_000) {
        handle.admit().unwrap().finish(outcome);
        time.advance(Duration::from_micros(10));
    }
    drop(handle.admit().unwrap());
    let snapshot = handle.snapshot();
    assert_eq!(snapshot.pace.interval, None);
    assert_eq!((snapshot.admitted, snapshot.rejected), (10_001, 0));
    assert_eq!((snapshot.in_flight, snapshot.too_much), (0, 0));
}

/// A hundred requests are under way when the server says no to all of them: that is
/// one answer, not a hundred.
#[test]
fn answers_of_one_moment_count_once() {
    let time = ManualClock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let told = Arc::clone(&told);
        move |source: &Source<'_>, event: &Event<'_>| {
            if let Event::Paced(interval) = event {
                told.lock().unwrap().push((source.pattern, *interval));
            }
        }
    };
    let setup = setup(&time).with_listener(listener);
    let handle = LearnedLayer::with(Policy::default(), Http, setup).handle();
    let permits: Vec<_> = (0..100).map(|_| handle.admit().unwrap()).collect();
    time.advance(ms(30));
    for permit in permits {
        permit.finish(TOO_MUCH);
    }
    // Two hundred a second, as a burst of half a second, and seven tenths of it.
    let interval = handle.snapshot().pace.interval.unwrap();
    assert_eq!(interval, Duration::from_secs_f64(1.0 / 140.0));
    assert_eq!(*told.lock().unwrap(), [("throttle_learned", interval)]);
    assert_eq!(handle.snapshot().too_much, 100);
    // The next one is refused, for so long.
    let refused = handle.admit().unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Throttled);
    let wait = refused.retry_after().unwrap();
    assert!(wait <= interval && wait > interval * 9 / 10, "{wait:?}");
    // A later request's answer is news.
    time.advance(secs(1));
    handle.admit().unwrap().finish(TOO_MUCH);
    assert!(handle.snapshot().pace.interval.unwrap() > interval);
}

/// Each server by itself; a flood of others forgets none that was asked lately.
#[test]
fn servers_are_learnt_apart() {
    let time = ManualClock::new();
    let by = key::value(|n: &u64| Some(*n));
    let policy = Policy::builder().max_keys(4).build().unwrap();
    let handle = LearnedLayer::keyed_with(policy, Http, by, setup(&time)).handle();
    handle.admit_for(&by, &1).unwrap().finish(TOO_MUCH);
    assert!(handle.admit_for(&by, &1).is_err());
    assert!(handle.admit_for(&by, &2).is_ok());
    assert!(handle.admit().is_ok());
    let pace = handle.pace_of(&by, &1);
    assert!(pace.interval.is_some());
    assert_eq!(handle.pace_of(&by, &2).interval, None);
    for n in 10..1_000 {
        drop(handle.admit_for(&by, &n));
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.keys, snapshot.max_keys), (4, 4));
    assert!(snapshot.keys_overflowed > 0);
    assert_eq!(handle.pace_of(&by, &1), pace);
    // Nobody has asked for a minute.
    time.advance(secs(120));
    for n in 2_000..2_100 {
        drop(handle.admit_for(&by, &n));
    }
    assert_eq!(handle.pace_of(&by, &1).interval, None);
    assert!(handle.snapshot().keys_evicted > 0);
}

/// Waiting requests go out in order, at their times; one that is dropped gives its
/// place back.
#[test]
fn too_early_is_waited_for() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let policy = Policy::builder().max_wait(secs(5)).build().unwrap();
    let layer = LearnedLayer::with(policy, Http, setup(&time)).waiting();
    let handle = layer.handle();
    let mut service = layer.layer(probe);
    script.then_call(Call::respond(answered(&time, 429)));
    let first = finish_on(&time, service.call(request("a")))
        .unwrap()
        .unwrap();
    assert_eq!(first.status(), 429);
    // One in a half second was sent, that is two a second.
    let step = handle.snapshot().pace.interval.unwrap();
    let mut waits: Vec<_> = (0..3)
        .map(|_| Hand::new(service.call(request("a"))))
        .collect();
    for hand in &mut waits {
        assert!(hand.poll().is_pending());
    }
    drop(waits.pop());
    assert_eq!(handle.snapshot().abandoned, 1);
    let before = time.clock().now();
    for hand in waits {
        let polled = finish(&time, hand).unwrap();
        assert_eq!(polled.status(), 200);
    }
    let past = time.clock().now().saturating_since(before);
    assert!(
        past > step * 19 / 10 && past < step * 21 / 10,
        "{past:?} of {step:?}"
    );
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.waited, snapshot.admitted), (2, 3));
    watch.assert_quiet();
    // A deadline that comes before is not waited for.
    let late = Deadline::after(&time.clock(), ms(1));
    let call = late.scope(|| service.call(request("a")));
    let refused = finish_on(&time, call).unwrap().unwrap_err();
    assert_eq!(
        refused.as_rejection().unwrap().kind(),
        RejectionKind::Throttled
    );
}

/// Those who wait hear of an order at once, and so does who comes.
#[test]
fn orders_are_obeyed() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = LearnedLayer::with(Policy::default(), Http, setup(&time)).waiting();
    let handle = layer.handle();
    let mut service = layer.layer(probe);
    script.then_call(Call::respond(answered(&time, 429)));
    finish_on(&time, service.call(request("a")))
        .unwrap()
        .unwrap();
    for (order, passes) in [(Override::Bypass, true), (Override::Close, false)] {
        let mut waiting = Hand::new(service.call(request("a")));
        assert!(waiting.poll().is_pending());
        let before = time.clock().now();
        handle.set_override(order);
        assert_eq!(finish(&time, waiting).is_ok(), passes);
        let now = finish_on(&time, service.call(request("a"))).unwrap();
        assert_eq!(now.is_ok(), passes);
        assert_eq!(time.clock().now(), before, "without waiting");
        handle.set_override(Override::None);
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.bypassed, snapshot.rejected), (2, 2));
    // Bounds of waits change while it runs; what was learnt stays.
    let pace = snapshot.pace;
    handle.update(Policy::builder().max_wait(ms(1)).build().unwrap());
    assert!(
        finish_on(&time, service.call(request("a")))
            .unwrap()
            .is_err()
    );
    assert_eq!(handle.snapshot().pace.interval, pace.interval);
}

#[test]
fn a_policy_from_a_file() {
    let policy = Policy::builder().max_wait(ms(300)).max_keys(7);
    let text = "max_wait = \"300ms\"\nmax_keys = 7";
    assert_eq!(toml::from_str(text), Ok(policy.build().unwrap()));
    assert_eq!(toml::from_str(""), Ok(Policy::default()));
    for (bad, why) in [
        ("max_keys = 0", "max_keys"),
        ("max_wait = \"0s\"", "max_wait"),
    ] {
        let error = toml::from_str::<Policy>(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let leased = "permits = 5\nmode = \"leased\"";
    let policy = throttle::Policy::builder().rate(5, secs(1));
    let policy = policy.mode(throttle::Mode::Leased).build().unwrap();
    assert_eq!(toml::from_str(leased), Ok(policy));
    assert_eq!(policy.to_builder().build(), Ok(policy));
}
