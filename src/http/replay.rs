//! A request body that can be read more than once.

#[cfg(all(test, keep_loom))]
mod loom_replay;
mod request;
#[cfg(all(test, not(keep_loom)))]
mod tests;

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

pub use self::request::{Buffered, KeptRequest};
use crate::kernel::sync::{Mutex, MutexGuard};
use crate::replay::Earlier;

/// A frame counts for at least so many bytes: a copy of a thousand tiny ones
/// takes more memory than their data.
const LEAST: usize = 64;

/// Why a body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError<E> {
    /// The body itself failed.
    Inner(E),
    /// It failed for another reader before.
    Broken,
    /// It is longer than what is kept, and an older reader has gone on with it.
    TooLong,
    /// Another attempt has taken this one's place.
    Replaced,
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Broken => f.write_str("request body: it failed in an earlier attempt"),
            Self::TooLong => f.write_str("request body: too long for another attempt"),
            Self::Replaced => f.write_str("request body: another attempt took over"),
        }
    }
}

impl<E: StdError + 'static> StdError for ReplayError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            Self::Broken | Self::TooLong | Self::Replaced => None,
        }
    }
}

/// One reading of a body; [`Replayer`] gives out more of them.
///
/// Frames, trailers, size hint and end are those of the body. Whoever reads at
/// its front draws the next frame and leaves a copy for the others; behind it,
/// frames come from the copy. Any number of readings may go on at once, in any
/// number of tasks. When the copy would exceed its cap it is given up: the one that
/// is then the *oldest* reading goes on unharmed and alone, and others fail. So no
/// later attempt can harm the first.
///
/// # Cost
/// A reading without a [`Replayer`], and one of a body that is at its end from the
/// start, add nothing. Otherwise each frame, size hint and question for the end
/// takes a lock, which only readers of the same body share, and a copied frame one
/// count of references: data is copied only if the body's buffers are no [`Bytes`].
/// One allocation per body, and what the list of frames takes. Up to the cap and
/// one frame are kept, where a frame counts for 64 bytes at least; a frame that
/// is a slice of a larger buffer keeps all of it.
///
/// # Cancel safety
/// May be dropped at any time; other readings go on.
pub struct ReplayBody<B: Body> {
    kind: Kind<B>,
}

enum Kind<B: Body> {
    /// Nobody reads it but this one.
    Plain(B),
    Ended,
    Shared(Reader<B>),
}

struct Reader<B: Body> {
    shared: Arc<Shared<B>>,
    id: u64,
    /// The number of the next frame.
    position: usize,
}

/// Gives out further readings of a body. While it lives, a copy is kept.
pub struct Replayer<B: Body> {
    shared: Arc<Shared<B>>,
}

struct Shared<B: Body> {
    source: Mutex<Source<B>>,
    /// Apart from the source, which may wake while it is polled.
    readers: Mutex<Readers>,
}

struct Source<B: Body> {
    body: Option<B>,
    state: State,
    /// The copy, from the frame number `start` on.
    frames: VecDeque<Copied>,
    start: usize,
    /// How many more bytes may be copied.
    room: usize,
    /// A [`Replayer`] lives.
    kept: bool,
    /// Readers below this number were replaced.
    floor: u64,
    /// No copy is made any more: for this reader alone.
    sole: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// It is being polled, or has panicked there.
    Polled,
    Ended,
    Failed,
}

#[derive(Clone)]
enum Copied {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Copied {
    fn of(frame: Frame<Bytes>) -> Option<Self> {
        match frame.into_data() {
            Ok(data) => Some(Self::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(Self::Trailers),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(map) => Frame::trailers(map),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn charge(&self) -> usize {
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
struct Readers {
    next: u64,
    living: Vec<Living>,
}

struct Living {
    id: u64,
    waker: Option<Waker>,
    waits: bool,
}

impl Readers {
    fn enter(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.living.push(Living {
            id,
            waker: None,
            waits: false,
        });
        id
    }

    fn oldest(&self, floor: u64) -> Option<u64> {
        let mut numbers = self.living.iter().map(|reader| reader.id);
        numbers.find(|id| *id >= floor)
    }

    fn is_alone(&self, id: u64, floor: u64) -> bool {
        let mut living = self.living.iter();
        !living.any(|other| other.id != id && other.id >= floor)
    }

    fn find(&mut self, id: u64) -> Option<&mut Living> {
        self.living.iter_mut().find(|reader| reader.id == id)
    }

    fn wait(&mut self, id: u64, waker: &Waker) {
        if let Some(reader) = self.find(id) {
            reader.waits = true;
            match &mut reader.waker {
                Some(old) => old.clone_from(waker),
                None => reader.waker = Some(waker.clone()),
            }
        }
    }

    fn leave(&mut self, id: u64) -> Option<Living> {
        let place = self.living.iter().position(|reader| reader.id == id)?;
        Some(self.living.remove(place))
    }

    /// Somebody who waits, and does not any more.
    fn next_waiting(&mut self) -> Option<Waker> {
        let reader = self.living.iter_mut().find(|reader| reader.waits)?;
        reader.waits = false;
        reader.waker.take()
    }
}

impl<B: Body> Shared<B> {
    /// Wakes all who wait. No lock is held then: a waker is foreign code.
    fn wake_all(&self) {
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

impl<B: Body + Unpin> ReplayBody<B> {
    /// The body, to be read once.
    pub fn plain(body: B) -> Self {
        Self {
            kind: Kind::Plain(body),
        }
    }

    /// A body that is at its end.
    #[must_use]
    pub fn ended() -> Self {
        Self { kind: Kind::Ended }
    }

    /// The body's first reading, and what gives out more of them as long as at
    /// most `cap` bytes were copied. A body that says that it is longer is not
    /// copied at all.
    pub fn new(body: B, cap: usize) -> (Self, Replayer<B>) {
        let long = usize::try_from(body.size_hint().lower()).is_ok_and(|least| least > cap);
        let mut readers = Readers::default();
        let id = readers.enter();
        let shared = Arc::new(Shared {
            source: Mutex::new(Source {
                body: Some(body),
                state: State::Open,
                frames: VecDeque::new(),
                start: 0,
                room: cap,
                kept: !long,
                floor: 0,
                sole: long.then_some(id),
            }),
            readers: Mutex::new(readers),
        });
        let replayer = Replayer {
            shared: Arc::clone(&shared),
        };
        (Self::reading(shared, id), replayer)
    }

    fn reading(shared: Arc<Shared<B>>, id: u64) -> Self {
        Self {
            kind: Kind::Shared(Reader {
                shared,
                id,
                position: 0,
            }),
        }
    }
}

impl<B: Body + Unpin> Replayer<B> {
    /// Another reading, from the start; nothing if the body was too long, or has
    /// failed.
    #[must_use]
    pub fn again(&self, earlier: Earlier) -> Option<ReplayBody<B>> {
        let mut source = self.shared.source.lock();
        if !source.is_replayable() {
            return None;
        }
        let id = self.shared.readers.lock().enter();
        if earlier == Earlier::Over {
            source.floor = id;
        }
        drop(source);
        if earlier == Earlier::Over {
            // Let them see it.
            self.shared.wake_all();
        }
        Some(ReplayBody::reading(Arc::clone(&self.shared), id))
    }

    /// Whether [`again`](Self::again) would give one.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.shared.source.lock().is_replayable()
    }
}

impl<B: Body> Source<B> {
    fn is_replayable(&self) -> bool {
        self.sole.is_none() && matches!(self.state, State::Open | State::Ended)
    }
}

type Read<E> = Poll<Option<Result<Frame<Bytes>, ReplayError<E>>>>;
type Drawn<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B> Reader<B>
where
    B: Body + Send + Unpin + 'static,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Read<B::Error> {
        let shared = Arc::clone(&self.shared);
        let mut source = shared.source.lock();
        if let Some(refused) = self.refused(&source) {
            return Poll::Ready(Some(Err(refused)));
        }
        if source.sole.is_none() && !source.kept {
            let alone = shared.readers.lock().is_alone(self.id, source.floor);
            if alone {
                source.leave_to(self.id, self.position);
            }
        }
        if let Some(frame) = self.copied(&mut source) {
            return Poll::Ready(Some(Ok(frame)));
        }
        match source.state {
            State::Open => {}
            State::Ended => return Poll::Ready(None),
            State::Polled | State::Failed => {
                return Poll::Ready(Some(Err(ReplayError::Broken)));
            }
        }
        // Before the source is asked: its answer may come at once.
        shared.readers.lock().wait(self.id, cx.waker());
        let waker = Waker::from(Arc::clone(&shared));
        let poll = source.poll(&mut Context::from_waker(&waker));
        if poll.is_pending() {
            return Poll::Pending;
        }
        let read = self.drawn(&mut source, poll);
        if let Some(reader) = shared.readers.lock().find(self.id) {
            reader.waits = false;
        }
        drop(source);
        shared.wake_all();
        read
    }

    fn refused(&self, source: &Source<B>) -> Option<ReplayError<B::Error>> {
        if self.id < source.floor {
            return Some(ReplayError::Replaced);
        }
        let lost = source.sole.is_some_and(|sole| sole != self.id);
        lost.then_some(ReplayError::TooLong)
    }

    /// The next frame of the copy.
    fn copied(&mut self, source: &mut Source<B>) -> Option<Frame<Bytes>> {
        let frame = match source.sole {
            Some(_) => {
                source.leave_to(self.id, self.position);
                let frame = source.frames.pop_front()?;
                source.start += 1;
                frame
            }
            None => source
                .frames
                .get(self.position.checked_sub(source.start)?)?
                .clone(),
        };
        self.position += 1;
        Some(frame.into_frame())
    }

    /// What the source has given, for this reader and for the copy.
    fn drawn(&mut self, source: &mut MutexGuard<'_, Source<B>>, poll: Drawn<B>) -> Read<B::Error> {
        let frame = match poll {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => frame.map_data(into_bytes),
            Poll::Ready(end) => {
                source.state = match end {
                    None => State::Ended,
                    Some(_) => State::Failed,
                };
                source.body = None;
                return Poll::Ready(end.map(|end| match end {
                    Ok(frame) => Ok(frame.map_data(into_bytes)),
                    Err(error) => Err(ReplayError::Inner(error)),
                }));
            }
        };
        source.state = State::Open;
        if source.sole.is_some() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(frame) = Copied::of(frame) else {
            return Poll::Ready(Some(Err(ReplayError::Broken)));
        };
        if let Some(room) = source.room.checked_sub(frame.charge()) {
            source.room = room;
            source.frames.push_back(frame.clone());
            self.position += 1;
            return Poll::Ready(Some(Ok(frame.into_frame())));
        }
        let oldest = self.shared.readers.lock().oldest(source.floor);
        if oldest.is_none_or(|oldest| oldest == self.id) {
            source.leave_to(self.id, self.position);
            return Poll::Ready(Some(Ok(frame.into_frame())));
        }
        // It is older than this one and behind it: the frame is for that.
        source.frames.push_back(frame);
        source.sole = oldest;
        Poll::Ready(Some(Err(ReplayError::TooLong)))
    }
}

fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

impl<B: Body + Unpin> Source<B> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Drawn<B> {
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

    /// No other reader will come: what this one has read is let go.
    fn leave_to(&mut self, id: u64, position: usize) {
        self.sole = Some(id);
        let read = position.saturating_sub(self.start);
        self.frames.drain(..read.min(self.frames.len()));
        self.start = position;
    }

    /// Bytes from this frame on.
    fn hint(&self, position: usize) -> SizeHint {
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

    fn is_over(&self, position: usize) -> bool {
        position - self.start >= self.frames.len()
            && match (&self.body, self.state) {
                (Some(body), State::Open) => body.is_end_stream(),
                (_, state) => state == State::Ended,
            }
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = ReplayError<B::Error>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Read<B::Error> {
        match &mut self.kind {
            Kind::Plain(body) => Pin::new(body).poll_frame(cx).map(|frame| {
                frame.map(|frame| match frame {
                    Ok(frame) => Ok(frame.map_data(into_bytes)),
                    Err(error) => Err(ReplayError::Inner(error)),
                })
            }),
            Kind::Ended => Poll::Ready(None),
            Kind::Shared(reader) => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Plain(body) => body.is_end_stream(),
            Kind::Ended => true,
            Kind::Shared(reader) => {
                let source = reader.shared.source.lock();
                reader.refused(&source).is_none() && source.is_over(reader.position)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Plain(body) => body.size_hint(),
            Kind::Ended => SizeHint::with_exact(0),
            Kind::Shared(reader) => {
                let source = reader.shared.source.lock();
                match reader.refused(&source) {
                    None => source.hint(reader.position),
                    Some(_) => SizeHint::default(),
                }
            }
        }
    }
}

impl<B: Body> Drop for Reader<B> {
    fn drop(&mut self) {
        let gone = self.shared.readers.lock().leave(self.id);
        // A waker is foreign code.
        drop(gone);
    }
}

impl<B: Body> Drop for Replayer<B> {
    fn drop(&mut self) {
        self.shared.source.lock().kept = false;
    }
}

impl<B: Body> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            Kind::Plain(_) => "ReplayBody::Plain",
            Kind::Ended => "ReplayBody::Ended",
            Kind::Shared(_) => "ReplayBody::Shared",
        })
    }
}

impl<B: Body> fmt::Debug for Replayer<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replayer")
    }
}
