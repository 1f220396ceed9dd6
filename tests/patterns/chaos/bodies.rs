//! Bodies that end early, stop or break.

use std::pin::Pin;
use std::task::Poll;

use http::{Request, Response};
use http_body::Body;
use tower::Layer;
use tower_keep::chaos::{Bodies, ChaosBody, ChaosLayer, Fault, Policy, Snapshot};
use tower_keep::error::find_rejection;
use tower_keep::test_util::{BodyStep, Call, Hand, ManualClock, ScriptBody, finish_on};
use tower_keep::{Ratio, RejectionKind};

use super::{all, started};
use crate::support::{call, data, inner, request, response, secs, trailers};

/// A response's body after its service has met this policy, and the counts.
fn body_of(
    time: &ManualClock,
    policy: Policy,
    steps: impl IntoIterator<Item = BodyStep>,
) -> (ChaosBody<ScriptBody>, impl Fn() -> Snapshot) {
    let (probe, script, _) = inner(time);
    script.then_call(Call::respond(response(time, 200, steps)));
    let layer: ChaosLayer<_, _, Bodies> = started(time, policy).with_bodies();
    let handle = layer.handle();
    let mut service = layer.layer(probe);
    let response = finish_on(time, call(&mut service, request("a")));
    let body = response.unwrap().unwrap().into_body();
    (body, move || handle.snapshot())
}

/// All that comes, in words.
fn read(time: &ManualClock, body: &mut ChaosBody<ScriptBody>) -> String {
    let mut said = Vec::new();
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        said.push(match finish_on(time, next) {
            None => "for ever".to_owned(),
            Some(None) => "end".to_owned(),
            Some(Some(Err(error))) => match find_rejection(error.as_ref()) {
                Some(rejection) => rejection.kind().label().to_owned(),
                None => error.to_string(),
            },
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    said.push(String::from_utf8(data.to_vec()).unwrap());
                    continue;
                }
                Err(_) => "trailers".to_owned(),
            },
        });
        if said.last().is_none_or(|last| last != "trailers") {
            return said.join(" ");
        }
    }
}

fn after(fault: Fault, bytes: u64) -> Policy {
    all(fault).to_builder().after_bytes(bytes).build().unwrap()
}

#[test]
fn a_fault_is_met_after_so_many_bytes() {
    let steps = || [data("one"), BodyStep::Pend(1), data("two"), trailers()];
    for (bytes, whole) in [
        (0, ""),
        (1, "o "),
        (3, "one "),
        (4, "one t "),
        (6, "one two "),
        (7, "one two trailers "),
        (u64::MAX, "one two trailers "),
    ] {
        for (fault, how) in [
            (Fault::Cut, "end"),
            (Fault::Stall, "injected"),
            (Fault::Reset, "injected"),
        ] {
            let time = ManualClock::new();
            let (mut body, counts) = body_of(&time, after(fault, bytes), steps());
            let hint = body.size_hint();
            assert_eq!(
                hint.exact(),
                ScriptBody::new(&time, steps()).size_hint().exact()
            );
            let start = time.now();
            let met = bytes < 7;
            let end = if met { how } else { "end" };
            assert_eq!(read(&time, &mut body), format!("{whole}{end}"), "{fault:?}");
            let stalled = met && fault == Fault::Stall;
            let took = time.now().saturating_since(start);
            assert_eq!(took, secs(if stalled { 60 } else { 0 }));
            assert!(body.is_end_stream());
            assert_eq!(read(&time, &mut body), "end", "nothing after its end");
            let s = counts();
            assert_eq!(s.cut + s.stalled + s.reset, u64::from(met));
        }
    }
}

#[test]
fn a_body_that_is_cut_inside_its_last_frame_still_breaks() {
    let time = ManualClock::new();
    let (mut body, _) = body_of(&time, after(Fault::Reset, 2), [data("last")]);
    assert!(!body.is_end_stream());
    let first = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
    let first = finish_on(&time, first).unwrap().unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "la");
    assert!(!body.is_end_stream(), "a reader would stop here");
    assert_eq!(read(&time, &mut body), "injected");
}

#[test]
fn fault_056_empty_and_broken_bodies_are_left_alone() {
    for fault in [Fault::Cut, Fault::Stall, Fault::Reset] {
        let time = ManualClock::new();
        let (mut body, counts) = body_of(&time, after(fault, 0), []);
        assert!(body.is_end_stream());
        assert_eq!(read(&time, &mut body), "end");
        let broken = BodyStep::Error(tower_keep::test_util::Broken("own"));
        let (mut body, _) = body_of(&time, after(fault, 9), [data("a"), broken]);
        assert_eq!(read(&time, &mut body), "a scripted failure: own");
        let s = counts();
        assert_eq!(s.cut + s.stalled + s.reset, 0);
    }
}

#[test]
fn a_stalled_body_may_be_dropped() {
    let time = ManualClock::new();
    let (mut body, counts) = body_of(&time, after(Fault::Stall, 1), [data("ab")]);
    let _ = finish_on(
        &time,
        std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)),
    );
    let mut stalled = Hand::new(std::future::poll_fn(|cx| {
        Pin::new(&mut body).poll_frame(cx)
    }));
    assert!(stalled.poll().is_pending());
    assert_eq!((time.armed(), counts().stalled), (1, 1));
    drop(stalled);
    drop(body);
    assert_eq!(time.armed(), 0);
    // Where no timer runs, it breaks at once.
    let layer = ChaosLayer::new(after(Fault::Stall, 0)).with_bodies();
    layer.handle().start();
    let (probe, script, _) = inner(&time);
    script.then_call(Call::respond(response(&time, 200, [data("ab")])));
    let mut service = layer.layer(probe);
    let mut answer = Hand::new(call(&mut service, request("a")));
    let Poll::Ready(Ok(response)) = answer.poll() else {
        panic!("the head waits for the body")
    };
    let mut body = response.into_body();
    assert_eq!(read(&time, &mut body), RejectionKind::NoRuntime.label());
}

#[test]
fn bodies_are_whole_until_it_is_started_and_for_errors() {
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    script.then_call(Call::respond(response(&time, 200, [data("whole")])));
    let layer = started(&time, all(Fault::Reset)).with_bodies();
    layer.handle().stop();
    let mut service = layer.layer(probe);
    let answer = finish_on(&time, call(&mut service, request("a")));
    let mut body = answer.unwrap().unwrap().into_body();
    layer.handle().start();
    assert_eq!(read(&time, &mut body), "whole end");
    let policy = after(Fault::Reset, 0).to_builder().error(Ratio::ONE);
    layer.handle().update(policy.build().unwrap());
    assert!(
        finish_on(&time, call(&mut service, request("a")))
            .unwrap()
            .is_err()
    );
    assert_eq!(layer.handle().snapshot().reset, 0);
}

#[tokio::test]
async fn answers_of_other_layers_are_whole() {
    let time = ManualClock::new();
    let inside = started(&time, all(Fault::Error));
    inside.handle().set_override(tower_keep::Override::Close);
    let outside = started(&time, all(Fault::Reset)).with_bodies();
    let stack = tower::ServiceBuilder::new().layer(outside).layer(inside);
    let mut service = tower_keep::respond(stack).layer(tower::service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new(axum::body::Body::from("x")))
    }));
    let answer = call(&mut service, request("a")).await.unwrap();
    assert_eq!(answer.status(), 503);
    let body = http_body_util::BodyExt::collect(answer.into_body()).await;
    assert!(!body.unwrap().to_bytes().is_empty());
}

/// Exactly so many bytes, of a body that does not know beforehand that it ends.
#[test]
fn a_body_of_just_so_many_bytes_passes_whole() {
    let time = ManualClock::new();
    for (chunks, bytes) in [(vec!["abc"], 3), (vec!["ab", "c"], 3), (vec![], 0)] {
        let steps = chunks
            .iter()
            .map(|chunk| data(chunk))
            .chain([BodyStep::Pend(1)]);
        let (mut body, seen) = body_of(&time, after(Fault::Reset, bytes), steps);
        let said = [chunks.clone(), vec!["end"]].concat().join(" ");
        assert_eq!(read(&time, &mut body), said);
        assert_eq!(seen().reset, 0);
    }
}
