//! Readings against a list of frames, and what the cap and the end mean.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use proptest::prelude::*;

use super::source::{Copied, LEAST, Source};
use super::{ReplayBody, ReplayError, Replayer};
use crate::clock::ManualClock;
use crate::replay::Earlier;
use crate::test_util::{BodyStep, Broken, CountingWaker, ScriptBody};

const CAP: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Data(Bytes),
    Trailers,
    End,
    Fault(ReplayError<Broken>),
    Pending,
}

fn read(body: &mut ReplayBody<ScriptBody>) -> Seen {
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(body).poll_frame(&mut cx) {
        Poll::Pending => Seen::Pending,
        Poll::Ready(None) => Seen::End,
        Poll::Ready(Some(Err(error))) => Seen::Fault(error),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(data) => Seen::Data(data),
            Err(_) => Seen::Trailers,
        },
    }
}

fn rest(body: &mut ReplayBody<ScriptBody>) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        match read(body) {
            Seen::Pending => {}
            last @ (Seen::End | Seen::Fault(_)) => {
                seen.push(last);
                return seen;
            }
            frame => seen.push(frame),
        }
    }
}

fn data(len: usize, fill: u8) -> BodyStep {
    BodyStep::Data(Bytes::from(vec![fill; len]))
}

fn tee(
    steps: impl IntoIterator<Item = BodyStep>,
) -> (ReplayBody<ScriptBody>, Replayer<ScriptBody>) {
    ReplayBody::new(ScriptBody::new(&ManualClock::new(), steps), CAP)
}

/// What a reader of the script itself would see.
fn expected(steps: &[BodyStep]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for step in steps {
        match step {
            BodyStep::Data(data) => seen.push(Seen::Data(data.clone())),
            BodyStep::Trailers(_) => seen.push(Seen::Trailers),
            BodyStep::Error(broken) => {
                seen.push(Seen::Fault(ReplayError::Inner(*broken)));
                return seen;
            }
            _ => {}
        }
    }
    seen.push(Seen::End);
    seen
}

#[test]
fn each_reading_is_the_body() {
    let steps = [
        data(300, 1),
        BodyStep::Pend(1),
        data(0, 2),
        BodyStep::Trailers(HeaderMap::new()),
    ];
    let (mut first, replayer) = tee(steps.clone());
    assert_eq!(first.size_hint().exact(), Some(300));
    let mut beside = replayer.again(Earlier::Running).unwrap();
    assert_eq!(rest(&mut first), expected(&steps));
    assert!(first.is_end_stream() && !beside.is_end_stream());
    assert_eq!(beside.size_hint().exact(), Some(300));
    assert_eq!(rest(&mut beside), expected(&steps));
    assert!(beside.is_end_stream());
    let mut late = replayer.again(Earlier::Over).unwrap();
    assert_eq!(read(&mut first), Seen::Fault(ReplayError::Replaced));
    assert_eq!(rest(&mut late), expected(&steps));
}

#[test]
fn a_body_over_the_cap_flows_on_for_the_oldest_reading() {
    let steps = [data(600, 1), data(600, 2), data(5_000, 3)];
    // Alone.
    let (mut first, replayer) = tee([BodyStep::Never]);
    assert_eq!(read(&mut first), Seen::Pending);
    drop((first, replayer));
    let body = ScriptBody::new(&ManualClock::new(), steps.clone());
    let (mut long, never) = ReplayBody::new(body, CAP);
    assert!(!never.is_replayable(), "it says that it is longer");
    assert_eq!(rest(&mut long), expected(&steps));

    // The size is not known in advance, for a step may break it off.
    let hidden = || {
        let mut steps = steps.to_vec();
        steps.push(BodyStep::Error(Broken("end")));
        steps
    };
    let (mut first, replayer) = tee(hidden());
    let mut second = replayer.again(Earlier::Running).unwrap();
    // The younger one is ahead when the cap is met.
    assert!(matches!(read(&mut second), Seen::Data(_)));
    assert_eq!(read(&mut second), Seen::Fault(ReplayError::TooLong));
    assert!(replayer.again(Earlier::Running).is_none());
    assert_eq!(rest(&mut first), expected(&hidden()));
    // And behind.
    let (mut first, replayer) = tee(hidden());
    let mut second = replayer.again(Earlier::Running).unwrap();
    assert_eq!(rest(&mut first), expected(&hidden()));
    assert_eq!(read(&mut second), Seen::Fault(ReplayError::TooLong));
}

#[test]
fn a_body_that_fails_half_way_is_not_replayed() {
    let (mut first, replayer) = tee([data(1, 1), BodyStep::Error(Broken("no"))]);
    let mut second = replayer.again(Earlier::Running).unwrap();
    assert!(matches!(read(&mut first), Seen::Data(_)));
    assert_eq!(
        read(&mut first),
        Seen::Fault(ReplayError::Inner(Broken("no")))
    );
    assert!(replayer.again(Earlier::Over).is_none());
    assert!(matches!(read(&mut second), Seen::Data(_)));
    assert_eq!(read(&mut second), Seen::Fault(ReplayError::Broken));
}

#[test]
fn a_body_that_panics_is_broken_and_locks_nobody_out() {
    let (mut first, replayer) = tee([data(1, 1), BodyStep::Panic]);
    assert!(matches!(read(&mut first), Seen::Data(_)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&mut first)));
    assert!(panicked.is_err());
    assert_eq!(read(&mut first), Seen::Fault(ReplayError::Broken));
    assert!(!replayer.is_replayable());
}

/// Frames in the copy, and what they count for.
fn held(source: &Source<ScriptBody>) -> usize {
    source.frames.iter().map(Copied::charge).sum()
}

#[test]
fn empty_frames_without_end_are_not_kept() {
    let (mut first, replayer) = tee((0..1_000).map(|_| data(0, 0)));
    assert_eq!(rest(&mut first).len(), 1_001);
    assert!(held(&replayer.shared.source.lock()) <= CAP && !replayer.is_replayable());
}

#[test]
fn without_a_replayer_nothing_is_kept() {
    let (mut first, replayer) = tee([data(9, 1), data(9, 2), data(9, 3)]);
    assert!(matches!(read(&mut first), Seen::Data(_)));
    let shared = std::sync::Arc::clone(&replayer.shared);
    assert_eq!(shared.source.lock().frames.len(), 1);
    drop(replayer);
    assert!(matches!(read(&mut first), Seen::Data(_)));
    assert_eq!(shared.source.lock().frames.len(), 0);
    assert_eq!(rest(&mut first).len(), 2);
}

#[test]
fn whoever_waits_is_woken_though_the_one_that_polled_last_is_gone() {
    let time = ManualClock::new();
    let steps = [BodyStep::After(Duration::from_secs(1)), data(1, 1)];
    let (mut first, replayer) = ReplayBody::new(ScriptBody::new(&time, steps), CAP);
    let mut second = replayer.again(Earlier::Running).unwrap();
    let (one, two) = (CountingWaker::new(), CountingWaker::new());
    let poll = |body: &mut ReplayBody<ScriptBody>, counting: &CountingWaker| {
        let waker = counting.waker();
        Pin::new(body)
            .poll_frame(&mut Context::from_waker(&waker))
            .is_ready()
    };
    assert!(!poll(&mut first, &one) && !poll(&mut second, &two));
    drop(second);
    time.advance(Duration::from_secs(1));
    assert_eq!((one.wakes(), two.wakes()), (1, 0));
    assert!(poll(&mut first, &one));
    assert_eq!(one.wakes(), 1, "it does not wake itself");
}

#[derive(Debug, Clone)]
enum Op {
    Read(usize),
    Drop(usize),
    Again(Earlier),
    Forget,
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0_usize..4).prop_map(Op::Read),
        1 => (0_usize..4).prop_map(Op::Drop),
        2 => Just(Op::Again(Earlier::Running)),
        1 => Just(Op::Again(Earlier::Over)),
        1 => Just(Op::Forget),
    ]
}

fn steps() -> impl Strategy<Value = BodyStep> {
    prop_oneof![
        6 => (0_usize..400, any::<u8>()).prop_map(|(len, fill)| data(len, fill)),
        2 => (1_u32..3).prop_map(BodyStep::Pend),
        1 => Just(BodyStep::Error(Broken("no"))),
        1 => Just(BodyStep::Trailers(HeaderMap::new())),
    ]
}

proptest! {
    /// Whatever order they read in: each sees the body from its start, or is
    /// told why not; the cap is felt by all but the oldest; the copy keeps to it.
    #[test]
    fn readings_are_the_body_or_say_why_not(steps in prop::collection::vec(steps(), 0..20), ops in prop::collection::vec(ops(), 0..120)) {
        let all = expected(&steps);
        let (first, replayer) = tee(steps);
        let shared = std::sync::Arc::clone(&replayer.shared);
        let mut replayer = Some(replayer);
        let mut sole = None;
        let mut readers = vec![Some((first, Vec::new()))];
        let mut oldest = 0;
        let mut largest = LEAST;
        for frame in &all {
            if let Seen::Data(data) = frame {
                largest = largest.max(data.len());
            }
        }
        for op in ops {
            let mut late = Vec::new();
            match op {
                Op::Read(at) => {
                    let Some(Some((body, seen))) = readers.get_mut(at) else { continue };
                    let failed = all.iter().any(|frame| matches!(frame, Seen::Fault(_)));
                    match read(body) {
                        Seen::Pending => {}
                        Seen::Fault(ReplayError::Replaced) => prop_assert!(at < oldest),
                        Seen::Fault(ReplayError::TooLong) => late.push(at as u64),
                        Seen::Fault(ReplayError::Broken) => prop_assert!(failed),
                        frame => {
                            prop_assert!(at >= oldest);
                            if seen.last() != Some(&Seen::End) {
                                seen.push(frame);
                            }
                            prop_assert_eq!(seen.as_slice(), &all[..seen.len()]);
                        }
                    }
                }
                Op::Drop(at) => {
                    if let Some(reader) = readers.get_mut(at) {
                        *reader = None;
                    }
                    while oldest + 1 < readers.len() && readers[oldest].is_none() {
                        oldest += 1;
                    }
                }
                Op::Again(earlier) => {
                    if readers.len() < 4 && let Some(body) = replayer.as_ref().and_then(|r| r.again(earlier)) {
                        readers.push(Some((body, Vec::new())));
                        if earlier == Earlier::Over || readers[oldest].is_none() {
                            oldest = readers.len() - 1;
                        }
                    }
                }
                Op::Forget => replayer = None,
            }
            let source = shared.source.lock();
            if sole.is_none() && source.sole.is_some() {
                prop_assert_eq!(source.sole, Some(oldest as u64));
                sole = source.sole;
            }
            prop_assert!(late.iter().all(|at| sole.is_some_and(|sole| sole != *at)));
            prop_assert!(held(&source) <= CAP + largest);
        }
    }
}
