//! How a request is sent more than once.
//!
//! Retry and hedge ask a [`Replay`] for another one of a request. [`Cloned`] is
//! for requests that are cheap to clone, [`by`] for those that are cloned some
//! other way, or sometimes not at all; with the feature `http`, `Buffered`
//! keeps a bounded copy of a streaming body while it flows, and clones the rest, and
//! `Reread` shares the copy that a tier outside keeps.

#[cfg(feature = "http")]
pub use crate::http::{Buffered, KeptRequest, Reread};

/// What becomes of the attempts before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Earlier {
    /// They go on: a hedge.
    Running,
    /// They are over, and whoever still reads their bodies is to stop: a retry.
    Over,
}

/// Makes another one of a request.
///
/// A replay that panics is counted, and the request is sent once; one that panics in
/// [`first`](Self::first) has taken the request along, and the panic goes on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot send `{Req}` again",
    label = "this cannot make another one of the request",
    note = "without `.replay(..)`, retry and hedge clone requests: `{Req}` must be `Clone`",
    note = "for `http::Request<B>` with streaming bodies: `.replay(replay::Buffered::up_to(64 * 1024))`; the service inside then takes `http::Request<ReplayBody<B>>`, and `B` must be `Body + Send + Unpin + 'static`",
    note = "for requests that are copied some other way: `.replay(replay::by(|request| Some(copy)))`, and for those that never are: `.replay(replay::by(|_| None))`"
)]
pub trait Replay<Req> {
    /// What the inner service is called with.
    type Request;

    /// What is put aside while the first attempt is under way.
    type Kept;

    /// Puts aside what other attempts need; nothing if there can be none. Asked
    /// only where another attempt is possible.
    fn keep(&self, request: &Req) -> Option<Self::Kept>;

    /// The first attempt, of which `kept` is what [`keep`](Self::keep) has
    /// returned.
    fn first(&self, request: Req, kept: &mut Option<Self::Kept>) -> Self::Request;

    /// Another attempt; nothing if there can be none any more.
    fn again(&self, kept: &mut Self::Kept, earlier: Earlier) -> Option<Self::Request>;

    /// Whether [`again`](Self::again) would return one. It is asked before a
    /// wait, which would be in vain otherwise.
    fn is_possible(&self, _kept: &Self::Kept) -> bool {
        true
    }
}

/// Clones requests: once when the first attempt starts, and once for each that
/// follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cloned;

impl<Req: Clone> Replay<Req> for Cloned {
    type Request = Req;
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }

    #[inline]
    fn first(&self, request: Req, _: &mut Option<Req>) -> Req {
        request
    }

    fn again(&self, kept: &mut Req, _: Earlier) -> Option<Req> {
        Some(kept.clone())
    }
}

/// Copies requests by a function; see [`by`].
#[derive(Clone, Copy)]
pub struct By<F>(F);

impl<F> std::fmt::Debug for By<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("By")
    }
}

/// Copies requests by this function: such as reqwest's `Request::try_clone`,
/// which has none of a request with a streaming body.
pub fn by<Req, F: Fn(&Req) -> Option<Req>>(copy: F) -> By<F> {
    By(copy)
}

impl<Req, F: Fn(&Req) -> Option<Req>> Replay<Req> for By<F> {
    type Request = Req;
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &Req) -> Option<Req> {
        (self.0)(request)
    }

    #[inline]
    fn first(&self, request: Req, _: &mut Option<Req>) -> Req {
        request
    }

    fn again(&self, kept: &mut Req, _: Earlier) -> Option<Req> {
        (self.0)(kept)
    }
}
