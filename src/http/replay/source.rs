//! What the readings of one body share.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::kernel::sync::Mutex;

/// A frame counts for at least so many bytes: a copy of a thousand tiny ones
/// takes more memory than their data.
pub(super) const LEAST: usize = 64;

pub(super) struct Shared<B: Body> {
    pub(super) source: Mutex<Source<B>>,
    /// Apart from the source, which may wake while it is polled.
    pub(super) readers: Mutex<Readers>,
}

pub(super) struct Source<B: Body> {
    pub(super) body: Option<B>,
    pub(super) state: State,
    /// The copy, from the frame number `start` on.
    pub(super) frames: VecDeque<Copied>,
    pub(super) start: usize,
    /// How many more bytes may be copied.
    pub(super) room: usize,
    /// Readers below this number were replaced.
    pub(super) floor: u64,
    /// No copy is made any more: for this reader alone.
    pub(super) sole: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// It is being polled, or has panicked there.
    Polled,
    Ended,
    Failed,
}

#[derive(Clone)]
pub(super) enum Copied {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Copied {
    pub(super) fn of(frame: Frame<Bytes>) -> Option<Self> {
        match frame.into_data() {
            Ok(data) => Some(Self::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(Self::Trailers),
        }
    }

    pub(super) fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(map) => Frame::trailers(map),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    pub(super) fn charge(&self) -> usize {
        let bytes = match self {
            Self::Data(data) => data.len(),
            Self::Trailers(map) => map
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + LEAST)
                .sum(),
        };
        bytes.max(LEAST)
    }
}

/// Those who read, in the order of their numbers.
#[derive(Default)]
pub(super) struct Readers {
    next: u64,
    living: Vec<Living>,
    /// How many can give out more of them.
    pub(super) replayers: usize,
}

pub(super) struct Living {
    id: u64,
    waker: Option<Waker>,
    pub(super) waits: bool,
}

impl Readers {
    pub(super) fn enter(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.living.push(Living {
            id,
            waker: None,
            waits: false,
        });
        id
    }

    pub(super) fn oldest(&self, floor: u64) -> Option<u64> {
        let mut numbers = self.living.iter().map(|reader| reader.id);
        numbers.find(|id| *id >= floor)
    }

    /// Whether nobody else reads, nor will.
    pub(super) fn is_last(&self, id: u64, floor: u64) -> bool {
        let mut living = self.living.iter();
        self.replayers == 0 && !living.any(|other| other.id != id && other.id >= floor)
    }

    pub(super) fn find(&mut self, id: u64) -> Option<&mut Living> {
        self.living.iter_mut().find(|reader| reader.id == id)
    }

    /// Whether this one will be woken: only if its waker is known, or is in
    /// `other`, which afterwards is what it replaces. Wakers are foreign code, and
    /// are neither cloned nor dropped here, where locks are held.
    pub(super) fn wait(&mut self, id: u64, waker: &Waker, other: &mut Option<Waker>) -> bool {
        let Some(reader) = self.find(id) else {
            return true;
        };
        let known = reader
            .waker
            .as_ref()
            .is_some_and(|old| old.will_wake(waker));
        if !known {
            if other.is_none() {
                return false;
            }
            std::mem::swap(&mut reader.waker, other);
        }
        reader.waits = true;
        true
    }

    pub(super) fn leave(&mut self, id: u64) -> Option<Living> {
        let place = self.living.iter().position(|reader| reader.id == id)?;
        Some(self.living.remove(place))
    }

    /// Somebody who waits, and does not any more.
    pub(super) fn next_waiting(&mut self) -> Option<Waker> {
        let reader = self.living.iter_mut().find(|reader| reader.waits)?;
        reader.waits = false;
        reader.waker.take()
    }
}

impl<B: Body> Shared<B> {
    /// Wakes all who wait. No lock is held then: a waker is foreign code.
    pub(super) fn wake_all(&self) {
        let next = || self.readers.lock().next_waiting();
        while let Some(waker) = next() {
            waker.wake();
        }
    }
}

/// The source wakes whoever reads, not only the one who has polled it last: that
/// one may be gone, or busy elsewhere.
impl<B: Body + Send + 'static> Wake for Shared<B> {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

pub(super) type Drawn<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B: Body> Source<B> {
    /// A copy of it is kept, unless it is for one reader alone.
    pub(super) fn new(body: B, cap: usize, sole: Option<u64>) -> Self {
        Self {
            body: Some(body),
            state: State::Open,
            frames: VecDeque::new(),
            start: 0,
            room: cap,
            floor: 0,
            sole,
        }
    }

    pub(super) fn is_replayable(&self) -> bool {
        self.sole.is_none() && matches!(self.state, State::Open | State::Ended)
    }
}

impl<B: Body + Unpin> Source<B> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Drawn<B> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        // Stays so if it panics.
        self.state = State::Polled;
        let poll = Pin::new(body).poll_frame(cx);
        if poll.is_pending() {
            self.state = State::Open;
        }
        poll
    }

    /// No other reader will come: what this one has read is let go, by the caller,
    /// for its owner is foreign code.
    pub(super) fn leave_to(&mut self, id: u64, position: usize) -> Vec<Copied> {
        self.sole = Some(id);
        let read = position.saturating_sub(self.start);
        let read = self.frames.drain(..read.min(self.frames.len())).collect();
        self.start = position;
        read
    }

    /// Bytes from this frame on.
    pub(super) fn hint(&self, position: usize) -> SizeHint {
        let ahead = self.frames.iter().skip(position - self.start);
        let ahead: u64 = ahead.map(|frame| frame.bytes() as u64).sum();
        let rest = match (&self.body, self.state) {
            (Some(body), State::Open) => body.size_hint(),
            (_, State::Ended) => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(ahead.saturating_add(upper));
        }
        hint.set_lower(ahead.saturating_add(rest.lower()));
        hint
    }

    pub(super) fn is_over(&self, position: usize) -> bool {
        position - self.start >= self.frames.len()
            && match (&self.body, self.state) {
                (Some(body), State::Open) => body.is_end_stream(),
                (_, state) => state == State::Ended,
            }
    }
}
