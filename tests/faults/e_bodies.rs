//! E. Bodies that admissions hang on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use http::{Request, Response};
use http_body::{Body, Frame};
use tower::Layer;
use tower_keep::Setup;
use tower_keep::bulkhead::{Bulkhead, BulkheadLayer, Handle, Shed};
use tower_keep::classify::{ErrorsOnly, Http};
use tower_keep::release::OnBodyEnd;
use tower_keep::test_util::{BodyStep, Broken, Call, Hand, ScriptBody, finish_on};

use crate::support::cases::{Rig, permits};
use crate::support::transcript::transcript;
use crate::support::watched::{Ends, Watched};
use crate::support::{Fail, Inner, call, data, ms, request, response, trailers};

type Tracked<C> = Rig<Bulkhead<Inner, Shed, OnBodyEnd, C>, Handle>;

fn tracked<C: Clone>(classify: C) -> Tracked<C>
where
    BulkheadLayer<Shed, OnBodyEnd, C>: Layer<Inner, Service = Bulkhead<Inner, Shed, OnBodyEnd, C>>,
{
    Rig::new(|setup: Setup| {
        let layer = BulkheadLayer::with(permits(1), setup).until_body_end();
        let layer = layer.classify(classify);
        let handle = layer.handle();
        (layer, handle)
    })
}

fn ends(normal: u64, failed: u64, cancelled: u64) -> Option<Ends> {
    Some(Ends {
        normal,
        failed,
        cancelled,
    })
}

/// What one poll of a body gives.
type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

fn next<B: Body + Unpin>(body: &mut B) -> Polled<B> {
    Hand::new(std::future::poll_fn(|cx| {
        std::pin::Pin::new(&mut *body).poll_frame(cx)
    }))
    .poll()
}

/// The response to one call with this body.
macro_rules! answer {
    ($rig:expr, $status:expr, $body:expr) => {{
        $rig.script
            .then_call(Call::respond(response(&$rig.time, $status, $body)));
        finish_on(&$rig.time, call(&mut $rig.service, request("a")))
            .unwrap()
            .unwrap()
    }};
}

#[test]
fn fault_054_a_body_that_nobody_reads() {
    let mut rig = tracked(ErrorsOnly);
    let unread = answer!(rig, 200, [data("x")]);
    rig.time.advance(ms(1_000_000));
    assert_eq!(rig.handle.in_flight(), 1, "held until the body's end");
    drop(unread);
    rig.assert_quiet();
    assert_eq!(rig.handle.ended(), ends(0, 0, 1));
    let mut rig = Rig::new(|setup: Setup| {
        let layer = BulkheadLayer::with(permits(1), setup);
        let handle = layer.handle();
        (layer, handle)
    });
    let unread = answer!(rig, 200, [data("x")]);
    assert_eq!(rig.handle.in_flight(), 0, "free at the head");
    assert_eq!(rig.handle.ended(), ends(1, 0, 0));
    drop(unread);
    assert_eq!(rig.handle.ended(), ends(1, 0, 0));
}

#[test]
fn fault_055_a_body_that_breaks_is_one_failure() {
    fn check<C: Clone>(mut rig: Tracked<C>)
    where
        Bulkhead<Inner, Shed, OnBodyEnd, C>: crate::support::cases::Subject,
    {
        let body = || {
            [
                data("one"),
                BodyStep::Pend(1),
                BodyStep::Error(Broken("reset")),
            ]
        };
        let time = rig.time.clone();
        let bare: Result<_, Fail> = Ok(response(&time, 200, body()));
        let expected = finish_on(&time, transcript(bare));
        rig.script
            .then_call(Call::respond(response(&time, 200, body())));
        let seen = finish_on(&time, async {
            transcript(call(&mut rig.service, request("a")).await).await
        });
        assert_eq!(seen, expected);
        assert_eq!(rig.handle.ended(), ends(0, 1, 0));
        rig.assert_quiet();
    }
    check(tracked(ErrorsOnly));
    check(tracked(Http));
}

#[test]
fn fault_056_bodies_that_end_at_once_need_no_poll() {
    for status in [200, 204, 304, 101] {
        let mut rig = tracked(ErrorsOnly);
        let answer = answer!(rig, status, []);
        assert_eq!(rig.handle.in_flight(), 0, "{status}");
        assert_eq!(rig.handle.ended(), ends(1, 0, 0));
        assert!(answer.body().is_end_stream());
        assert_eq!(answer.body().size_hint().exact(), Some(0));
        drop(answer);
        assert_eq!(rig.handle.ended(), ends(1, 0, 0));
    }
    // The last frame ends it if the body says so; trailers do always.
    for body in [
        vec![data("x")],
        vec![data("x"), trailers()],
        vec![trailers()],
    ] {
        let mut rig = tracked(ErrorsOnly);
        let bare: Response<ScriptBody> = response(&rig.time, 200, body.clone());
        let mut answer = answer!(rig, 200, body.clone());
        let hint = answer.body().size_hint();
        assert_eq!(hint.exact(), bare.body().size_hint().exact());
        for left in (0..body.len()).rev() {
            assert_eq!(rig.handle.in_flight(), 1);
            assert!(next(answer.body_mut()).is_ready());
            assert_eq!(answer.body().is_end_stream(), left == 0);
        }
        assert_eq!(rig.handle.ended(), ends(1, 0, 0));
        rig.assert_quiet();
    }
}

#[test]
fn fault_057_a_body_dropped_half_way_was_cancelled() {
    let steps = [data("a"), BodyStep::Pend(2), data("b"), trailers()];
    for polls in 0..steps.len() {
        let mut rig = tracked(Http);
        let mut answer = answer!(rig, 200, steps.clone());
        for _ in 0..polls {
            let _ = next(answer.body_mut());
        }
        assert_eq!(rig.handle.in_flight(), 1);
        drop(answer);
        assert_eq!(rig.handle.ended(), ends(0, 0, 1), "after {polls} polls");
        rig.assert_quiet();
    }
}

#[test]
fn fault_010_a_body_that_panics_is_one_failure() {
    for kept in [true, false] {
        let mut rig = tracked(ErrorsOnly);
        let mut answer = Some(answer!(rig, 200, [data("a"), BodyStep::Panic]));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            // Kept by somebody who catches panics, or dropped by the unwinding.
            let mut unwound = (!kept).then(|| answer.take().unwrap());
            let body = unwound.as_mut().or(answer.as_mut()).unwrap().body_mut();
            assert!(next(body).is_ready());
            let _ = next(body);
        }));
        assert!(panicked.is_err());
        assert_eq!(rig.handle.ended(), ends(0, 1, 0), "kept: {kept}");
        drop(answer);
        assert_eq!(rig.handle.ended(), ends(0, 1, 0));
        rig.assert_quiet();
    }
}

#[test]
fn fault_056_trailers_and_hints_pass_through_every_kind() {
    let mut rig = tracked(Http);
    let steps = || [data("one"), BodyStep::After(ms(5)), data("two"), trailers()];
    let time = rig.time.clone();
    let bare: Result<_, Fail> = Ok(response(&time, 200, steps()));
    let expected = finish_on(&time, transcript(bare));
    rig.script
        .then_call(Call::respond(response(&time, 200, steps())));
    let seen = finish_on(&time, async {
        transcript(call(&mut rig.service, Request::new(())).await).await
    });
    assert_eq!(seen, expected);
    rig.assert_quiet();
}
