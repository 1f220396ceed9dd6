//! K. What is counted, who listens, and layers on top of each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rand::RngExt;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::bulkhead::{BulkheadLayer, Queue};
use tower_keep::chaos::ChaosLayer;
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::fallback::{self, FallbackLayer};
use tower_keep::retry::{self, RetryLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Ready, ScriptBody, Seed, drop_at, finish_on};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, Override, RejectionKind, Setup, error::find_rejection};

use crate::support::cases::{
    Subject, by_count, by_time_and_slowness, calm, contented, never_asked, permits, rate, refusals,
    timeouts,
};
use crate::support::watched::Watched;
use crate::support::{BROKEN, Fail, Inner, call, data, inner, ms, poll_ready, request, response};

for_all_layers! {
    fault_096_every_admission_has_one_end,
    fault_098_listeners_may_call_back,
}

mod laws {
    use super::*;
    use crate::support::cases::Rig;

    pub(super) fn fault_096_every_admission_has_one_end<L, H: Watched>(
        make: impl Fn(Setup) -> (L, H),
    ) where
        L: Layer<Inner, Service: Subject>,
    {
        let ends = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&ends);
        let setup = Setup::new().with_listener(move |_: &Source<'_>, event: &Event<'_>| {
            heard.fetch_add(
                matches!(event, Event::Finished(_)).into(),
                Ordering::Relaxed,
            );
        });
        let rig = Rig::with(setup, make);
        let seed = Seed::from_env();
        let mut random = seed.rng();
        let mut calls = Vec::new();
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..20_000 {
            match random.random_range(0..8) {
                0..3 => {
                    rig.script.then_call(match random.random_range(0..6) {
                        0 => Call::never(),
                        1 => Call::error(BROKEN).after(ms(3)),
                        2 => Call::panic().pending(1),
                        _ => Call::respond(response(&rig.time, 200, [data("x")])).pending(2),
                    });
                    asked += 1;
                    calls.push(Hand::new(rig.service.clone().call(request("a"))));
                }
                3 if !calls.is_empty() => {
                    calls.swap_remove(random.random_range(0..calls.len()));
                }
                4 => rig.time.advance(ms(random.random_range(0..1_000))),
                _ => calls.retain_mut(|call| {
                    let poll = std::panic::AssertUnwindSafe(|| call.poll().is_pending());
                    let pending = std::panic::catch_unwind(poll).unwrap_or(false);
                    answered += u64::from(!pending);
                    pending
                }),
            }
        }
        drop(calls);
        assert!(asked > 5_000 && answered > 1_000);
        rig.assert_quiet();
        let called = rig.watch.counts().calls;
        if let Some(counted) = rig.handle.ended() {
            assert!(called <= counted.sum(), "a call was not counted");
            assert_eq!(
                counted.sum(),
                ends.load(Ordering::Relaxed),
                "counted, not told"
            );
        } else {
            assert!(rig.handle.admitted() >= called);
        }
        assert!(rig.handle.admitted() + rig.handle.rejected() <= asked);
        // Those who neither came in nor were refused were dropped in a queue.
        assert!(called + rig.handle.rejected() <= asked);
    }

    pub(super) fn fault_098_listeners_may_call_back<L, H>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
        H: Watched + std::fmt::Debug,
    {
        let slot = Arc::new(OnceLock::<H>::new());
        let back = Arc::clone(&slot);
        let depth = AtomicU64::new(0);
        let setup = Setup::new().with_listener(move |_: &Source<'_>, _: &Event<'_>| {
            let Some(handle) = back.get() else { return };
            // An update tells of itself: not for ever.
            if depth.fetch_add(1, Ordering::AcqRel) < 3 {
                handle.update_same();
                handle.order(Override::None);
                assert!(!format!("{handle:?}").is_empty());
                let _ = (handle.in_flight(), handle.waiting(), handle.rejected());
            }
            depth.fetch_sub(1, Ordering::AcqRel);
        });
        let mut rig = Rig::with(setup, make);
        slot.set(rig.handle.clone()).ok().unwrap();
        for _ in 0..10 {
            rig.script.then_call(Call::error(BROKEN).pending(1));
            assert!(finish_on(&rig.time, call(&mut rig.service, request("a"))).is_some());
            rig.handle.order(Override::Close);
            assert!(finish_on(&rig.time, call(&mut rig.service, request("a"))).is_some());
            rig.handle.order(Override::None);
            drop(rig.service.clone().call(request("a")));
        }
        rig.handle.update_same();
        rig.assert_quiet();
    }
}

pub(crate) fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

/// Laws 1 to 18 in short, on any stack.
fn holds<S: Subject>(what: &str, time: &ManualClock, make: impl Fn(Inner) -> S, quiet: impl Fn()) {
    let (probe, script, watch) = inner(time);
    let mut service = make(probe);
    let ok = || Call::respond(response(time, 200, [data("x")]));
    for line in [
        ok(),
        ok().pending(2),
        Call::error(BROKEN).pending(1),
        Call::panic().pending(1),
        ok().panic_in_call(),
        ok().pending(1).panic_in_drop(),
        Call::never(),
    ] {
        drop_at(
            || {
                script.then_call(line.clone());
                service.clone().call(request("a"))
            },
            |_| {
                watch.assert_quiet();
                quiet();
                assert_eq!(time.armed(), 0, "{what}");
            },
        );
    }
    // Readiness: forwarded, not used twice, not carried by clones, dropped.
    script.then_ready(Ready::Pend(1));
    assert!(poll_ready(&mut service).is_pending(), "{what}");
    assert!(poll_ready(&mut service).is_ready());
    drop(service.clone());
    assert!(poll_ready(&mut service).is_ready());
    script.then_ready(Ready::Never);
    let refused = Hand::new(service.clone().call(request("a"))).poll();
    assert!(matches!(refused, std::task::Poll::Ready(Err(_))), "{what}");
    let mut answer = Hand::new(service.call(request("a")));
    assert!(answer.poll().is_ready(), "{what}");
    assert!(answer.poll().is_pending());
    drop(answer);
    watch.assert_quiet();
    quiet();
}

#[test]
fn fault_099_all_pairs_and_orders_keep_the_laws() {
    macro_rules! one {
        ($name:literal, $time:ident, $($layer:expr),+) => {{
            let $time = ManualClock::new();
            let shed = BulkheadLayer::with(permits(4), setup(&$time));
            let timeout = TimeoutLayer::with(timeouts(), setup(&$time));
            let throttle = ThrottleLayer::with(rate(10_000), setup(&$time));
            let fallback = FallbackLayer::with(refusals(), fallback::by(NO), setup(&$time));
            let breaker = CircuitBreakerLayer::with(by_time_and_slowness(), setup(&$time));
            let (b, t, f) = (shed.handle(), timeout.handle(), fallback.handle());
            let c = breaker.handle();
            let chaos = calm(setup(&$time));
            let retry = RetryLayer::with(retry::Policy::default(), retry::when(CALM), setup(&$time));
            let r = retry.handle();
            let parts = (&shed, &timeout, &throttle, &fallback, &chaos, &breaker, &retry);
            let make = |probe: Inner| {
                ServiceBuilder::new()$(.layer($layer(parts)))+.service(probe)
            };
            holds($name, &$time, make, || {
                b.assert_quiet();
                t.assert_quiet();
                f.assert_quiet();
                c.assert_quiet();
                r.assert_quiet();
            });
        }};
    }
    type No = fn(
        fallback::Failed<'_, http::Response<ScriptBody>, Fail>,
    ) -> Option<http::Response<ScriptBody>>;
    const NO: No = never_asked;
    type Calm = fn(Result<&http::Response<ScriptBody>, &Fail>) -> retry::Again;
    const CALM: Calm = contented;
    type Parts<'a> = (
        &'a BulkheadLayer,
        &'a TimeoutLayer,
        &'a ThrottleLayer,
        &'a FallbackLayer<fallback::By<No>>,
        &'a ChaosLayer,
        &'a CircuitBreakerLayer,
        &'a RetryLayer<retry::When<Calm>>,
    );
    let shed = |p: Parts<'_>| p.0.clone();
    let queue = |p: Parts<'_>| -> BulkheadLayer<Queue> { p.0.clone().queued() };
    let back = |p: Parts<'_>| p.0.clone().backpressure();
    let timeout = |p: Parts<'_>| p.1.clone();
    let refuse = |p: Parts<'_>| p.2.clone();
    let wait = |p: Parts<'_>| p.2.clone().waiting();
    let fall = |p: Parts<'_>| p.3.clone();
    let chaos = |p: Parts<'_>| p.4.clone();
    let breaker = |p: Parts<'_>| p.5.clone();
    let again = |p: Parts<'_>| p.6.clone();
    one!("retry, shed", time, again, shed);
    one!("retry, queue", time, again, queue);
    one!("retry, backpressure", time, again, back);
    one!("retry, timeout", time, again, timeout);
    one!("retry, wait", time, again, wait);
    one!("retry, breaker", time, again, breaker);
    one!("retry, fallback", time, again, fall);
    one!("retry, chaos", time, again, chaos);
    one!("retry, retry", time, again, again);
    one!("shed, retry", time, shed, again);
    one!("queue, retry", time, queue, again);
    one!("backpressure, retry", time, back, again);
    one!("timeout, retry", time, timeout, again);
    one!("wait, retry", time, wait, again);
    one!("breaker, retry", time, breaker, again);
    one!("timeout, retry, breaker", time, timeout, again, breaker);
    one!("breaker, shed", time, breaker, shed);
    one!("breaker, queue", time, breaker, queue);
    one!("breaker, backpressure", time, breaker, back);
    one!("breaker, timeout", time, breaker, timeout);
    one!("breaker, refuse", time, breaker, refuse);
    one!("breaker, wait", time, breaker, wait);
    one!("shed, breaker", time, shed, breaker);
    one!("queue, breaker", time, queue, breaker);
    one!("backpressure, breaker", time, back, breaker);
    one!("timeout, breaker", time, timeout, breaker);
    one!("wait, breaker", time, wait, breaker);
    one!("breaker, shed, timeout", time, breaker, shed, timeout);
    one!("breaker, breaker", time, breaker, breaker);
    one!("shed, timeout", time, shed, timeout);
    one!("queue, timeout", time, queue, timeout);
    one!("backpressure, timeout", time, back, timeout);
    one!("timeout, shed", time, timeout, shed);
    one!("timeout, queue", time, timeout, queue);
    one!("timeout, backpressure", time, timeout, back);
    one!("refuse, timeout", time, refuse, timeout);
    one!("wait, timeout", time, wait, timeout);
    one!("timeout, refuse", time, timeout, refuse);
    one!("timeout, wait", time, timeout, wait);
    one!("refuse, shed", time, refuse, shed);
    one!("wait, queue", time, wait, queue);
    one!("wait, backpressure", time, wait, back);
    one!("shed, refuse", time, shed, refuse);
    one!("queue, wait", time, queue, wait);
    one!("backpressure, wait", time, back, wait);
    one!("shed, shed", time, shed, shed);
    one!("timeout, timeout", time, timeout, timeout);
    one!("wait, wait", time, wait, wait);
    one!("fallback, shed", time, fall, shed);
    one!("fallback, queue", time, fall, queue);
    one!("fallback, backpressure", time, fall, back);
    one!("fallback, timeout", time, fall, timeout);
    one!("fallback, refuse", time, fall, refuse);
    one!("fallback, wait", time, fall, wait);
    one!("shed, fallback", time, shed, fall);
    one!("queue, fallback", time, queue, fall);
    one!("backpressure, fallback", time, back, fall);
    one!("timeout, fallback", time, timeout, fall);
    one!("wait, fallback", time, wait, fall);
    one!("shed, chaos", time, shed, chaos);
    one!("queue, chaos", time, queue, chaos);
    one!("backpressure, chaos", time, back, chaos);
    one!("timeout, chaos", time, timeout, chaos);
    one!("refuse, chaos", time, refuse, chaos);
    one!("wait, chaos", time, wait, chaos);
    one!("fallback, chaos", time, fall, chaos);
    one!("chaos, fallback", time, chaos, fall);
    one!("chaos, timeout", time, chaos, timeout);
    one!("chaos, chaos", time, chaos, chaos);
    one!("fallback, fallback", time, fall, fall);
    one!("wait, queue, timeout", time, wait, queue, timeout);
    one!("wait, timeout, queue", time, wait, timeout, queue);
    one!("queue, wait, timeout", time, queue, wait, timeout);
    one!("queue, timeout, wait", time, queue, timeout, wait);
    one!("timeout, wait, queue", time, timeout, wait, queue);
    one!("timeout, queue, wait", time, timeout, queue, wait);
    one!("refuse, shed, timeout", time, refuse, shed, timeout);
    one!("refuse, backpressure, timeout", time, refuse, back, timeout);
}

#[test]
fn fault_099_the_cause_is_readable_through_five_layers() {
    let time = ManualClock::new();
    let timeout = || TimeoutLayer::with(timeouts(), setup(&time));
    let bulkhead = || BulkheadLayer::with(permits(4), setup(&time));
    let throttle = ThrottleLayer::with(rate(100), setup(&time));
    let innermost = bulkhead();
    // Each is innermost once, below five others.
    macro_rules! refused_by {
        ($layer:expr, $close:expr) => {{
            let (probe, ..) = inner(&time);
            let layer = $layer;
            let mut service = ServiceBuilder::new()
                .layer(throttle.clone().waiting())
                .layer(bulkhead().queued())
                .layer(timeout())
                .layer(throttle.clone())
                .layer(bulkhead())
                .layer(layer.clone())
                .service(probe);
            let _held = $close(layer.handle());
            let error = finish_on(&time, call(&mut service, request("a")))
                .unwrap()
                .unwrap_err();
            let rejection = error.as_rejection().unwrap();
            assert_eq!(rejection.layer(), layer.handle().id());
            assert_eq!(find_rejection(&error), Some(rejection));
            rejection
        }};
    }
    let full = refused_by!(innermost, |h: tower_keep::bulkhead::Handle| h
        .admit_weighted(4)
        .unwrap());
    assert_eq!(
        (full.kind(), full.reached_inner()),
        (RejectionKind::Full, false)
    );
    let closed = refused_by!(timeout(), |h: tower_keep::timeout::Handle| h
        .set_override(Override::Close));
    assert_eq!(closed.kind(), RejectionKind::Closed);
    let exhausted = refused_by!(
        ThrottleLayer::with(rate(1), setup(&time)),
        |h: throttle::Handle| h.admit(1).unwrap()
    );
    let open = refused_by!(
        CircuitBreakerLayer::with(by_count(), setup(&time)),
        |h: tower_keep::circuit_breaker::Handle| while let Ok(permit) = h.admit() {
            permit.finish(Outcome::Failure(Failure::Transient));
        }
    );
    assert_eq!(open.kind(), RejectionKind::Open);
    assert!(!open.reached_inner() && open.retry_after().is_some());
    assert_eq!(exhausted.kind(), RejectionKind::Throttled);
    assert_eq!(exhausted.retry_after(), Some(ms(1_000)));
    // Through boxes of tower's layers.
    let (probe, script, _) = inner(&time);
    script.then_call(Call::never());
    let limited = timeout();
    let mut service = ServiceBuilder::new()
        .layer(tower::load_shed::LoadShedLayer::new())
        .layer(tower::limit::ConcurrencyLimitLayer::new(4))
        .layer(tower::util::MapErrLayer::new(tower::BoxError::from))
        .layer(bulkhead().queued())
        .layer(throttle)
        .layer(limited.clone())
        .service(probe);
    let error = finish_on(&time, call(&mut service, request("a")))
        .unwrap()
        .unwrap_err();
    let late = error.as_rejection().unwrap();
    assert_eq!(
        (late.kind(), late.reached_inner()),
        (RejectionKind::Timeout, true)
    );
    assert_eq!(late.layer(), limited.handle().id());
}
