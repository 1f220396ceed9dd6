//! What keeps hedges from making an overload worse.

use http::Request;
use tower::{Layer, Service};
use tower_keep::attempt;
use tower_keep::budget::{self, Budget};
use tower_keep::deadline::Deadline;
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Ready, finish_on};

use super::{answer, hedges, layer, outcome, policy, setup};
use crate::support::{BROKEN, Fail, inner, ms, request};

/// Ten seconds' worth of one a second is all that it has.
#[test]
fn a_budget_ends_it() {
    let time = ManualClock::new();
    let rule = budget::Policy::builder()
        .ratio(0, 1)
        .floor(1)
        .build()
        .unwrap();
    let budget = Budget::with(rule, setup(&time));
    let shared =
        || HedgeLayer::with_budget(policy(1), hedge::every(), budget.clone(), setup(&time));
    let layers = [shared(), shared()];
    let (probe, script, _) = inner(&time);
    for n in 0..30 {
        script.then_call(Call::never());
        let mut hand = Hand::new(layers[n % 2].layer(probe.clone()).call(request("a")));
        assert!(hand.poll().is_pending());
        // As far as the delay, and no further: the floor pays one a second.
        time.advance(ms(100));
        let answered = hand.poll().is_ready();
        time.rewind(ms(100));
        assert_eq!(answered, n < 10, "{n}");
    }
    let both = layers.each_ref().map(|layer| layer.handle().snapshot());
    let sum = both
        .iter()
        .map(hedges)
        .fold((0, 0), |sum, (made, _, none)| (sum.0 + made, sum.1 + none));
    assert_eq!(sum, (10, 20));
    assert_eq!(
        (budget.snapshot().granted, budget.snapshot().refused),
        (10, 20)
    );
}

#[test]
fn fault_067_nothing_begins_past_a_deadline() {
    for (left, made) in [(99, 0), (100, 0), (101, 1)] {
        let time = ManualClock::new();
        let (probe, script, _) = inner(&time);
        script.then_call(answer(&time, 200, 300));
        let layer = layer(&time, 1);
        let mut service = layer.layer(probe);
        let deadline = Deadline::after(&time.clock(), ms(left));
        let future = deadline.wrap(service.call(request("a")));
        finish_on(&time, future).unwrap().unwrap();
        assert_eq!(layer.handle().snapshot().hedges, made, "{left}");
    }
}

/// The delay ends before the deadline, and whoever polls comes after it.
#[test]
fn fault_067_nor_by_who_is_polled_late() {
    for (late, made) in [(100, 1), (150, 0)] {
        let time = ManualClock::new();
        let (probe, script, _) = inner(&time);
        script.then_call(Call::never());
        let layer = layer(&time, 1);
        let mut service = layer.layer(probe);
        let deadline = Deadline::after(&time.clock(), ms(150));
        let future = deadline.wrap(service.call(request("a")));
        let mut hand = Hand::new(Box::pin(future));
        assert!(hand.poll().is_pending());
        time.advance(ms(late));
        let _ = hand.poll();
        assert_eq!(layer.handle().snapshot().hedges, made, "{late}");
    }
}

#[test]
fn an_overload_is_not_asked_again() {
    // The second attempt is answered with 503: there is no third.
    for (status, made) in [(503, 1), (429, 1), (500, 2)] {
        let time = ManualClock::new();
        let (probe, script, _) = inner(&time);
        script.then_call(answer(&time, 200, 500));
        script.then_call(answer(&time, status, 10));
        script.then_call(answer(&time, 200, 1_000));
        let layer = layer(&time, 2);
        assert_eq!(outcome(&time, &mut layer.layer(probe)), (Some(200), 500));
        assert_eq!(layer.handle().snapshot().hedges, made, "{status}");
    }
}

#[test]
fn nor_is_what_bears_the_mark() {
    for (marks, made) in [(true, 1), (false, 2)] {
        let time = ManualClock::new();
        let clock = time.clock();
        let mut calls = 0;
        let service = tower::service_fn(move |_: u32| {
            calls += 1;
            let first = calls == 1;
            let sleep =
                clock.sleep_until(clock.now().saturating_add(ms(if first { 500 } else { 10 })));
            async move {
                let _ = sleep.await;
                if first {
                    return Ok::<u32, Fail>(7);
                }
                if marks {
                    attempt::mark();
                }
                Err(BROKEN)
            }
        });
        let shared = tower::util::BoxCloneService::new(CloneByLock::new(service));
        let layer = HedgeLayer::with(policy(2), hedge::every(), setup(&time));
        let mut service = layer.layer(shared);
        let called = crate::support::call(&mut service, 1);
        assert_eq!(finish_on(&time, called).unwrap(), Ok(7));
        assert_eq!(layer.handle().snapshot().hedges, made, "{marks}");
    }
}

/// A tier outside hears the mark, unless the call was answered after all.
#[test]
fn a_mark_reaches_the_tier_outside() {
    for (ends_well, marked) in [(false, true), (true, false)] {
        let time = ManualClock::new();
        let service = tower::service_fn(move |_: u32| async move {
            attempt::mark();
            match ends_well {
                true => Ok(7),
                false => Err(BROKEN),
            }
        });
        let layer = HedgeLayer::with(policy(1), hedge::every(), setup(&time));
        let mut outer = attempt::Attempt::first();
        let mut service = layer.layer(service);
        let mut hand = Hand::new(service.call(1));
        assert!(outer.scope(|| hand.poll()).is_ready());
        assert_eq!(outer.is_marked(), marked);
    }
}

/// Clones of a service that is not clonable itself.
struct CloneByLock<S>(std::sync::Arc<std::sync::Mutex<S>>);

impl<S> CloneByLock<S> {
    fn new(service: S) -> Self {
        Self(std::sync::Arc::new(std::sync::Mutex::new(service)))
    }
}

impl<S> Clone for CloneByLock<S> {
    fn clone(&self) -> Self {
        Self(std::sync::Arc::clone(&self.0))
    }
}

impl<S: Service<Req>, Req> Service<Req> for CloneByLock<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.lock().unwrap().poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.0.lock().unwrap().call(request)
    }
}

/// A tenth of at least 50 calls: from the fifth failure of 50 on, nothing is
/// hedged, until it is forgotten.
#[test]
fn what_fails_is_not_hedged() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = layer(&time, 1);
    let mut service = layer.layer(probe);
    let delay = || layer.handle().snapshot().delay;
    for n in 0..50 {
        assert_eq!(delay(), Some(ms(100)), "{n}");
        script.then_call(answer(&time, if n % 10 == 9 { 500 } else { 200 }, 1));
        outcome(&time, &mut service);
    }
    assert_eq!(delay(), None);
    script.then_call(answer(&time, 200, 300));
    assert_eq!(outcome(&time, &mut service), (Some(200), 300));
    assert_eq!(layer.handle().snapshot().hedges, 0);
    time.advance(ms(12_500));
    script.then_call(answer(&time, 200, 1));
    outcome(&time, &mut service);
    assert_eq!(delay(), Some(ms(100)));
}

/// Whatever the clock does, a call ends by its service, and nothing is left.
#[test]
fn clocks_that_jump_harm_no_call() {
    let century = std::time::Duration::from_secs(100 * 365 * 86_400);
    let policies = [
        policy(2),
        hedge::Policy::builder().minimum_calls(1).build().unwrap(),
    ];
    for policy in policies {
        let time = ManualClock::new();
        let (probe, script, watch) = inner(&time);
        let layer = HedgeLayer::with(policy, hedge::every(), setup(&time));
        let mut service = layer.layer(probe);
        for round in 0..40 {
            script.then_call(answer(&time, 200, 50));
            let mut hand = Hand::new(service.call(request("a")));
            // At the end of time everything is due.
            let _ = hand.poll();
            match round % 4 {
                0 => time.advance(century),
                1 => time.rewind(century),
                2 => time.set(tower_keep::clock::Tick::ZERO),
                _ => time.set(tower_keep::clock::Tick::MAX),
            }
            let _ = hand.poll();
            drop(hand);
            watch.assert_quiet();
            let _ = layer.handle().budget().snapshot();
        }
        time.set(tower_keep::clock::Tick::from_nanos(1_000_000_000));
        for _ in 0..3 {
            script.then_call(answer(&time, 200, 50));
            assert_eq!(outcome(&time, &mut service).0, Some(200));
            time.advance(ms(4_000));
        }
        assert_eq!(layer.handle().snapshot().in_flight, 0);
    }
}

/// Whatever number a client sends, there are no more hedges than the policy says.
#[test]
fn a_number_from_outside_lifts_no_bound() {
    for number in [1, 7, u32::MAX - 1, u32::MAX] {
        let time = ManualClock::new();
        let (probe, script, watch) = inner(&time);
        (0..4).for_each(|_| script.then_call(Call::never()));
        let layer = layer(&time, 2);
        let mut outer = attempt::Attempt::nth(number);
        let mut service = layer.layer(probe);
        let future = outer.scope(|| service.call(request("a")));
        let mut hand = Hand::new(future);
        for _ in 0..20 {
            assert!(outer.scope(|| hand.poll()).is_pending());
            time.advance(ms(100));
        }
        assert_eq!(layer.handle().snapshot().hedges, 2, "{number}");
        drop(hand);
        watch.assert_quiet();
    }
}

/// What was granted for an attempt that is never called, because its service does not
/// get ready or its request cannot be made, goes back.
#[test]
fn a_hedge_that_never_begins_is_not_paid_for() {
    let rule = budget::Policy::builder().ratio(1, 1).floor(0);
    for (ready, copies, paid) in [(Ready::Never, 2, 0), (Ready::Now, 1, 0), (Ready::Now, 2, 1)] {
        let time = ManualClock::new();
        let budget = Budget::with(rule.build().unwrap(), setup(&time));
        let made = std::cell::Cell::new(0);
        let copy = |request: &Request<()>| {
            made.set(made.get() + 1);
            (made.get() <= copies).then(|| request.clone())
        };
        let layer =
            HedgeLayer::with_budget(policy(1), hedge::every(), budget.clone(), setup(&time));
        let layer = layer.replay(tower_keep::replay::by(copy));
        let (probe, script, watch) = inner(&time);
        (0..2).for_each(|_| script.then_call(Call::never()));
        let mut hand = Hand::new(layer.layer(probe).call(request("a")));
        assert!(hand.poll().is_pending());
        script.then_ready(ready);
        time.advance(ms(100));
        assert!(hand.poll().is_pending());
        assert_eq!(watch.counts().in_flight, 1 + paid);
        drop(hand);
        let snapshot = budget.snapshot();
        assert_eq!((snapshot.granted, snapshot.balance), (1, 1 - paid));
    }
}
