//! Calls that a timeout outside ends: the hedge sees them dropped.

use tower::{Layer, Service, ServiceBuilder};
use tower_keep::hedge::{self, Delay, HedgeLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Probe, Script};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Override, Ratio};

use super::{Res, answer, outcome, policy, setup};
use crate::support::{Fail, call, inner, ms, request};

/// Ten at a time, each of which has a second: after 50 of them it is known that
/// hedges do not help, and for as long as this lasts.
#[test]
fn calls_that_all_time_out_are_not_hedged() {
    let time = ManualClock::new();
    let probe = Probe::new(Script::<Res, Fail>::new(&time, Call::never()));
    let layer = HedgeLayer::with(policy(1), hedge::every(), setup(&time));
    let handle = layer.handle();
    handle.budget().set_override(Override::Bypass);
    let limit = timeout::Policy::deadline(ms(1_000)).unwrap();
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::with(limit, setup(&time)))
        .layer(layer)
        .service(probe);
    for round in 0..60 {
        let hands = (0..10).map(|_| {
            let mut service = service.clone();
            Hand::new(Box::pin(
                async move { call(&mut service, request("a")).await },
            ))
        });
        let mut hands: Vec<_> = hands.collect();
        for _ in 0..11 {
            hands.iter_mut().for_each(|hand| _ = hand.poll());
            time.advance(ms(100));
        }
        drop(hands);
        let snapshot = handle.snapshot();
        assert_eq!(snapshot.in_flight, 0);
        assert_eq!(snapshot.delay.is_none(), round >= 4, "{round}");
    }
    assert_eq!(handle.snapshot().hedges, 50);
}

/// What is dropped before the delay says nothing.
#[test]
fn nor_does_who_goes_early_stop_hedges() {
    for (after, hedged) in [(100, true), (101, false)] {
        let time = ManualClock::new();
        let (probe, script, _) = inner(&time);
        let layer = HedgeLayer::with(policy(1), hedge::every(), setup(&time));
        let mut service = layer.layer(probe);
        for _ in 0..50 {
            script.then_call(Call::never());
            let mut hand = Hand::new(service.call(request("a")));
            assert!(hand.poll().is_pending());
            time.advance(ms(after));
            drop(hand);
        }
        assert_eq!(layer.handle().snapshot().delay.is_some(), hedged, "{after}");
    }
}

/// With a percentile, too; and it ends when the calls do well again.
#[test]
fn it_is_forgotten_like_failures() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let rule = hedge::Policy::builder().delay(Delay::Percentile(Ratio::percent(90)));
    let rule = rule.minimum_calls(20).build().unwrap();
    let layer = HedgeLayer::with(rule, hedge::every(), setup(&time));
    let mut service = layer.layer(probe);
    let mut other = service.clone();
    let delay = || layer.handle().snapshot().delay;
    let mut well = |times: usize| {
        for _ in 0..times {
            script.then_call(answer(&time, 200, 50));
            assert_eq!(outcome(&time, &mut service).0, Some(200));
        }
    };
    well(100);
    assert!(delay().is_some());
    for _ in 0..20 {
        script.then_call(Call::never());
        let mut hand = Hand::new(other.call(request("a")));
        assert!(hand.poll().is_pending());
        time.advance(ms(100));
        drop(hand);
    }
    assert_eq!(delay(), None);
    time.advance(ms(12_500));
    well(100);
    assert!(delay().is_some());
}
