//! F. Retries.

use std::sync::Arc;
use std::task::Poll;

use http::{Method, Response};
use parking_lot::Mutex;
use proptest::prelude::*;
use tower::{Layer, ServiceBuilder};
use tower_keep::backoff::Backoff;
use tower_keep::budget::{self, Budget};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::clock::Tick;
use tower_keep::deadline::Deadline;
use tower_keep::event::{Event, Source};
use tower_keep::retry::{self, Again, Http, Idempotent, Policy, RetryLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Probe, Ready, Script, ScriptBody, finish_on};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{AsRejection, Override, Ratio, RejectionKind, Setup};

use crate::k_composition::setup;
use crate::support::cases::{Rig, by_count, permits};
use crate::support::watched::Watched;
use crate::support::{BROKEN, Fail, call, inner, ms, request, response, secs};

/// As many retries as the policy wants.
pub(super) fn boundless(setup: &Setup) -> Budget {
    let budget = Budget::with(budget::Policy::default(), setup.clone());
    budget.set_override(Override::Bypass);
    budget
}

fn attempts(most: u32) -> Policy {
    Policy::builder().max_attempts(most).build().unwrap()
}

/// The times at which attempts began.
type Begun = Arc<Mutex<Vec<Tick>>>;

#[test]
fn fault_063_sessions_do_not_retry_in_step() {
    let time = ManualClock::new();
    let begun = Begun::default();
    let backoff = Backoff::builder()
        .base(secs(10))
        .cap(secs(10))
        .build()
        .unwrap();
    let policy = attempts(2).to_builder().backoff(backoff).build().unwrap();
    let setup = setup(&time);
    let budget = boundless(&setup);
    let layer = RetryLayer::with_budget(policy, Idempotent::new(), budget, setup);
    let service = layer.layer(tower::service_fn({
        let (begun, clock) = (Arc::clone(&begun), time.clock());
        move |_: u32| {
            begun.lock().push(clock.now());
            std::future::ready(Err::<u32, _>(BROKEN))
        }
    }));
    let mut hands: Vec<_> = (0..1_000)
        .map(|n| {
            let mut service = service.clone();
            Hand::new(async move { call(&mut service, n).await })
        })
        .collect();
    let mut left: Vec<_> = hands
        .iter_mut()
        .filter_map(|h| h.poll().is_pending().then_some(h))
        .collect();
    begun.lock().clear();
    let start = time.now();
    while let Some(due) = time.next_due() {
        time.set(due);
        left.retain_mut(|hand| hand.poll().is_pending());
    }
    let begun = begun.lock();
    assert_eq!(begun.len(), 1_000);
    let mut bins = [0_u32; 100];
    for at in begun.iter() {
        let place = at.saturating_since(start).as_nanos() / ms(100).as_nanos();
        bins[usize::try_from(place).unwrap().min(99)] += 1;
    }
    let most = bins.iter().max().unwrap();
    assert!(*most <= 30, "a bin of 1 % has {most} of 1,000");
}

#[test]
fn fault_064_what_is_not_idempotent_is_sent_once() {
    let time = ManualClock::new();
    let answer = |status| Call::respond(response(&time, status, []));
    let lines: [Call<Response<ScriptBody>, Fail>; 6] = [
        Call::error(BROKEN),
        answer(500),
        answer(502),
        answer(503),
        answer(504),
        answer(408),
    ];
    for method in [Method::POST, Method::PATCH, Method::CONNECT] {
        for line in &lines {
            let mut rig = Rig::new(|setup| {
                let budget = boundless(&setup);
                let layer = RetryLayer::with_budget(attempts(4), Http::new(), budget, setup);
                let handle = layer.handle();
                (layer, handle)
            });
            rig.script.then_call(line.clone());
            let mut request = request("a");
            *request.method_mut() = method.clone();
            assert!(Hand::new(call(&mut rig.service, request)).poll().is_ready());
            assert_eq!(rig.watch.counts().calls, 1, "{method} {line:?}");
        }
    }
}

#[test]
fn fault_065_refusals_of_layers_inside_are_not_tried_again_unless_asked() {
    let time = ManualClock::new();
    let tries = |rules: Http| {
        let (probe, _, watch) = inner(&time);
        let bulkhead = BulkheadLayer::with(permits(1), setup(&time));
        let breaker = CircuitBreakerLayer::with(by_count(), setup(&time));
        let layer = RetryLayer::with(attempts(3), rules, setup(&time));
        let mut service = ServiceBuilder::new()
            .layer(breaker.clone())
            .layer(layer.clone())
            .layer(bulkhead.clone())
            .service(probe);
        let held = bulkhead.handle().admit().unwrap();
        let refused = finish_on(&time, call(&mut service, request("a"))).unwrap();
        let kind = refused.unwrap_err().as_rejection().unwrap().kind();
        assert_eq!(kind, RejectionKind::Full);
        drop(held);
        assert_eq!(watch.counts().calls, 0);
        let outside = breaker.handle().snapshot();
        assert_eq!((outside.failed, outside.neutral), (0, 1));
        layer.handle().snapshot().retried
    };
    assert_eq!(tries(Http::new()), 0);
    assert_eq!(tries(Http::new().also_refused(RejectionKind::Open)), 0);
    assert!(tries(Http::new().also_refused(RejectionKind::Full)) > 0);
    // An open circuit ends the attempts.
    let (probe, script, watch) = inner(&time);
    for _ in 0..3 {
        script.then_call(Call::error(BROKEN));
    }
    let breaker = CircuitBreakerLayer::with(
        tower_keep::circuit_breaker::Policy::consecutive(1).unwrap(),
        setup(&time),
    );
    let layer = RetryLayer::with(attempts(3), Http::new(), setup(&time));
    let mut service = layer.layer(breaker.layer(probe));
    let refused = finish_on(&time, call(&mut service, request("a"))).unwrap();
    let kind = refused.unwrap_err().as_rejection().unwrap().kind();
    assert_eq!((kind, watch.counts().calls), (RejectionKind::Open, 1));
}

#[test]
fn fault_066_a_service_that_fails_while_it_gets_ready_leaves_the_first_outcome() {
    let mut rig = Rig::new(|setup| {
        let layer = RetryLayer::with(attempts(4), Http::new(), setup);
        let handle = layer.handle();
        (layer, handle)
    });
    let first = Fail::Inner(tower_keep::test_util::Broken("the first"));
    rig.script.then_call(Call::error(first.clone()));
    rig.script.then_ready(Ready::Now);
    rig.script.then_ready(Ready::Pend(2));
    rig.script.then_ready(Ready::Error(BROKEN));
    let result = finish_on(&rig.time, call(&mut rig.service, request("a"))).unwrap();
    assert_eq!(result.map(drop), Err(first));
    assert_eq!(rig.handle.snapshot().not_ready, 1);
    rig.assert_quiet();
}

proptest! {
    /// Whatever it is made of: nothing begins past the deadline, and it ends there.
    #[test]
    fn fault_067_no_attempt_begins_past_the_deadline(left in 0_u64..2_000, base in 1_u64..500, work in 0_u64..400, most in 1_u32..8) {
        let time = ManualClock::new();
        let backoff = Backoff::builder().base(ms(base)).build().unwrap();
        let policy = attempts(most).to_builder().backoff(backoff).build().unwrap();
        let setup = setup(&time);
        let begun = Begun::default();
        let patience = timeout::Policy::builder().build().unwrap();
        let timeout = TimeoutLayer::with(patience, setup.clone());
        let retry = RetryLayer::with_budget(policy, Idempotent::new(), boundless(&setup), setup);
        let handle = retry.handle();
        let clock = time.clock();
        let into = Arc::clone(&begun);
        let mut service = timeout.clone().layer(retry.layer(timeout.layer(tower::service_fn(move |_: u32| {
            into.lock().push(clock.now());
            let done = clock.sleep_until(clock.now().saturating_add(ms(work)));
            async move {
                let _ = done.await;
                Err::<u32, _>(BROKEN)
            }
        }))));
        let due = time.now().saturating_add(ms(left));
        let result = finish_on(&time, Deadline::at(due).wrap(call(&mut service, 7)));
        prop_assert!(result.unwrap().is_err());
        prop_assert!(time.now() <= due);
        prop_assert!(begun.lock().iter().all(|at| *at < due || left == 0));
        prop_assert_eq!(handle.snapshot().in_flight, 0);
    }
}

#[test]
fn fault_068_an_attempt_that_timed_out_is_gone_before_the_next_begins() {
    let time = ManualClock::new();
    let script = Script::<u32, Fail>::new(&time, Call::never());
    let probe = Probe::new(script);
    let watch = probe.watch();
    let each = TimeoutLayer::with(timeout::Policy::attempt(ms(100)).unwrap(), setup(&time));
    let layer = RetryLayer::with(attempts(3), Idempotent::new(), setup(&time));
    let mut service = layer.layer(each.layer(probe));
    let result = finish_on(&time, call(&mut service, 7)).unwrap();
    let kind = result.unwrap_err().as_rejection().unwrap().kind();
    assert_eq!(kind, RejectionKind::Timeout);
    let counts = watch.counts();
    assert_eq!(
        (counts.calls, counts.most_in_flight, counts.dropped),
        (3, 1, 3)
    );
    watch.assert_quiet();
}

#[test]
fn fault_001_dropped_at_any_poll_between_attempts() {
    let policy = budget::Policy::in_flight(Ratio::ONE, 2).unwrap();
    let mut most = 0;
    for polls in 0..40 {
        let rig = Rig::new(|setup| {
            let budget = Budget::with(policy, setup.clone());
            let layer = RetryLayer::with_budget(attempts(3), Http::new(), budget, setup);
            let handle = layer.handle();
            (layer, handle)
        });
        // The calls ask one after the other, and then their retries.
        for _ in 0..4 {
            rig.script.then_ready(Ready::Now);
        }
        for _ in 0..2 {
            rig.script.then_call(Call::error(BROKEN).pending(2));
            rig.script.then_ready(Ready::Pend(2));
        }
        let mut hands = Vec::new();
        for _ in 0..4 {
            let mut service = rig.service.clone();
            hands.push(Hand::new(tower::Service::call(&mut service, request("a"))));
        }
        for _ in 0..polls {
            // Whatever they wait for comes.
            if let Some(due) = rig.time.next_due() {
                rig.time.set(due);
            }
            hands.retain_mut(|hand| hand.poll().is_pending());
        }
        drop(hands);
        rig.assert_quiet();
        let snapshot = rig.handle.budget().snapshot();
        assert_eq!(snapshot.balance, 2, "a place is taken: {snapshot:?}");
        most = most.max(rig.handle.snapshot().recovered);
    }
    assert!(most > 0, "none came to its end");
}

#[test]
fn fault_096_every_end_is_counted_once() {
    let heard = Arc::new(Mutex::new((0_u64, 0_u64)));
    let into = Arc::clone(&heard);
    let listening =
        Setup::new().with_listener(move |_: &Source<'_>, event: &Event<'_>| match event {
            Event::Retrying(_) => into.lock().0 += 1,
            Event::Concluded(_) => into.lock().1 += 1,
            _ => {}
        });
    let mut rig = Rig::with(listening, |setup| {
        let rules = retry::when(
            |result: Result<&Response<ScriptBody>, &Fail>| match result {
                Ok(_) => Again::No,
                Err(_) => Again::Yes,
            },
        );
        let layer = RetryLayer::with(attempts(3), rules, setup);
        let handle = layer.handle();
        (layer, handle)
    });
    let seed = tower_keep::test_util::Seed::from_env();
    let mut random = seed.rng();
    let mut scripted = 0;
    for round in 0..500 {
        use rand::RngExt;
        // First what is left of the rounds before: else failures pile up.
        let calls = rig.watch.counts().calls;
        if calls >= scripted {
            let failures = random.random_range(0..4);
            scripted = calls + failures;
            for _ in 0..failures {
                rig.script
                    .then_call(Call::error(BROKEN).pending(random.random_range(0..2)));
            }
        }
        // The budget is filled for one half, and runs out in the other.
        if round < 250 {
            rig.time.advance(secs(1));
        }
        let mut hand = Hand::new(call(&mut rig.service, request("a")));
        for _ in 0..random.random_range(0..12) {
            if hand.poll().is_ready() {
                break;
            }
            if let Some(due) = rig.time.next_due() {
                rig.time.set(due);
            }
        }
    }
    let seen = rig.handle.snapshot();
    let ended = seen.succeeded + seen.failed + seen.neutral + seen.cancelled;
    assert_eq!((rig.handle.admitted(), seen.in_flight), (ended, 0));
    let concluded = seen.recovered
        + seen.ended_final
        + seen.exhausted
        + seen.over_budget
        + seen.past_deadline
        + seen.unrepeatable
        + seen.unwanted
        + seen.not_ready
        + seen.no_runtime;
    assert_eq!(*heard.lock(), (seen.retried, concluded));
    assert!(
        seen.exhausted > 0 && seen.recovered > 0 && seen.cancelled > 0,
        "{seen:?}"
    );
    rig.assert_quiet();
}

#[test]
fn a_poll_after_the_end_stays_pending() {
    let time = ManualClock::new();
    let layer = RetryLayer::with(attempts(2), Idempotent::new(), setup(&time));
    let mut service = layer.layer(Script::<u32, Fail>::new(&time, Call::error(BROKEN)));
    let future = tower::Service::call(&mut service, 7_u32);
    let mut hand = Hand::new(future);
    assert!(hand.poll().is_pending());
    time.advance(secs(1));
    assert_eq!(hand.poll(), Poll::Ready(Err(BROKEN)));
    assert!(hand.poll().is_pending());
}
