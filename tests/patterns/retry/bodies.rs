//! Requests with bodies.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::{Layer, Service};
use tower_keep::event::Conclusion;
use tower_keep::http::{ReplayBody, ReplayError};
use tower_keep::replay::{Buffered, Earlier};
use tower_keep::retry::{Http, RetryLayer, Snapshot};
use tower_keep::test_util::{BodyStep, Broken, ManualClock, ScriptBody, finish_on};
use tower_keep::{Error, Setup};

use super::{Conclusions, hear, steady, without_end};
use crate::support::{Fail, call, data, ms, trailers};

/// What an attempt read of its body before it answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Read {
    text: String,
    trailers: bool,
    fault: Option<ReplayError<Broken>>,
}

/// What an upstream does: frames it reads before it answers, and the status.
#[derive(Debug, Clone, Copy)]
struct Turn {
    frames: usize,
    status: u16,
}

const ALL: usize = usize::MAX;

/// An upstream that takes its turns, and keeps the bodies that it has not read to
/// their ends, as a connection does that still sends.
#[derive(Clone)]
struct Upstream {
    turns: Arc<Mutex<std::vec::IntoIter<Turn>>>,
    reads: Arc<Mutex<Vec<Read>>>,
    unread: Arc<Mutex<Vec<ReplayBody<ScriptBody>>>>,
}

impl Service<Request<ReplayBody<ScriptBody>>> for Upstream {
    type Response = Response<()>;
    type Error = Fail;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Fail>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<ScriptBody>>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let turn = this.turns.lock().next().unwrap();
            assert_eq!(request.headers().get("x-key").unwrap(), "a");
            let mut body = request.into_body();
            let mut read = Read::default();
            for _ in 0..turn.frames {
                match body.frame().await {
                    None => break,
                    Some(Err(error)) => {
                        read.fault = Some(error);
                        this.reads.lock().push(read);
                        return Err(Error::Inner(Broken("the body failed")));
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => read.text.push_str(std::str::from_utf8(&data).unwrap()),
                        Err(_) => read.trailers = true,
                    },
                }
            }
            this.reads.lock().push(read);
            if !body.is_end_stream() {
                this.unread.lock().push(body);
            }
            Ok(Response::builder().status(turn.status).body(()).unwrap())
        })
    }
}

struct Sent {
    status: Result<u16, Fail>,
    reads: Vec<Read>,
    heard: Conclusions,
    snapshot: Snapshot,
    unread: Vec<ReplayBody<ScriptBody>>,
}

/// A `PUT` of this body, of which 40 bytes may be kept.
fn send(steps: Vec<BodyStep>, turns: Vec<Turn>) -> Sent {
    let time = ManualClock::new();
    let (setup, heard) = hear(Setup::new().with_clock(time.clock()));
    let budget = without_end(setup.clone());
    let layer =
        RetryLayer::with_budget(steady(), Http::new(), budget, setup).replay(Buffered::up_to(CAP));
    let upstream = Upstream {
        turns: Arc::new(Mutex::new(turns.into_iter())),
        reads: Arc::default(),
        unread: Arc::default(),
    };
    let mut service = layer.layer(upstream.clone());
    let mut request = Request::put("/")
        .body(ScriptBody::new(&time, steps))
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("x-key", HeaderValue::from_static("a"));
    let status = finish_on(&time, call(&mut service, request)).unwrap();
    Sent {
        status: status.map(|response| response.status().as_u16()),
        reads: std::mem::take(&mut upstream.reads.lock()),
        heard,
        snapshot: layer.handle().snapshot(),
        unread: std::mem::take(&mut upstream.unread.lock()),
    }
}

/// Room for a few frames, since each counts for 64 bytes.
const CAP: usize = 300;

fn all(text: &str, trailers: bool) -> Read {
    Read {
        text: text.to_owned(),
        trailers,
        fault: None,
    }
}

fn turns(list: &[(usize, u16)]) -> Vec<Turn> {
    let turn = |&(frames, status)| Turn { frames, status };
    list.iter().map(turn).collect()
}

#[test]
fn a_body_that_streams_is_sent_again_as_it_was() {
    let body = vec![
        data("one "),
        BodyStep::After(ms(5)),
        data("two "),
        BodyStep::Pend(1),
        trailers(),
    ];
    let sent = send(body, turns(&[(ALL, 503), (ALL, 502), (ALL, 200)]));
    assert_eq!(sent.status, Ok(200));
    assert_eq!(sent.reads, vec![all("one two ", true); 3]);
    assert_eq!(*sent.heard.lock(), [(3, Conclusion::Succeeded)]);
}

#[test]
fn an_upstream_that_answers_before_the_body_is_read_is_tried_with_all_of_it() {
    let body = vec![data("one "), data("two "), data("three")];
    let sent = send(body, turns(&[(0, 503), (1, 503), (ALL, 200)]));
    assert_eq!(sent.status, Ok(200));
    let expected = [
        all("", false),
        all("one ", false),
        all("one two three", false),
    ];
    assert_eq!(sent.reads, expected);
    // Who still sends the older ones is told to stop: it takes nothing from the
    // one that counts, and does not panic.
    assert_eq!(sent.unread.len(), 2);
    for mut body in sent.unread {
        let frame = finish_on(&ManualClock::new(), async { body.frame().await });
        assert!(matches!(frame, Some(Some(Err(ReplayError::Replaced)))));
    }
}

#[test]
fn the_first_outcome_of_a_body_over_the_cap_is_returned_unharmed() {
    // It does not say how long it is, for it may break off.
    let mut body = Vec::new();
    for _ in 0..100 {
        body.push(data("0123456789"));
    }
    body.push(BodyStep::Pend(1));
    let told = send(body.clone(), turns(&[(ALL, 503)]));
    assert_eq!(told.status, Ok(503));
    assert_eq!(told.reads, [all(&"0123456789".repeat(100), false)]);
    assert_eq!(*told.heard.lock(), [(1, Conclusion::Unrepeatable)]);
    assert_eq!((told.snapshot.unrepeatable, told.snapshot.retried), (1, 0));
    // So many tiny frames are over it, too.
    let tiny = send(vec![data(""); 30], turns(&[(ALL, 503)]));
    assert_eq!(*tiny.heard.lock(), [(1, Conclusion::Unrepeatable)]);
}

#[test]
fn a_body_that_fails_half_way_is_not_sent_again() {
    let body = vec![data("one "), BodyStep::Error(Broken("gone"))];
    let sent = send(body, turns(&[(ALL, 200), (ALL, 200)]));
    assert_eq!(sent.status, Err(Error::Inner(Broken("the body failed"))));
    let fault = Some(ReplayError::Inner(Broken("gone")));
    let text = "one ".to_owned();
    let expected = Read {
        text,
        trailers: false,
        fault,
    };
    assert_eq!(sent.reads, [expected]);
    assert_eq!(*sent.heard.lock(), [(1, Conclusion::Unrepeatable)]);
}

#[test]
fn a_body_that_goes_over_the_cap_during_the_second_attempt_ends_there() {
    let mut body = vec![data("0123456789"); 30];
    body.push(BodyStep::Error(Broken("never read")));
    let sent = send(body, turns(&[(2, 503), (20, 503), (ALL, 200)]));
    assert_eq!(sent.status, Ok(503));
    assert_eq!(sent.reads[1], all(&"0123456789".repeat(20), false));
    assert_eq!(*sent.heard.lock(), [(2, Conclusion::Unrepeatable)]);
}

#[test]
fn an_empty_body_is_not_kept() {
    let sent = send(Vec::new(), turns(&[(ALL, 503), (ALL, 200)]));
    assert_eq!((sent.status, sent.reads.len()), (Ok(200), 2));
}

/// Nothing is dropped or cloned under a lock: a waker may own what is dropped with
/// it.
#[test]
fn a_waker_may_own_another_reading_of_the_body_it_waits_for() {
    struct Owns(#[expect(dead_code)] Mutex<Option<ReplayBody<ScriptBody>>>);
    impl std::task::Wake for Owns {
        fn wake(self: Arc<Self>) {}
    }
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let time = ManualClock::new();
        let body = ScriptBody::new(&time, [BodyStep::Never]);
        let (mut first, replayer) = ReplayBody::new(body, 100);
        let second = replayer.again(Earlier::Running).unwrap();
        // Only its waker keeps the task, and the task a reading.
        let task = Arc::new(Owns(Mutex::new(Some(second))));
        let waker = Waker::from(task);
        let poll = Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker));
        assert!(poll.is_pending());
        drop(waker);
        let poll = Pin::new(&mut first).poll_frame(&mut Context::from_waker(Waker::noop()));
        done.send(poll.is_ready()).unwrap();
    });
    let end = finished.recv_timeout(std::time::Duration::from_secs(5));
    assert!(end.is_ok(), "deadlock");
}
