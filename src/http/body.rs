//! A body that an admission hangs on.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::classify::{BodyEnd, ClassifyEnd, Failure, Outcome, Verdict};
use crate::release::Admission;

pin_project! {
    /// Forwards frames, trailers, size hint and end-of-stream of a body
    /// untouched, and ends an admission with it.
    ///
    /// A body that is at its end from the start (`HEAD`, 204, 304) ends it
    /// before anybody polls. One that is dropped half-way was cancelled.
    pub struct TrackedBody<B, P, C>
    where
        P: Admission,
        C: ClassifyEnd,
    {
        #[pin]
        inner: B,
        // Gone once the admission has ended, and in bodies that carry none.
        end: Option<End<P, C>>,
    }
}

struct End<P: Admission, C: ClassifyEnd> {
    permit: P,
    classify: C,
    verdict: Verdict,
}

impl<P: Admission, C: ClassifyEnd> End<P, C> {
    fn reached(&mut self, end: BodyEnd<'_>) {
        let Self {
            permit,
            classify,
            verdict,
        } = self;
        match (*verdict, end) {
            // The head has told already; but a good head with a broken body is
            // a failure.
            (Verdict::Now(Outcome::Success) | Verdict::AtEnd, _) => {
                let at_end = *verdict == Verdict::AtEnd || !matches!(end, BodyEnd::Complete(_));
                permit.finish_with(|| {
                    if at_end {
                        classify.classify_end(end)
                    } else {
                        Outcome::Success
                    }
                });
            }
            (Verdict::Now(outcome), _) => permit.finish(outcome),
        }
    }
}

impl<P: Admission, C: ClassifyEnd> Drop for End<P, C> {
    fn drop(&mut self) {
        // Ended before: then this changes nothing.
        self.reached(BodyEnd::Dropped);
    }
}

/// Ends the admission if the body panics while it is in here: somebody may
/// catch that and keep the body.
struct Fuse<'a, P: Admission, C: ClassifyEnd>(Option<&'a mut Option<End<P, C>>>);

impl<P: Admission, C: ClassifyEnd> Drop for Fuse<'_, P, C> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            if let Some(end) = slot {
                end.permit.finish(Outcome::Failure(Failure::Panic));
            }
            *slot = None;
        }
    }
}

impl<B: Body, P: Admission, C: ClassifyEnd> TrackedBody<B, P, C> {
    pub(crate) fn new(inner: B, admitted: Option<(P, C)>, verdict: Verdict) -> Self {
        let mut end = admitted.map(|(permit, classify)| End {
            permit,
            classify,
            verdict,
        });
        if inner.is_end_stream()
            && let Some(mut end) = end.take()
        {
            end.reached(BodyEnd::Complete(None));
        }
        Self { inner, end }
    }
}

impl<B: Body, P: Admission, C: ClassifyEnd> Body for TrackedBody<B, P, C> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let mut fuse = Fuse(Some(this.end));
        let frame = this.inner.as_mut().poll_frame(cx);
        let Some(slot) = fuse.0.take() else {
            return frame;
        };
        let frame = ready!(frame);
        let end = match &frame {
            None => Some(BodyEnd::Complete(None)),
            Some(Err(_)) => Some(BodyEnd::Error),
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => Some(BodyEnd::Complete(Some(trailers))),
                None if this.inner.is_end_stream() => Some(BodyEnd::Complete(None)),
                None => None,
            },
        };
        if let (Some(reached), Some(end)) = (end, slot.as_mut()) {
            end.reached(reached);
            *slot = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

// So that `respond` can make answers of the same type: they carry no admission.
impl<B: From<Bytes>, P: Admission, C: ClassifyEnd> From<Bytes> for TrackedBody<B, P, C> {
    fn from(bytes: Bytes) -> Self {
        Self {
            inner: bytes.into(),
            end: None,
        }
    }
}

impl<B: Default, P: Admission, C: ClassifyEnd> Default for TrackedBody<B, P, C> {
    fn default() -> Self {
        Self {
            inner: B::default(),
            end: None,
        }
    }
}

impl<B: fmt::Debug, P: Admission, C: ClassifyEnd> fmt::Debug for TrackedBody<B, P, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody")
            .field("inner", &self.inner)
            .field("ended", &self.end.is_none())
            .finish()
    }
}
