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

/// Whether a body may be no longer than this.
pub(super) fn fits(body: &impl Body, cap: usize) -> bool {
    usize::try_from(body.size_hint().lower()).is_ok_and(|least| least <= cap)
}

impl<B> Replay<Request<B>> for Buffered
where
    B: Body + Send + Unpin + 'static,
{
    type Request = Request<ReplayBody<B>>;
    type Kept = KeptRequest<B>;

    fn keep(&self, request: &Request<B>) -> Option<KeptRequest<B>> {
        fits(request.body(), self.cap).then(|| KeptRequest {
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
        kept.again(earlier)
    }

    fn is_possible(&self, kept: &KeptRequest<B>) -> bool {
        kept.is_possible()
    }
}

impl<B: Body + Unpin> KeptRequest<B> {
    fn again(&self, earlier: Earlier) -> Option<Request<ReplayBody<B>>> {
        let body = match &self.body {
            Some(replayer) => replayer.again(earlier)?,
            None => ReplayBody::ended(),
        };
        Some(head(&self.head).map(|()| body))
    }

    fn is_possible(&self) -> bool {
        self.body.as_ref().is_none_or(Replayer::is_replayable)
    }
}

/// As [`Buffered`], where a tier outside has made a [`ReplayBody`] already: a hedge
/// inside a retry. The two share one copy, of as many bytes as the one outside
/// keeps, and the inner service sees a [`ReplayBody<B>`] and no body inside a body.
///
/// What the one outside did not keep, because it will not send it again, is kept
/// here, up to this one's own cap. A body that somebody in between has begun to
/// read is not sent again.
///
/// A retry inside a hedge may use it, too. It then does not tell older attempts of
/// its own to stop, since it cannot tell them from the other attempts of the hedge.
#[cfg_attr(all(feature = "retry", feature = "hedge"), doc = "```")]
#[cfg_attr(not(all(feature = "retry", feature = "hedge")), doc = "```ignore")]
/// use http::{Request, Response};
/// use tower::ServiceBuilder;
/// use tower_keep::LiftLayer;
/// use tower_keep::hedge::{self, HedgeLayer};
/// use tower_keep::http::ReplayBody;
/// use tower_keep::replay::{Buffered, Reread};
/// use tower_keep::retry::{self, RetryLayer};
///
/// # type Body = http_body_util::Full<bytes::Bytes>;
/// let retry = RetryLayer::new(retry::Policy::default(), retry::Http::new());
/// let hedge = HedgeLayer::new(hedge::Policy::default(), hedge::idempotent());
/// let client = ServiceBuilder::new()
///     .layer(retry.replay(Buffered::up_to(64 * 1024)))
///     .layer(hedge.replay(Reread::up_to(64 * 1024)))
///     .layer(LiftLayer::new())
///     .service_fn(|_: Request<ReplayBody<Body>>| async {
///         Ok::<_, std::io::Error>(Response::new(()))
///     });
/// # fn sends<S: tower::Service<Request<Body>>>(_: S) {}
/// # sends(client);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reread {
    cap: usize,
}

impl Reread {
    /// Keeps so many bytes at most of a body of which no copy is kept yet.
    #[must_use]
    pub const fn up_to(cap: usize) -> Self {
        Self { cap }
    }
}

impl<B> Replay<Request<ReplayBody<B>>> for Reread
where
    B: Body + Send + Unpin + 'static,
{
    type Request = Request<ReplayBody<B>>;
    type Kept = KeptRequest<B>;

    fn keep(&self, request: &Self::Request) -> Option<KeptRequest<B>> {
        let body = request.body();
        let fits = match body.is_kept() {
            true => body.is_fresh(),
            false => fits(body, self.cap),
        };
        fits.then(|| KeptRequest {
            head: head(request),
            body: None,
        })
    }

    fn first(&self, request: Self::Request, kept: &mut Option<KeptRequest<B>>) -> Self::Request {
        let (head, mut body) = request.into_parts();
        if let Some(kept) = kept
            && !body.is_end_stream()
        {
            (body, kept.body) = body.kept(self.cap);
        }
        Request::from_parts(head, body)
    }

    fn again(&self, kept: &mut KeptRequest<B>, _: Earlier) -> Option<Self::Request> {
        kept.again(Earlier::Running)
    }

    fn is_possible(&self, kept: &KeptRequest<B>) -> bool {
        kept.is_possible()
    }
}
