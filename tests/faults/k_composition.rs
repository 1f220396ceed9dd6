//! K. What is counted, who listens, and layers on top of each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rand::RngExt;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::{Event, Source};
use tower_keep::test_util::{Call, Hand, ManualClock, Seed, finish_on};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::TimeoutLayer;
use tower_keep::{AsRejection, Override, RejectionKind, Setup, error::find_rejection};

use crate::support::cases::{Subject, by_count, permits, rate, timeouts};
use crate::support::watched::Watched;
use crate::support::{BROKEN, Inner, call, data, full_scale, inner, ms, request, response};

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
        for _ in 0..full_scale(1_000_000, 20_000) {
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
            assert!(
                called <= counted.sum() + rig.handle.more(),
                "a call was not counted"
            );
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
        assert!(called + rig.handle.rejected() <= asked + rig.handle.more());
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
