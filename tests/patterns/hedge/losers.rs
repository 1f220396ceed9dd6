//! Attempts that are called off.

use std::sync::{Arc, Mutex};

use tower::{Layer, Service};
use tower_keep::classify::Http;
use tower_keep::event::{Event, Source};
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::test_util::{Call, Hand, ManualClock};

use super::{answer, outcome, policy, setup};
use crate::support::{inner, ms, request, response};

/// A loser that panics as it is dropped is counted; the winner's answer is not lost.
#[test]
fn losers_panic_for_themselves() {
    let time = ManualClock::new();
    let good = |after| answer(&time, 200, after);
    let bomb = |after| {
        Call::respond(response(&time, 206, []))
            .after(ms(after))
            .panic_in_drop()
    };
    for (calls, status) in [
        (
            [
                Call::never().panic_in_drop(),
                Call::never().panic_in_drop(),
                good(10),
            ],
            200,
        ),
        ([good(250), bomb(1_000), bomb(1_000)], 200),
    ] {
        let (probe, script, watch) = inner(&time);
        let registry = tower_keep::Registry::new();
        let setup = setup(&time).in_registry(&registry);
        let layer = HedgeLayer::with(policy(2), hedge::every(), setup).classify(Http);
        calls.into_iter().for_each(|call| script.then_call(call));
        let mut service = layer.layer(probe);
        assert_eq!(outcome(&time, &mut service).0, Some(status));
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.in_flight, snapshot.succeeded), (0, 1));
        let reports = registry.reports();
        let report = reports.iter().find(|report| report.pattern == "hedge");
        let panics = report.and_then(|report| report.value("callback_panics"));
        assert_eq!(panics, Some(&2_u64.into()));
        assert_eq!((watch.counts().in_flight, time.armed()), (0, 0));
    }
}

/// Who is told that a call was dropped finds none of its attempts.
#[test]
fn fault_001_attempts_are_gone_before_the_end_is_told() {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    (0..2).for_each(|_| script.then_call(Call::never()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let setup = setup(&time).with_listener(move |_: &Source<'_>, event: &Event<'_>| {
        if let Event::Finished(_) = event {
            seen.lock().unwrap().push(watch.counts().in_flight);
        }
    });
    let layer = HedgeLayer::with(policy(1), hedge::every(), setup);
    let mut hand = Hand::new(layer.layer(probe).call(request("a")));
    assert!(hand.poll().is_pending());
    time.advance(ms(100));
    assert!(hand.poll().is_pending());
    drop(hand);
    assert_eq!(*told.lock().unwrap(), [0]);
}
