//! Requests whose body is kept while it flows.

use std::fmt;

use http::Request;
use http_body::Body;

use super::{ReplayBody, Replayer};
use crate::replay::{Earlier, Replay};

/// Sends HTTP requests again: clones their head, and keeps a copy of what was
/// read of their body, up to a cap. The inner service gets a [`ReplayBody`].
///
/// What is longer flows on unharmed in the first attempt, and there is no other
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffered {
    cap: usize,
}

impl Buffered {
    /// Keeps so many bytes of a request's body at most. 64 KiB is a good start:
    /// it is what linkerd keeps.
    #[must_use]
    pub const fn up_to(cap: usize) -> Self {
        Self { cap }
    }
}

/// What [`Buffered`] puts aside of a request.
pub struct KeptRequest<B: Body> {
    head: Request<()>,
    /// Nothing for a body that is empty.
    body: Option<Replayer<B>>,
}

impl<B: Body> fmt::Debug for KeptRequest<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptRequest")
            .field("head", &self.head)
            .field("body", &self.body)
            .finish()
    }
}

fn head<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    *head.extensions_mut() = request.extensions().clone();
    head
}

impl<B> Replay<Request<B>> for Buffered
where
    B: Body + Send + Unpin + 'static,
{
    type Request = Request<ReplayBody<B>>;
    type Kept = KeptRequest<B>;

    fn keep(&self, request: &Request<B>) -> Option<KeptRequest<B>> {
        let least = request.body().size_hint().lower();
        let fits = usize::try_from(least).is_ok_and(|least| least <= self.cap);
        fits.then(|| KeptRequest {
            head: head(request),
            body: None,
        })
    }

    fn first(&self, request: Request<B>, kept: &mut Option<KeptRequest<B>>) -> Self::Request {
        let (head, body) = request.into_parts();
        let body = match kept {
            Some(kept) if !body.is_end_stream() => {
                let (body, replayer) = ReplayBody::new(body, self.cap);
                kept.body = Some(replayer);
                body
            }
            _ => ReplayBody::plain(body),
        };
        Request::from_parts(head, body)
    }

    fn again(&self, kept: &mut KeptRequest<B>, earlier: Earlier) -> Option<Self::Request> {
        let body = match &kept.body {
            Some(replayer) => replayer.again(earlier)?,
            None => ReplayBody::ended(),
        };
        Some(head(&kept.head).map(|()| body))
    }

    fn is_possible(&self, kept: &KeptRequest<B>) -> bool {
        kept.body.as_ref().is_none_or(Replayer::is_replayable)
    }
}
