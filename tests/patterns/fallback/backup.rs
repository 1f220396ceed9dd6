//! Another service as the fallback.

use http::Request;
use tower::{Layer, Service};
use tower_keep::classify::Http;
use tower_keep::deadline::Deadline;
use tower_keep::fallback::{self, FallbackLayer, Policy, ToService};
use tower_keep::test_util::{Call, Hand, ManualClock, Probe, Ready, Script, Watch, finish_on};

use super::{Res, answers, setup, spare, status};
use crate::support::{BROKEN, Fail, Inner, call, inner, ms, request, response, secs};

type Keep = fn(&Request<()>) -> Request<()>;

/// A service, and another behind it that answers what it fails.
struct Backed {
    layer: FallbackLayer<ToService<Keep, Inner>>,
    backup: Script<Res, Fail>,
    watch: Watch,
    script: Script<Res, Fail>,
    inner: Inner,
}

fn backed(time: &ManualClock) -> Backed {
    let backup = Script::new(time, Call::respond(spare(206)));
    let probe = Probe::new(backup.clone());
    let watch = probe.watch();
    let whole: Keep = Clone::clone;
    let answer = fallback::service(whole, probe);
    let layer = FallbackLayer::with(Policy::default(), answer, setup(time));
    let (inner, script, _) = inner(time);
    Backed {
        layer,
        backup,
        watch,
        script,
        inner,
    }
}

#[test]
fn when_the_backup_fails_the_first_failure_stays() {
    let time = ManualClock::new();
    let Backed {
        layer,
        backup,
        watch,
        script,
        inner,
    } = backed(&time);
    let mut service = layer.layer(inner);
    let first = || script.then_call(Call::respond(response(&time, 500, [])));
    let mut service_http = layer
        .clone()
        .classify(Http)
        .layer(service.get_ref().clone());
    let ok = || Call::respond(spare(206));
    let lines = [
        Call::error(BROKEN),
        Call::error(BROKEN).pending(3),
        ok().panic_in_call(),
        Call::panic(),
        Call::panic().pending(2),
    ];
    let mut expected = (0, 0);
    for line in lines {
        first();
        backup.then_call(line.clone());
        assert_eq!(status(&time, &mut service_http), Some(500), "{line:?}");
        expected.1 += 1;
    }
    for readiness in [Ready::Error(BROKEN), Ready::Panic] {
        first();
        backup.then_ready(readiness.clone());
        assert_eq!(status(&time, &mut service_http), Some(500), "{readiness:?}");
        expected.1 += 1;
    }
    // Its answer is there before its drop panics.
    first();
    backup.then_call(ok().panic_in_drop());
    assert_eq!(status(&time, &mut service_http), Some(206));
    expected.0 += 1;
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.answered, snapshot.unanswered), expected);
    assert_eq!((snapshot.failed, snapshot.in_flight), (8, 0));
    watch.assert_quiet();
    // And the layer goes on.
    script.then_call(Call::error(BROKEN));
    assert_eq!(status(&time, &mut service), Some(206));
}

#[test]
fn fault_067_no_backup_is_asked_past_the_deadline() {
    let time = ManualClock::new();
    let Backed {
        layer,
        watch,
        script,
        inner,
        ..
    } = backed(&time);
    let service = layer.layer(inner);
    for (took, asked) in [(1_999, 1), (2_000, 0), (2_001, 0)] {
        let before = watch.counts().calls;
        script.then_call(Call::error(BROKEN).after(ms(took)));
        let deadline = Deadline::after(&time.clock(), secs(2));
        let mut service = service.clone();
        let call = deadline.wrap(async move { call(&mut service, request("a")).await });
        let result = finish_on(&time, call).unwrap();
        assert_eq!(watch.counts().calls - before, asked, "after {took} ms");
        assert_eq!(result.is_ok(), asked == 1);
    }
}

#[test]
fn fault_001_dropped_anywhere_on_the_way_to_the_answer() {
    // Two polls for the failure, two for the readiness, three for the answer.
    let to_the_end = 8;
    for polls in 0..=to_the_end {
        let time = ManualClock::new();
        let Backed {
            layer,
            backup,
            watch,
            script,
            inner,
        } = backed(&time);
        script.then_call(Call::error(BROKEN).pending(2));
        backup.then_ready(Ready::Pend(2));
        backup.then_call(Call::respond(spare(206)).pending(3));
        let mut hand = Hand::new(layer.layer(inner).call(request("a")));
        let ready = (0..polls).filter(|_| hand.poll().is_ready()).count();
        drop(hand);
        let answered = u64::from(polls == to_the_end);
        assert_eq!(ready, usize::from(polls == to_the_end));
        let s = layer.handle().snapshot();
        assert_eq!(answers(&s), (answered, 0, 0), "after {polls} polls");
        assert_eq!((s.failed, s.cancelled), (answered, 1 - answered));
        assert_eq!(s.in_flight, 0);
        watch.assert_quiet();
    }
}

#[test]
fn fault_009_polled_after_an_answer() {
    let time = ManualClock::new();
    let Backed {
        layer,
        script,
        inner,
        ..
    } = backed(&time);
    let mut service = layer.layer(inner);
    script.then_call(Call::error(BROKEN));
    let mut hand = Hand::new(service.call(request("a")));
    assert!(hand.poll().is_ready());
    let before = layer.handle().snapshot();
    for _ in 0..3 {
        assert!(hand.poll().is_pending());
    }
    drop(hand);
    assert_eq!(layer.handle().snapshot(), before);
}

/// A backup that gets ready too late is not called, and one that never does is not
/// waited for.
#[test]
fn fault_067_no_backup_is_waited_for_past_the_deadline() {
    for (readiness, late) in [
        (Ready::Pend(1), 0),
        (Ready::Pend(1), 5_000),
        (Ready::Never, 0),
    ] {
        let time = ManualClock::new();
        let Backed {
            layer,
            backup,
            watch,
            script,
            inner,
        } = backed(&time);
        script.then_call(Call::error(BROKEN).after(ms(500)));
        backup.then_ready(readiness);
        let deadline = Deadline::after(&time.clock(), secs(2));
        let mut service = layer.layer(inner);
        let future = deadline.scope(|| service.call(request("a")));
        let mut hand = Hand::new(Box::pin(deadline.wrap(future)));
        assert!(hand.poll().is_pending());
        time.advance(ms(500));
        assert!(hand.poll().is_pending());
        let before = hand.wakes();
        time.advance(ms(1_500 + late));
        assert!(hand.wakes() > before, "nobody tells it");
        assert!(matches!(hand.poll(), std::task::Poll::Ready(Err(BROKEN))));
        assert_eq!((watch.counts().calls, time.armed()), (0, 0));
        assert_eq!(answers(&layer.handle().snapshot()), (0, 1, 0));
    }
}

/// Once it has been called, the deadline is its own affair.
#[test]
fn a_backup_that_answers_in_time_holds_no_timer() {
    let time = ManualClock::new();
    let Backed {
        layer,
        backup,
        script,
        inner,
        ..
    } = backed(&time);
    script.then_call(Call::error(BROKEN));
    backup.then_ready(Ready::Pend(1));
    backup.then_call(Call::respond(spare(206)).pending(1));
    let deadline = Deadline::after(&time.clock(), secs(2));
    let mut service = layer.layer(inner);
    let future = deadline.scope(|| service.call(request("a")));
    let mut hand = Hand::new(Box::pin(deadline.wrap(future)));
    for armed in [1, 0] {
        assert!(hand.poll().is_pending());
        assert_eq!(time.armed(), armed);
    }
    assert!(matches!(hand.poll(), std::task::Poll::Ready(Ok(_))));
}
