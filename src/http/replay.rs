//! A request body that can be read more than once.

mod error;
#[cfg(all(test, keep_loom))]
mod loom_replay;
mod request;
mod source;
#[cfg(all(test, not(keep_loom)))]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

pub use self::error::ReplayError;
use self::request::fits;
pub use self::request::{Buffered, KeptRequest, Reread};
use self::source::{Copied, Drawn, Readers, Shared, Source, State};
use crate::kernel::sync::{Mutex, MutexGuard};
use crate::replay::Earlier;

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
        let long = !fits(&body, cap);
        let mut readers = Readers::default();
        let id = readers.enter();
        let shared = Arc::new(Shared {
            source: Mutex::new(Source::new(body, cap, long.then_some(id))),
            readers: Mutex::new(readers),
        });
        let replayer = Replayer::of(&shared);
        (Self::reading(shared, id), replayer)
    }

    /// The same reading, and what gives out more of them: from the copy that is
    /// kept already, or from one of at most `cap` bytes from now on.
    fn kept(self, cap: usize) -> (Self, Option<Replayer<B>>) {
        match self.kind {
            Kind::Plain(body) => {
                let (body, replayer) = Self::new(body, cap);
                (body, Some(replayer))
            }
            Kind::Ended => (self, None),
            Kind::Shared(ref reader) => {
                let replayer = Replayer::of(&reader.shared);
                (self, Some(replayer))
            }
        }
    }

    /// Whether there may be others.
    fn is_kept(&self) -> bool {
        matches!(self.kind, Kind::Shared(_))
    }

    /// Whether others would read what is still to be read here.
    fn is_fresh(&self) -> bool {
        let Kind::Shared(reader) = &self.kind else {
            return true;
        };
        let source = reader.shared.source.lock();
        let from_start = reader.position == 0 && reader.refused(&source).is_none();
        from_start && source.is_replayable()
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
    fn of(shared: &Arc<Shared<B>>) -> Self {
        shared.readers.lock().replayers += 1;
        Self {
            shared: Arc::clone(shared),
        }
    }

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

type Read<E> = Poll<Option<Result<Frame<Bytes>, ReplayError<E>>>>;

impl<B: Body> Reader<B> {
    fn refused(&self, source: &Source<B>) -> Option<ReplayError<B::Error>> {
        if self.id < source.floor {
            return Some(ReplayError::Replaced);
        }
        let lost = source.sole.is_some_and(|sole| sole != self.id);
        lost.then_some(ReplayError::TooLong)
    }
}

impl<B> Reader<B>
where
    B: Body + Send + Unpin + 'static,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Read<B::Error> {
        let shared = Arc::clone(&self.shared);
        // Foreign code, dropped when no lock is held: so before the guards.
        let (mut other, mut body, mut read) = (None, None, Vec::new());
        let mut source = loop {
            let mut source = shared.source.lock();
            if let Some(refused) = self.refused(&source) {
                return Poll::Ready(Some(Err(refused)));
            }
            if source.sole.is_none() && shared.readers.lock().is_last(self.id, source.floor) {
                read = source.leave_to(self.id, self.position);
            }
            if let Some(frame) = self.copied(&mut source, &mut read) {
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
            let waits = shared.readers.lock().wait(self.id, cx.waker(), &mut other);
            if waits {
                break source;
            }
            drop(source);
            other = Some(cx.waker().clone());
        };
        let waker = Waker::from(Arc::clone(&shared));
        let poll = source.poll(&mut Context::from_waker(&waker));
        if poll.is_pending() {
            return Poll::Pending;
        }
        let frame = self.drawn(&mut source, poll, &mut body, &mut read);
        if let Some(reader) = shared.readers.lock().find(self.id) {
            reader.waits = false;
        }
        drop(source);
        drop((body, read));
        shared.wake_all();
        frame
    }

    /// The next frame of the copy.
    fn copied(&mut self, source: &mut Source<B>, read: &mut Vec<Copied>) -> Option<Frame<Bytes>> {
        let frame = match source.sole {
            Some(_) => {
                read.extend(source.leave_to(self.id, self.position));
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

    /// What the source has given, for this reader and for the copy. Of a body that
    /// has ended, `gone` is left, and of a copy that was given up, `read`.
    fn drawn(
        &mut self,
        source: &mut MutexGuard<'_, Source<B>>,
        poll: Drawn<B>,
        gone: &mut Option<B>,
        read: &mut Vec<Copied>,
    ) -> Read<B::Error> {
        let frame = match poll {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => frame.map_data(into_bytes),
            Poll::Ready(end) => {
                source.state = match end {
                    None => State::Ended,
                    Some(_) => State::Failed,
                };
                *gone = source.body.take();
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
            read.extend(source.leave_to(self.id, self.position));
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
        self.shared.readers.lock().replayers -= 1;
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
