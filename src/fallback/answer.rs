//! Where the other answer comes from.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::classify::Cause;
use crate::clock::{Clock, Sleep};
use crate::deadline::Deadline;
use crate::kernel::oneshot::Oneshot;

/// A call that is to get another answer: what the inner service made of it.
pub struct Failed<'a, Res, Err> {
    pub(super) result: Result<&'a Res, &'a Err>,
    pub(super) cause: Cause,
    pub(super) clock: &'a Clock,
}

impl<'a, Res, Err> Failed<'a, Res, Err> {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The error, if it was one.
    #[must_use]
    pub fn error(&self) -> Option<&'a Err> {
        self.result.err()
    }

    /// The response, if it is one that the classifier calls a failure.
    #[must_use]
    pub fn response(&self) -> Option<&'a Res> {
        self.result.ok()
    }
}

// Not derived: that would ask for `Res: Clone`.
impl<Res, Err> Clone for Failed<'_, Res, Err> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Res, Err> Copy for Failed<'_, Res, Err> {}

impl<Res, Err> fmt::Debug for Failed<'_, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed")
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// Makes the other answer: [`value`], [`by`], [`keeping`], [`service`], or your
/// own.
///
/// It is cloned for every call, so its clone should cost nothing: a closure that
/// captures nothing has no size. A panic in here is counted, and leaves the
/// failure as it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot answer `{Req}` in place of a service",
    label = "not an answer of this service's response type",
    note = "wrap a closure: `fallback::by(|failed: Failed<'_, Response, _>| Some(response))`",
    note = "for `http::Response<B>`: `fallback::response(Response::new(\"..\"))`, if `B` can be made of what it holds"
)]
pub trait Answer<Req, Res, Err> {
    /// What is kept of a request until its call has ended.
    type Kept;
    /// The answer in the making; `None` leaves the failure as it is.
    type Future: Future<Output = Option<Res>>;

    /// Keeps what an answer will need. It runs before every call.
    fn keep(&self, request: &Req) -> Self::Kept;

    /// Answers in place of the failed call.
    fn answer(&self, kept: Self::Kept, failed: Failed<'_, Res, Err>) -> Self::Future;
}

/// Always the same answer: made by [`value`].
pub struct Value<T>(Arc<T>);

/// Answers with a clone of this; for HTTP responses whose bodies cannot be cloned
/// there is `response`. A call that does not need it costs a reference
/// count.
pub fn value<T: Clone>(answer: T) -> Value<T> {
    Value(Arc::new(answer))
}

impl<T> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Req, Res: Clone, Err> Answer<Req, Res, Err> for Value<Res> {
    type Kept = ();
    type Future = Ready<Option<Res>>;

    fn keep(&self, _: &Req) {}

    fn answer(&self, (): (), _: Failed<'_, Res, Err>) -> Self::Future {
        ready(Some(Res::clone(&self.0)))
    }
}

#[cfg(feature = "http")]
pub use self::http_response::{OfResponse, response};

#[cfg(feature = "http")]
mod http_response {
    use std::future::{Ready, ready};
    use std::sync::Arc;

    use super::{Answer, Failed};

    /// Always the same HTTP response: made by [`response`].
    pub struct OfResponse<T>(pub(super) Arc<http::Response<T>>);

    /// Answers with a clone of this response, its content as a body of the kind that
    /// the service's responses have: for those that cannot be cloned, as axum's.
    ///
    /// ```
    /// use axum::{Router, http::Response, routing::get};
    /// use tower_keep::fallback::{self, FallbackLayer};
    ///
    /// let busy = Response::builder().status(503).body("come back later")?;
    /// let layer = FallbackLayer::new(fallback::response(busy));
    /// let app: Router = Router::new()
    ///     .route("/", get(|| async { "hello" }))
    ///     .layer(tower_keep::respond(layer));
    /// # let _ = app;
    /// # Ok::<(), axum::http::Error>(())
    /// ```
    pub fn response<T: Clone>(answer: http::Response<T>) -> OfResponse<T> {
        OfResponse(Arc::new(answer))
    }

    impl<T> Clone for OfResponse<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<Req, T, B, Err> Answer<Req, http::Response<B>, Err> for OfResponse<T>
    where
        T: Clone + Into<B>,
    {
        type Kept = ();
        type Future = Ready<Option<http::Response<B>>>;

        fn keep(&self, _: &Req) {}

        fn answer(&self, (): (), _: Failed<'_, http::Response<B>, Err>) -> Self::Future {
            ready(Some(http::Response::clone(&self.0).map(Into::into)))
        }
    }
}

/// An answer by a function of the failure: made by [`by`].
#[derive(Clone, Copy)]
pub struct By<F>(F);

/// Answers with what `f` makes of the failure; where it makes `None`, the
/// failure stays.
pub const fn by<Res, Err, F>(f: F) -> By<F>
where
    F: Fn(Failed<'_, Res, Err>) -> Option<Res>,
{
    By(f)
}

impl<Req, Res, Err, F> Answer<Req, Res, Err> for By<F>
where
    F: Fn(Failed<'_, Res, Err>) -> Option<Res>,
{
    type Kept = ();
    type Future = Ready<Option<Res>>;

    #[inline]
    fn keep(&self, _: &Req) {}

    fn answer(&self, (): (), failed: Failed<'_, Res, Err>) -> Self::Future {
        ready((self.0)(failed))
    }
}

/// An answer by a function of the request and the failure: made by [`keeping`].
#[derive(Clone, Copy)]
pub struct Keeping<K, F> {
    keep: K,
    answer: F,
}

/// Answers with what `answer` makes of the failure and of what `keep` has kept
/// of the request. `keep` runs before every call, so it should keep little.
pub const fn keeping<Req, T, Res, Err, K, F>(keep: K, answer: F) -> Keeping<K, F>
where
    K: Fn(&Req) -> T,
    F: Fn(T, Failed<'_, Res, Err>) -> Option<Res>,
{
    Keeping { keep, answer }
}

impl<Req, T, Res, Err, K, F> Answer<Req, Res, Err> for Keeping<K, F>
where
    K: Fn(&Req) -> T,
    F: Fn(T, Failed<'_, Res, Err>) -> Option<Res>,
{
    type Kept = T;
    type Future = Ready<Option<Res>>;

    #[inline]
    fn keep(&self, request: &Req) -> T {
        (self.keep)(request)
    }

    fn answer(&self, kept: T, failed: Failed<'_, Res, Err>) -> Self::Future {
        ready((self.answer)(kept, failed))
    }
}

/// An answer of another service: made by [`service`].
#[derive(Clone, Copy)]
pub struct ToService<K, S> {
    keep: K,
    service: S,
}

/// Answers with what another service responds to what `keep` has kept of the
/// request: `Clone::clone` keeps all of it. If that service fails, the caller
/// gets the first failure.
///
/// `service` and what is kept are cloned before every call: this kind has its
/// price on the way in. It is asked to be ready only once the call has failed, and
/// neither waited for nor called past the deadline in force. The failed response is
/// kept until then: a service that waits for what its body holds, such as a place in
/// the same bulkhead, waits for ever where there is no deadline.
pub const fn service<Req, T, K, S>(keep: K, service: S) -> ToService<K, S>
where
    K: Fn(&Req) -> T,
    S: Service<T> + Clone,
{
    ToService { keep, service }
}

impl<Req, T, Res, Err, K, S> Answer<Req, Res, Err> for ToService<K, S>
where
    K: Fn(&Req) -> T,
    S: Service<T, Response = Res> + Clone,
{
    type Kept = T;
    type Future = Backup<S, T>;

    fn keep(&self, request: &Req) -> T {
        (self.keep)(request)
    }

    fn answer(&self, kept: T, failed: Failed<'_, Res, Err>) -> Self::Future {
        let until = Deadline::current().map(|deadline| {
            let now = failed.clock.now();
            failed.clock.sleep_from(now, deadline.tick())
        });
        Backup {
            call: Oneshot::new(self.service.clone(), kept),
            until,
        }
    }
}

macro_rules! named {
    ($($answer:ident<$($param:ident),*>)*) => { $(
        impl<$($param),*> fmt::Debug for $answer<$($param),*> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($answer))
            }
        }
    )* };
}
named! { Value<T> By<F> Keeping<K, F> ToService<K, S> }
#[cfg(feature = "http")]
named! { OfResponse<T> }

pin_project! {
    /// The future of a backup service's answer: it waits until the service is
    /// ready, and calls it.
    #[must_use = "futures do nothing unless polled"]
    pub struct Backup<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        call: Oneshot<S, Req>,
        // The deadline in force, as long as it has not been called.
        until: Option<Sleep>,
    }
}

impl<S: Service<Req>, Req> Future for Backup<S, Req> {
    type Output = Option<S::Response>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(until) = this.until {
            match Pin::new(until).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(None),
                // No runtime: there is no end of it.
                Poll::Ready(Err(_)) => *this.until = None,
                Poll::Pending => {}
            }
        }
        let mut call = this.call;
        let poll = call.as_mut().poll(cx);
        if call.is_called() {
            *this.until = None;
        }
        poll.map(Result::ok)
    }
}

impl<S: Service<Req>, Req> fmt::Debug for Backup<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup")
            .field("called", &self.call.is_called())
            .finish_non_exhaustive()
    }
}
