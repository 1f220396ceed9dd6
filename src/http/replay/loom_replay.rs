//! Two readings of one body on two threads.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use loom::future::block_on;
use loom::sync::Mutex;
use loom::thread;

use super::ReplayBody;
use crate::replay::Earlier;

/// Two frames; the second one when somebody lets it.
struct Gated {
    given: u8,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn open(&self) {
        let waker = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = true;
            gate.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Body for Gated {
    type Data = Bytes;
    type Error = ();

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        if self.given == 1 {
            let mut gate = self.gate.0.lock().unwrap();
            if !gate.0 {
                gate.1 = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        if self.given == 2 {
            return Poll::Ready(None);
        }
        self.given += 1;
        let data = Bytes::copy_from_slice(&[self.given]);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

fn read(mut body: ReplayBody<Gated>) -> Vec<u8> {
    let mut seen = Vec::new();
    while let Some(frame) = block_on(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))) {
        seen.extend(frame.unwrap().into_data().unwrap());
    }
    seen
}

fn model(f: impl Fn(Arc<Gate>, ReplayBody<Gated>, ReplayBody<Gated>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let gate = Arc::new(Gate(Mutex::new((false, None))));
        let body = Gated {
            given: 0,
            gate: Arc::clone(&gate),
        };
        let (first, replayer) = ReplayBody::new(body, 1_000);
        let second = replayer.again(Earlier::Running).unwrap();
        f(gate, first, second);
    });
}

/// Whoever draws a frame, both see all of them, and none sleeps for ever.
#[test]
fn loom_replay_both_read_all() {
    model(|gate, first, second| {
        let other = thread::spawn(move || read(second));
        gate.open();
        assert_eq!(read(first), [1, 2]);
        assert_eq!(other.join().unwrap(), [1, 2]);
    });
}

/// A reading that goes away while it was the last to ask takes no wake-up along.
#[test]
fn loom_replay_wake_is_not_lost_by_a_drop() {
    model(|gate, first, mut second| {
        let other = thread::spawn(move || {
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..2 {
                let _ = Pin::new(&mut second).poll_frame(&mut cx);
            }
            drop(second);
            gate.open();
        });
        assert_eq!(read(first), [1, 2]);
        other.join().unwrap();
    });
}
