//! Bodies that several attempts read: how they are shared, and where a copy ends.

mod stacks;

use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body;
use proptest::prelude::*;
use tower_keep::http::{ReplayBody, ReplayError, Replayer};
use tower_keep::replay::{Earlier, Replay, Reread};
use tower_keep::test_util::{BodyStep, Broken, ManualClock, ScriptBody};

use crate::support::data;

type Frames = Vec<Option<Bytes>>;

type Read = Poll<Option<Result<Option<Bytes>, ReplayError<Broken>>>>;

fn read(body: &mut ReplayBody<ScriptBody>) -> Read {
    let poll = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    poll.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().ok())))
}

/// A reader, and what it has read: data, or trailers as none.
struct Reader {
    body: ReplayBody<ScriptBody>,
    seen: Frames,
    /// It has failed, or ended.
    over: bool,
}

fn reader(body: ReplayBody<ScriptBody>) -> Reader {
    Reader {
        body,
        seen: Vec::new(),
        over: false,
    }
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
        14 => (0_usize..4).prop_map(Op::Read),
        1 => (0_usize..4).prop_map(Op::Drop),
        2 => Just(Op::Again(Earlier::Running)),
        1 => Just(Op::Again(Earlier::Over)),
        1 => Just(Op::Forget),
    ]
}

fn steps() -> impl Strategy<Value = Vec<BodyStep>> {
    let step = prop_oneof![
        5 => (0_usize..300, any::<u8>()).prop_map(|(len, fill)| BodyStep::Data(Bytes::from(vec![fill; len]))),
        2 => (1_u32..3).prop_map(BodyStep::Pend),
    ];
    let end = prop_oneof![
        2 => Just(None),
        1 => Just(Some(BodyStep::Error(Broken("no")))),
        1 => Just(Some(BodyStep::Trailers(HeaderMap::new()))),
    ];
    (prop::collection::vec(step, 0..14), end).prop_map(|(mut steps, end)| {
        steps.extend(end);
        steps
    })
}

proptest! {
    /// Whatever the cap, and whoever comes and goes: each sees the frames in their
    /// order from the first on, and what it says of the rest is true.
    #[test]
    fn what_a_reading_says_of_its_rest_is_true(steps in steps(), cap in 0_usize..2_000, ops in prop::collection::vec(ops(), 0..150)) {
        let frames: Frames = steps.iter().filter_map(|step| match step {
            BodyStep::Data(data) => Some(Some(data.clone())),
            BodyStep::Trailers(_) => Some(None),
            _ => None,
        }).collect();
        let fails = steps.contains(&BodyStep::Error(Broken("no")));
        let (first, replayer) = ReplayBody::new(ScriptBody::new(&ManualClock::new(), steps), cap);
        let mut replayer = Some(replayer);
        let mut readers = vec![Some(reader(first))];
        // Below this place, they were replaced.
        let mut floor = 0;
        let mut given_up = false;
        for op in ops {
            match op {
                Op::Read(at) => {
                    let Some(Some(reader)) = readers.get_mut(at) else { continue };
                    match read(&mut reader.body) {
                        Poll::Pending => {}
                        Poll::Ready(Some(Ok(frame))) => {
                            prop_assert!(!reader.over && at >= floor);
                            reader.seen.push(frame);
                            prop_assert_eq!(reader.seen.as_slice(), &frames[..reader.seen.len()]);
                        }
                        Poll::Ready(None) => {
                            prop_assert!(!fails);
                            prop_assert_eq!(reader.seen.len(), frames.len());
                        }
                        Poll::Ready(Some(Err(error))) => {
                            match error {
                                ReplayError::Replaced => prop_assert!(at < floor),
                                ReplayError::TooLong => given_up = true,
                                ReplayError::Inner(_) => prop_assert_eq!(reader.seen.len(), frames.len()),
                                _ => prop_assert!(fails),
                            }
                            reader.over = true;
                        }
                    }
                }
                Op::Drop(at) => if let Some(reader) = readers.get_mut(at) {
                    *reader = None;
                },
                Op::Again(earlier) => {
                    let possible = replayer.as_ref().is_some_and(Replayer::is_replayable);
                    let body = replayer.as_ref().and_then(|replayer| replayer.again(earlier));
                    prop_assert_eq!(possible, body.is_some());
                    let Some(body) = body else { continue };
                    prop_assert!(!given_up, "what was given up does not come back");
                    if earlier == Earlier::Over {
                        floor = readers.len();
                    }
                    readers.push(Some(reader(body)));
                }
                Op::Forget => replayer = None,
            }
            for reader in readers.iter().flatten() {
                let left = &frames[reader.seen.len()..];
                let bytes: usize = left.iter().flatten().map(Bytes::len).sum();
                let hint = reader.body.size_hint();
                if !reader.over && !fails {
                    prop_assert!(hint.lower() <= bytes as u64, "{hint:?} of {bytes}");
                    prop_assert!(hint.upper().is_none_or(|most| most >= bytes as u64), "{hint:?} of {bytes}");
                }
                if reader.body.is_end_stream() {
                    prop_assert!(left.is_empty() && !fails);
                }
            }
        }
        // The oldest that is left reads all that there is.
        let mut left = readers.into_iter().skip(floor).flatten();
        if let Some(mut oldest) = left.next().filter(|reader| !reader.over) {
            loop {
                match read(&mut oldest.body) {
                    Poll::Pending => {}
                    Poll::Ready(Some(Ok(frame))) => oldest.seen.push(frame),
                    Poll::Ready(Some(Err(ReplayError::TooLong | ReplayError::Replaced))) => {
                        // Only if one that was older has gone since.
                        prop_assert!(given_up || oldest.seen.len() < frames.len());
                        break;
                    }
                    Poll::Ready(_) => {
                        prop_assert_eq!(&oldest.seen, &frames);
                        break;
                    }
                }
            }
        }
    }
}

/// The first reading is whole whatever the cap; the second up to the frame that
/// does not fit.
#[test]
fn a_cap_at_every_frame_boundary() {
    let frames = [100_usize, 0, 64, 65, 1];
    for cap in 0..400 {
        // It may break off, so its length is not known.
        let mut steps: Vec<_> = frames.map(|len| BodyStep::Data(vec![7; len].into())).into();
        steps.push(BodyStep::Pend(1));
        steps.push(BodyStep::Error(Broken("end")));
        let (mut first, replayer) =
            ReplayBody::new(ScriptBody::new(&ManualClock::new(), steps), cap);
        let mut second = replayer.again(Earlier::Running).unwrap();
        let mut sizes = Vec::new();
        let end = loop {
            match read(&mut first) {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(frame))) => sizes.push(frame.unwrap().len()),
                Poll::Ready(end) => break end,
            }
        };
        assert_eq!(sizes, frames);
        assert_eq!(end, Some(Err(ReplayError::Inner(Broken("end")))));
        let charged: usize = frames.iter().map(|len| (*len).max(64)).sum();
        let expected = match charged <= cap {
            true => Poll::Ready(Some(Ok(Some(vec![7; 100].into())))),
            false => Poll::Ready(Some(Err(ReplayError::TooLong))),
        };
        assert_eq!(read(&mut second), expected, "{cap}");
        assert!(!replayer.is_replayable());
    }
}

/// What is dropped with a frame of the copy may be anything.
#[test]
fn a_frame_may_own_what_gives_out_readings_of_its_body() {
    /// Asks, and lets go, when the frame's data is dropped.
    struct Owner(Arc<Mutex<Option<Replayer<ScriptBody>>>>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"some data"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            if let Some(replayer) = self.0.lock().unwrap().take() {
                let _ = replayer.is_replayable();
            }
        }
    }
    // The copy is given up because it is too long, or because nobody else reads.
    for (cap, kept) in [(100, true), (10_000, false)] {
        let (done, finished) = mpsc::channel();
        std::thread::spawn(move || {
            let slot = Arc::new(Mutex::new(None));
            let owned = Bytes::from_owner(Owner(Arc::clone(&slot)));
            let steps = [
                BodyStep::Data(owned),
                BodyStep::Data(vec![0; 200].into()),
                // So its length is not known.
                BodyStep::Error(Broken("end")),
            ];
            let body = ScriptBody::new(&ManualClock::new(), steps);
            let (mut first, replayer) = ReplayBody::new(body, cap);
            assert!(read(&mut first).is_ready());
            if kept {
                *slot.lock().unwrap() = Some(replayer);
            } else {
                drop(replayer);
            }
            while !matches!(read(&mut first), Poll::Ready(Some(Err(_)))) {}
            done.send(slot.lock().unwrap().is_none()).unwrap();
        });
        let end = finished.recv_timeout(std::time::Duration::from_secs(5));
        assert_eq!(end, Ok(true), "deadlock");
    }
}

#[test]
fn what_somebody_has_begun_to_read_is_not_sent_again() {
    let body = || {
        ScriptBody::new(
            &ManualClock::new(),
            [data("a"), data("b"), BodyStep::Pend(1)],
        )
    };
    let reread = Reread::up_to(1_000);
    let (mut first, replayer) = ReplayBody::new(body(), 1_000);
    let keeps = |body: ReplayBody<ScriptBody>| {
        let request = Request::new(body);
        let kept = reread.keep(&request).is_some();
        (kept, request.into_body())
    };
    let kept;
    (kept, first) = keeps(first);
    assert!(kept, "nothing was read");
    assert!(read(&mut first).is_ready());
    assert!(!keeps(first).0, "it has begun");
    assert!(keeps(replayer.again(Earlier::Running).unwrap()).0);
    // What is not kept yet can be, if it is short enough.
    assert!(keeps(ReplayBody::plain(body())).0);
    let long = ScriptBody::new(&ManualClock::new(), [BodyStep::Data(vec![0; 1_001].into())]);
    assert!(!keeps(ReplayBody::plain(long)).0);
    assert!(keeps(ReplayBody::ended()).0);
}
