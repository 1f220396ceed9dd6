//! The delay that follows the service.

use tower::Layer;
use tower_keep::hedge::{self, Delay, Handle, HedgeLayer, Policy, PolicyBuilder};
use tower_keep::test_util::{Call, Hand, ManualClock};
use tower_keep::{PolicyError, Ratio};

use super::{answer, hedges, outcome, setup};
use crate::support::{BROKEN, inner, ms, request};

fn percentile(hundredths: u32) -> PolicyBuilder {
    let delay = Delay::Percentile(Ratio::percent(hundredths));
    Policy::builder().delay(delay).minimum_calls(20)
}

fn layer(time: &ManualClock, policy: PolicyBuilder) -> HedgeLayer<hedge::Every> {
    HedgeLayer::with(policy.build().unwrap(), hedge::every(), setup(time))
}

/// The delay in force, if it is this or up to an eighth above.
#[track_caller]
fn assert_delay(handle: &Handle, least: u64) {
    let delay = handle.snapshot().delay.unwrap();
    let least = ms(least);
    assert!(
        delay >= least && delay <= least + least / 8,
        "{delay:?} for {least:?}"
    );
}

#[test]
fn it_is_learnt_from_enough_calls() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = layer(&time, percentile(90));
    let mut service = layer.layer(probe);
    let handle = layer.handle();
    // Each tenth call is ten times as slow.
    let mut calls = |n: u64, slow| {
        for n in 0..n {
            script.then_call(answer(
                &time,
                200,
                if n % 10 == 9 { slow } else { slow / 10 },
            ));
            outcome(&time, &mut service);
        }
    };
    calls(19, 100);
    time.advance(ms(2_500));
    calls(1, 100);
    assert_eq!(handle.snapshot().delay, None);
    calls(20, 100);
    time.advance(ms(2_500));
    calls(1, 100);
    assert_delay(&handle, 10);
    // The service becomes slower: the window forgets what was.
    time.advance(ms(12_500));
    calls(40, 500);
    time.advance(ms(2_500));
    calls(1, 500);
    assert_delay(&handle, 50);
}

/// What a hedge outruns lies above the delay, and counts so. Without it, the
/// percentile would be that of what is left, and sink.
#[test]
fn what_is_outrun_counts_as_slow() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = layer(&time, percentile(55));
    let mut service = layer.layer(probe);
    let handle = layer.handle();
    let mut made = 0;
    for round in 0..20 {
        for n in 0..50 {
            // A tenth of the first attempts never answers in time; of the rest
            // one half is twice as slow as the other.
            let after = match n % 10 {
                9 => 400,
                odd if odd % 2 == 1 => 40,
                _ => 20,
            };
            script.then_call(answer(&time, 200, after));
            let before = handle.snapshot().hedges;
            // A second attempt, if there is one.
            if after == 400 && handle.snapshot().delay.is_some() {
                script.then_call(answer(&time, 200, 20));
            }
            outcome(&time, &mut service);
            made += handle.snapshot().hedges - before;
        }
        time.advance(ms(2_500));
        if round > 2 {
            assert_delay(&handle, 40);
        }
    }
    // A tenth of the calls since it was learnt, and no more.
    assert!(made <= 1_000 / 10, "{made}");
    assert!(made >= 700 / 10, "{made}");
    let snapshot = handle.snapshot();
    assert_eq!(hedges(&snapshot), (made, made, snapshot.no_budget));
}

#[test]
fn what_ends_early_says_nothing() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = layer(&time, percentile(50).failure_ratio(Ratio::ONE));
    let mut service = layer.layer(probe);
    for _ in 0..30 {
        script.then_call(answer(&time, 200, 80));
        outcome(&time, &mut service);
        // Refused quickly, or dropped by who does not wait.
        script.then_call(Call::error(BROKEN).after(ms(1)));
        outcome(&time, &mut service);
        script.then_call(Call::never());
        let mut hand = Hand::new(tower::Service::call(&mut service, request("a")));
        assert!(hand.poll().is_pending());
        time.advance(ms(1));
        drop(hand);
    }
    time.advance(ms(2_500));
    script.then_call(answer(&time, 200, 80));
    outcome(&time, &mut service);
    assert_delay(&layer.handle(), 80);
}

#[test]
fn an_update_holds_at_once() {
    let time = ManualClock::new();
    let layer = layer(&time, percentile(90));
    let handle = layer.handle();
    assert_eq!(handle.snapshot().delay, None);
    handle.update(Policy::after(ms(70)).unwrap());
    assert_eq!(handle.snapshot().delay, Some(ms(70)));
    assert_eq!(handle.policy(), Policy::after(ms(70)).unwrap());
}

#[test]
fn a_policy_is_refused_by_the_name_of_its_field() -> Result<(), PolicyError> {
    let field = |builder: PolicyBuilder| builder.build().err().map(|error| error.field());
    let builder = Policy::builder;
    assert_eq!(builder().build()?, Policy::default());
    for delay in [
        Delay::Fixed(ms(0)),
        Delay::Fixed(std::time::Duration::MAX),
        Delay::Percentile(Ratio::ZERO),
        Delay::Percentile(Ratio::ONE),
        Delay::Percentile(Ratio::new(0.0001)?),
    ] {
        assert_eq!(field(builder().delay(delay)), Some("delay"), "{delay:?}");
    }
    assert_eq!(
        field(builder().least(std::time::Duration::MAX)),
        Some("least")
    );
    for window in [ms(0), std::time::Duration::MAX] {
        assert_eq!(field(builder().window(window)), Some("window"));
    }
    for hedges in [0, 5, u32::MAX] {
        assert_eq!(field(builder().hedges(hedges)), Some("hedges"));
    }
    for calls in [0, u32::MAX] {
        assert_eq!(field(builder().minimum_calls(calls)), Some("minimum_calls"));
    }
    assert_eq!(
        field(builder().failure_ratio(Ratio::ZERO)),
        Some("failure_ratio")
    );
    Ok(())
}

/// It is no longer asked when the window would have ended by the clock as it was.
#[test]
fn a_clock_that_goes_back_stops_nothing() {
    let time = ManualClock::new();
    time.advance(ms(86_400_000));
    let (probe, script, _) = inner(&time);
    let layer = layer(&time, percentile(90));
    let mut service = layer.layer(probe);
    let mut calls = |good: bool| {
        for _ in 0..40 {
            script.then_call(match good {
                true => answer(&time, 200, 100),
                false => Call::error(BROKEN).after(ms(100)),
            });
            outcome(&time, &mut service);
            time.advance(ms(100));
        }
        layer.handle().snapshot().delay
    };
    assert!(calls(true).is_some());
    assert_eq!(calls(false), None, "what fails is not hedged");
    time.rewind(ms(80_000_000));
    let _ = calls(true);
    assert!(calls(true).is_some(), "nor is anything ever again");
}
