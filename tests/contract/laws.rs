//! The laws, each for any layer: `make` gives a layer and its handle.

use std::task::Poll;

use http::Request;
use tower::{Layer, Service};
use tower_keep::test_util::{Call, Hand, Ready, drop_at, finish_on};
use tower_keep::{AsRejection, RejectionKind, Setup};

use crate::support::cases::{Rig, Subject};
use crate::support::transcript::transcript;
use crate::support::watched::Watched;
use crate::support::{
    BROKEN, Inner, call, data, inner, ms, poll_ready, request, response, trailers,
};

fn kind<T: std::fmt::Debug>(poll: Poll<Result<T, crate::support::Fail>>) -> Option<RejectionKind> {
    match poll {
        Poll::Ready(Err(error)) => error.as_rejection().map(|rejection| rejection.kind()),
        _ => None,
    }
}

pub(crate) fn readiness_is_forwarded<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    rig.script.then_ready(Ready::Pend(2));
    let service = &mut rig.service;
    let mut ready = Hand::new(std::future::poll_fn(|cx| service.poll_ready(cx)));
    assert!(ready.poll().is_pending());
    assert_eq!(ready.wakes(), 1, "the inner service woke the caller");
    assert!(ready.poll().is_pending());
    assert_eq!(ready.poll(), Poll::Ready(Ok(())));
    assert_eq!(
        rig.watch.counts().ready_polls,
        3,
        "one poll inside for each outside"
    );
    rig.watch.assert_lawful();
}

pub(crate) fn an_unready_service_is_never_called<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    // Nobody asked for readiness: a service that is ready is called all the same.
    assert!(Hand::new(rig.service.call(request("a"))).poll().is_ready());
    rig.script.then_ready(Ready::Never);
    let refused = Hand::new(rig.service.call(request("a"))).poll();
    assert_eq!(kind(refused.map_ok(drop)), Some(RejectionKind::NotReady));
    assert!(poll_ready(&mut rig.service).is_pending());
    let refused = Hand::new(rig.service.call(request("a"))).poll();
    assert_eq!(kind(refused.map_ok(drop)), Some(RejectionKind::NotReady));
    assert_eq!(rig.watch.counts().calls, 1);
    rig.assert_quiet();
}

/// Ready at once or later: what succeeded was neither cancelled nor a failure.
pub(crate) fn a_success_is_counted_as_one<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    for pending in [0, 1] {
        let answer = response(&rig.time, 200, [data("x")]);
        rig.script.then_call(Call::respond(answer).pending(pending));
        assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
        let answer = finish_on(&rig.time, rig.service.call(request("a")));
        let (_, body) = answer.unwrap().unwrap().into_parts();
        // Read to its end, for layers that wait for it.
        let mut body = Box::pin(body);
        while let Poll::Ready(Some(_)) = Hand::new(std::future::poll_fn(|cx| {
            http_body::Body::poll_frame(body.as_mut(), cx)
        }))
        .poll()
        {}
    }
    if let Some(ended) = rig.handle.ended() {
        assert_eq!((ended.normal, ended.failed, ended.cancelled), (2, 0, 0));
    }
    rig.assert_quiet();
}

pub(crate) fn readiness_is_not_used_twice<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
    rig.script.then_ready(Ready::Never);
    assert!(Hand::new(rig.service.call(request("a"))).poll().is_ready());
    let refused = Hand::new(rig.service.call(request("a"))).poll();
    assert_eq!(kind(refused.map_ok(drop)), Some(RejectionKind::NotReady));
    assert_eq!(rig.watch.counts().calls, 1);
    rig.assert_quiet();
}

pub(crate) fn a_clone_carries_no_readiness<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
    rig.script.then_ready(Ready::Never);
    let refused = Hand::new(rig.service.clone().call(request("a"))).poll();
    assert_eq!(kind(refused.map_ok(drop)), Some(RejectionKind::NotReady));
    // The original still has its own.
    assert!(Hand::new(rig.service.call(request("a"))).poll().is_ready());
    assert_eq!(rig.watch.counts().calls, 1);
    rig.assert_quiet();
}

/// The usual dance: ready one, clone it, call the readied one and keep the clone.
pub(crate) fn what_was_readied_is_called<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    for _ in 0..50 {
        assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
        let fresh = rig.service.clone();
        let mut readied = std::mem::replace(&mut rig.service, fresh);
        assert!(Hand::new(readied.call(request("a"))).poll().is_ready());
    }
    assert_eq!(
        rig.watch.counts().ready_polls,
        50,
        "nothing was asked twice"
    );
    rig.assert_quiet();
}

pub(crate) fn ready_stays_ready_until_the_call<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    for _ in 0..20 {
        assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Ok(())));
    }
    assert!(
        rig.handle.in_flight() <= 1,
        "one readiness took more than one permit"
    );
    assert!(Hand::new(rig.service.call(request("a"))).poll().is_ready());
    // A service that never gets ready: who answers in its place sticks to it.
    rig.script.then_ready(Ready::Never);
    let service = &mut rig.service;
    let mut ready = Hand::new(std::future::poll_fn(|cx| service.poll_ready(cx)));
    assert!(ready.poll().is_pending());
    if let Some(due) = rig.time.next_due() {
        rig.time.set(due);
        assert_eq!(ready.poll(), Poll::Ready(Ok(())));
        assert_eq!(
            ready.poll(),
            Poll::Ready(Ok(())),
            "ready, and then not any more"
        );
        drop(ready);
        assert!(
            kind(
                Hand::new(rig.service.call(request("a")))
                    .poll()
                    .map_ok(drop)
            )
            .is_some()
        );
    }
    rig.assert_quiet();
}

pub(crate) fn errors_pass_untouched<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    rig.script.then_call(Call::error(BROKEN));
    rig.script
        .then_call(Call::error(BROKEN).pending(2).after(ms(5)));
    for _ in 0..2 {
        let result = finish_on(&rig.time, call(&mut rig.service, request("a")));
        assert_eq!(result.unwrap().map(drop), Err(BROKEN));
    }
    rig.script.then_ready(Ready::Error(BROKEN));
    assert_eq!(poll_ready(&mut rig.service), Poll::Ready(Err(BROKEN)));
    rig.assert_quiet();
}

pub(crate) fn dropped_anywhere_nothing_is_left<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let rig = Rig::new(make);
    let ok = || Call::respond(response(&rig.time, 200, [data("x")]));
    for line in [
        ok().pending(3),
        Call::error(BROKEN).pending(2),
        Call::never(),
    ] {
        let ends = drop_at(
            || {
                rig.script.then_call(line.clone());
                let mut service = rig.service.clone();
                assert_eq!(poll_ready(&mut service), Poll::Ready(Ok(())));
                service.call(request("a"))
            },
            |_| rig.assert_quiet(),
        )
        .is_some();
        let never = format!("{line:?}").contains("Never");
        assert_eq!(ends, !never);
    }
}

pub(crate) fn polled_after_its_end_it_pends<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    rig.script
        .then_call(Call::respond(response(&rig.time, 200, [])));
    rig.script.then_call(Call::error(BROKEN));
    for _ in 0..2 {
        let mut hand = Hand::new(rig.service.call(request("a")));
        assert!(hand.poll().is_ready());
        let before = (
            rig.handle.admitted(),
            rig.handle.ended(),
            rig.handle.rejected(),
        );
        for _ in 0..3 {
            assert!(hand.poll().is_pending());
        }
        drop(hand);
        let after = (
            rig.handle.admitted(),
            rig.handle.ended(),
            rig.handle.rejected(),
        );
        assert_eq!(before, after);
    }
    assert_eq!(rig.watch.counts().calls, 2);
    rig.assert_quiet();
}

pub(crate) fn a_healthy_service_is_untouched<L, H: Watched>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject>,
{
    let mut rig = Rig::new(make);
    let (mut bare, script, _) = inner(&rig.time);
    let time = rig.time.clone();
    for script in [&script, &rig.script] {
        for (status, pending) in [(200, 0), (204, 1), (304, 0), (404, 2), (500, 0), (503, 3)] {
            let body = [data("one"), data("two"), trailers()];
            let line = Call::respond(response(&time, status, body)).pending(pending);
            script.then_call(line);
            script.then_call(Call::error(BROKEN).after(ms(status.into())));
            script.then_call(Call::respond(response(&time, status, [])).after(ms(3)));
            let line = Call::respond(response(&time, status, [data("half")]));
            script.then_call(line.pending(pending));
        }
    }
    for turn in 0..24 {
        let expected = finish_on(&time, async {
            transcript(call(&mut bare, request("a")).await).await
        });
        let seen = finish_on(&time, async {
            transcript(call(&mut rig.service, request("a")).await).await
        });
        assert!(seen.is_some());
        assert_eq!(seen, expected, "call {turn}");
    }
    assert_eq!(rig.handle.rejected(), 0);
    rig.assert_quiet();
}

pub(crate) fn all_is_told_by_debug<L, H>(make: impl Fn(Setup) -> (L, H))
where
    L: Layer<Inner, Service: Subject> + std::fmt::Debug,
    H: Watched + std::fmt::Debug,
{
    fn shareable<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn movable<T: Send + 'static>(_: &T) {}
    let (layer, handle) = make(Setup::named("findable"));
    assert!(format!("{layer:?} {handle:?}").contains("findable"));
    let mut rig = Rig::with(Setup::named("findable"), &make);
    assert!(format!("{:?}", rig.service).contains("findable"));
    shareable(&rig.service);
    shareable(&rig.handle);
    let future = rig.service.call(request("a"));
    movable::<<L::Service as Service<Request<()>>>::Future>(&future);
    assert!(!format!("{future:?}").is_empty());
}
