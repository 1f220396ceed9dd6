//! The bodies of answers.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// The body of an answer: as it came, or from a record.
///
/// Frames, trailers, errors and the order of all of them are those of the body it
/// was made from; data is copied only if its buffers are no [`Bytes`].
pub struct GuardedBody<B: Body> {
    /// What was read of it already.
    front: VecDeque<Frame<Bytes>>,
    rest: Rest<B>,
}

enum Rest<B: Body> {
    Open(B),
    Failed(B::Error),
    Ended,
}

/// An error is only moved.
impl<B: Body + Unpin> Unpin for GuardedBody<B> {}

impl<B: Body> GuardedBody<B> {
    pub(super) fn plain(body: B) -> Self {
        Self::after(VecDeque::new(), body)
    }

    pub(super) fn after(front: VecDeque<Frame<Bytes>>, body: B) -> Self {
        let rest = Rest::Open(body);
        Self { front, rest }
    }

    pub(super) fn failed(front: VecDeque<Frame<Bytes>>, error: B::Error) -> Self {
        let rest = Rest::Failed(error);
        Self { front, rest }
    }

    pub(super) fn ended(front: VecDeque<Frame<Bytes>>) -> Self {
        let rest = Rest::Ended;
        Self { front, rest }
    }

    pub(super) fn recorded(data: Bytes, trailers: HeaderMap) -> Self {
        let mut front = VecDeque::new();
        if !data.is_empty() {
            front.push_back(Frame::data(data));
        }
        if !trailers.is_empty() {
            front.push_back(Frame::trailers(trailers));
        }
        Self::ended(front)
    }
}

/// For answers of layers outside, such as [`respond`](crate::respond).
impl<B: Body> From<Bytes> for GuardedBody<B> {
    fn from(data: Bytes) -> Self {
        Self::recorded(data, HeaderMap::new())
    }
}

/// The body that is at its end.
impl<B: Body> Default for GuardedBody<B> {
    fn default() -> Self {
        Self::ended(VecDeque::new())
    }
}

pub(super) fn into_bytes(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if let Some(frame) = this.front.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut this.rest {
            Rest::Open(body) => Pin::new(body)
                .poll_frame(cx)
                .map_ok(|frame| frame.map_data(into_bytes)),
            Rest::Ended => Poll::Ready(None),
            Rest::Failed(_) => match std::mem::replace(&mut this.rest, Rest::Ended) {
                Rest::Failed(error) => Poll::Ready(Some(Err(error))),
                Rest::Open(_) | Rest::Ended => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty()
            && match &self.rest {
                Rest::Open(body) => body.is_end_stream(),
                Rest::Failed(_) => false,
                Rest::Ended => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let data = self.front.iter().filter_map(Frame::data_ref);
        let front = data.map(|data| data.len() as u64).sum::<u64>();
        let mut hint = match &self.rest {
            Rest::Open(body) => body.size_hint(),
            Rest::Failed(_) => SizeHint::default(),
            Rest::Ended => SizeHint::with_exact(0),
        };
        // In this order: the lower must not pass the upper.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(front));
        }
        hint.set_lower(hint.lower().saturating_add(front));
        hint
    }
}

impl<B: Body> fmt::Debug for GuardedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedBody")
            .field("front", &self.front.len())
            .field("ended", &matches!(self.rest, Rest::Ended))
            .finish()
    }
}
