//! A. The contract and cancellation, for every layer.

for_all_layers! {
    fault_001_dropped_at_any_poll,
    fault_002_dropped_after_ready,
    fault_004_any_order_of_ready_clone_call_drop,
    fault_005_the_inner_service_fails_readiness,
    fault_006_readiness_flaps,
    fault_008_called_without_ready,
    fault_009_polled_after_completion,
    fault_010_the_inner_service_panics,
    fault_010_polled_again_after_a_panic,
}

mod laws {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Poll;

    use rand::RngExt;
    use tower::{Layer, Service};
    use tower_keep::Setup;
    use tower_keep::test_util::{Call, Hand, Ready, Seed, drop_at, finish_on};

    use crate::support::cases::{Rig, Subject};
    use crate::support::watched::Watched;
    use crate::support::{BROKEN, Inner, call, data, ms, poll_ready, request, response};

    pub(super) fn fault_001_dropped_at_any_poll<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let rig = Rig::new(make);
        let ok = || Call::respond(response(&rig.time, 200, [data("x")]));
        for (line, ends) in [
            (ok(), Some(1)),
            (ok().pending(3), Some(4)),
            (Call::error(BROKEN).pending(2), Some(3)),
            (Call::panic().pending(2), Some(3)),
            (ok().panic_in_call(), Some(0)),
            (ok().pending(2).panic_in_drop(), Some(3)),
            (Call::never(), None),
            (ok().after(ms(1)), None),
        ] {
            let shown = format!("{line:?}");
            let polls = drop_at(
                || {
                    rig.script.then_call(line.clone());
                    rig.service.clone().call(request("a"))
                },
                |_| rig.assert_quiet(),
            );
            assert_eq!(polls, ends, "{shown}");
            assert_eq!(rig.time.armed(), 0, "a timer is left: {shown}");
        }
    }

    pub(super) fn fault_002_dropped_after_ready<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let rig = Rig::new(make);
        for _ in 0..200 {
            // More than any policy here has permits, if one were kept.
            let mut clone = rig.service.clone();
            assert_eq!(poll_ready(&mut clone), Poll::Ready(Ok(())));
            drop(clone);
            rig.assert_quiet();
        }
        assert_eq!(rig.watch.counts().services, 1);
        assert_eq!(rig.watch.counts().calls, 0);
    }

    pub(super) fn fault_004_any_order_of_ready_clone_call_drop<L, H: Watched>(
        make: impl Fn(Setup) -> (L, H),
    ) where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        let seed = Seed::from_env();
        let mut random = seed.rng();
        let mut clones: Vec<_> = (0..4).map(|_| rig.service.clone()).collect();
        let mut calls = Vec::new();
        for _ in 0..10_000 {
            let which = random.random_range(0..clones.len());
            match random.random_range(0..12) {
                0..4 => {
                    let _ = poll_ready(&mut clones[which]);
                }
                4..8 => {
                    rig.script.then_call(match random.random_range(0..4) {
                        0 => Call::never(),
                        1 => Call::error(BROKEN).pending(1),
                        _ => Call::respond(response(&rig.time, 200, [])).pending(2),
                    });
                    calls.push(Hand::new(clones[which].call(request("a"))));
                }
                8 => clones[which] = rig.service.clone(),
                9 => rig.script.then_ready(Ready::Pend(2)),
                10 => clones.swap(0, which),
                _ => calls.truncate(random.random_range(0..20)),
            }
            calls.retain_mut(|call| call.poll().is_pending());
            rig.watch.assert_lawful();
        }
        drop((calls, clones));
        rig.assert_quiet();
        // What is left of the script serves one more healthy call.
        while poll_ready(&mut rig.service).is_pending() {}
    }

    pub(super) fn fault_005_the_inner_service_fails_readiness<L, H: Watched>(
        make: impl Fn(Setup) -> (L, H),
    ) where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        // Ready first, so that whoever reserves something has done so.
        assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
        rig.script.then_ready(Ready::Error(BROKEN));
        assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Err(BROKEN)));
        assert_eq!(
            rig.watch.counts().ready_polls,
            2,
            "asked again after its end"
        );
        rig.assert_quiet();
        // The same if nobody asked before the call.
        rig.service = rig.service.clone();
    }

    pub(super) fn fault_006_readiness_flaps<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        for _ in 0..50 {
            assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
            assert!(rig.handle.in_flight() <= 1);
            rig.script.then_ready(Ready::Pend(1));
            assert!(poll_ready(&mut rig.service).is_pending());
            assert_eq!(rig.handle.in_flight(), 0, "a permit waits for a service");
        }
        assert!(finish_on(&rig.time, call(&mut rig.service, request("a"))).is_some());
        rig.assert_quiet();
    }

    pub(super) fn fault_008_called_without_ready<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        for line in [None, Some(Ready::Pend(1)), Some(Ready::Error(BROKEN))] {
            let healthy = line.is_none();
            if let Some(line) = line {
                rig.script.then_ready(line);
            }
            let mut clone = rig.service.clone();
            let answer = Hand::new(clone.call(request("a"))).poll();
            assert_eq!(matches!(answer, Poll::Ready(Ok(_))), healthy);
            assert!(answer.is_ready(), "neither an answer nor a refusal");
        }
        assert!(finish_on(&rig.time, call(&mut rig.service, request("a"))).is_some());
        rig.assert_quiet();
    }

    pub(super) fn fault_009_polled_after_completion<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        let mut hand = Hand::new(rig.service.call(request("a")));
        assert!(hand.poll().is_ready());
        let seen = |h: &H| (h.admitted(), h.ended(), h.rejected(), h.in_flight());
        let before = seen(&rig.handle);
        for _ in 0..10 {
            assert!(hand.poll().is_pending());
        }
        assert_eq!(seen(&rig.handle), before);
        assert_eq!(rig.watch.counts().in_flight, 0, "the inner future lives on");
        drop(hand);
        assert_eq!(seen(&rig.handle), before);
        rig.assert_quiet();
    }

    pub(super) fn fault_010_the_inner_service_panics<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
    where
        L: Layer<Inner, Service: Subject>,
    {
        let mut rig = Rig::new(make);
        let ok = || Call::respond(response(&rig.time, 200, []));
        let lines = [
            ok().panic_in_call(),
            Call::panic(),
            Call::panic().pending(1),
            ok().panic_in_drop(),
        ];
        for (turn, line) in (1..).zip(lines) {
            rig.script.then_call(line);
            let service = &mut rig.service;
            let time = &rig.time;
            let result = catch_unwind(AssertUnwindSafe(|| {
                finish_on(time, call(service, request("a"))).map(drop)
            }));
            assert!(result.is_err(), "the panic did not come through");
            rig.assert_quiet();
            if let Some(ends) = rig.handle.ended() {
                assert_eq!(
                    (ends.failed, ends.cancelled),
                    (turn, 0),
                    "counted once each"
                );
            }
        }
        rig.script.then_ready(Ready::Panic);
        let service = &mut rig.service;
        assert!(catch_unwind(AssertUnwindSafe(|| poll_ready(service))).is_err());
        for _ in 0..100 {
            let result = finish_on(&rig.time, call(&mut rig.service, request("a")));
            assert!(matches!(result, Some(Ok(_))));
        }
        rig.assert_quiet();
    }

    pub(super) fn fault_010_polled_again_after_a_panic<L, H: Watched>(
        make: impl Fn(Setup) -> (L, H),
    ) where
        L: Layer<Inner, Service: Subject>,
    {
        let rig = Rig::new(make);
        for pending in 0..2 {
            rig.script.then_call(Call::panic().pending(pending));
            let mut hand = Hand::new(rig.service.clone().call(request("a")));
            for _ in 0..pending {
                assert!(hand.poll().is_pending());
            }
            assert!(catch_unwind(AssertUnwindSafe(|| hand.poll())).is_err());
            let seen = |h: &H| (h.admitted(), h.ended(), h.rejected());
            let before = seen(&rig.handle);
            for _ in 0..3 {
                assert!(hand.poll().is_pending());
                rig.time.advance(ms(10_000));
            }
            assert_eq!(seen(&rig.handle), before);
            // The future is gone, and was not polled again.
            rig.assert_quiet();
        }
    }
}
