//! Answers instead of errors: what the caller of an HTTP or gRPC service sees
//! when a layer refuses.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::answer;
use super::report::Report;
use super::unlift::{Other, Pass, Split, Unlift};
use crate::error::Rejection;
use crate::lift::Lift;

/// Wraps a whole stack, so that its refusals become responses and the service
/// around it keeps its own error type.
///
/// It puts [`Lift`] innermost and [`Respond`] outermost, and fits axum's
/// `Router::layer` as it is:
///
/// ```
/// use axum::{Router, routing::get};
/// use tower::ServiceBuilder;
/// use tower_keep::bulkhead::{BulkheadLayer, Policy};
///
/// let stack = ServiceBuilder::new().layer(BulkheadLayer::new(Policy::max_concurrent(100)?));
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(tower_keep::respond(stack));
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
///
/// The response body must be `From<Bytes>`, as axum's is; for those that are
/// only `Default`, such as tonic's, see [`Responding::without_body`].
///
/// Around a tonic *channel* it turns refusals into statuses with their codes;
/// without it, tonic calls them `Unknown`.
pub fn respond<L>(stack: L) -> Responding<L, ProblemBody> {
    Responding {
        stack,
        other: Pass,
        body: PhantomData,
    }
}

/// As [`respond`], for a stack that holds layers with tower's `BoxError`: the
/// errors that are not refusals of ours become the response that `f` makes.
///
/// ```
/// use axum::{Router, response::IntoResponse, routing::get};
/// use http::StatusCode;
/// use std::time::Duration;
/// use tower::ServiceBuilder;
/// use tower_keep::bulkhead::{BulkheadLayer, Policy};
///
/// let stack = ServiceBuilder::new()
///     .layer(BulkheadLayer::new(Policy::max_concurrent(100)?))
///     .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(5)));
/// let answer = |error: tower::BoxError| {
///     (StatusCode::BAD_GATEWAY, error.to_string()).into_response()
/// };
/// let app: Router = Router::new()
///     .route("/", get(|| async { "hello" }))
///     .layer(tower_keep::respond_or(stack, answer));
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
pub fn respond_or<L, F, E, B>(stack: L, f: F) -> Responding<L, ProblemBody, Other<F, B>>
where
    F: Fn(E) -> Response<B>,
{
    Responding {
        stack,
        other: Other::new(f),
        body: PhantomData,
    }
}

/// A stack whose refusals become responses: made by [`respond`].
pub struct Responding<L, M = ProblemBody, O = Pass> {
    stack: L,
    other: O,
    body: PhantomData<fn() -> M>,
}

impl<L, O> Responding<L, ProblemBody, O> {
    /// Answers with headers only: for bodies that can be made by `Default`.
    pub fn without_body(self) -> Responding<L, NoBody, O> {
        Responding {
            stack: self.stack,
            other: self.other,
            body: PhantomData,
        }
    }
}

impl<L: Clone, M, O: Clone> Clone for Responding<L, M, O> {
    fn clone(&self) -> Self {
        Self {
            stack: self.stack.clone(),
            other: self.other.clone(),
            body: PhantomData,
        }
    }
}

impl<L, M, O> fmt::Debug for Responding<L, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responding").finish_non_exhaustive()
    }
}

impl<S, L, M> Layer<S> for Responding<L, M, Pass>
where
    L: Layer<Lift<S>>,
{
    type Service = Respond<L::Service, M, Pass>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond::new(self.stack.layer(Lift::new(inner)), Pass)
    }
}

impl<S, L, M, F, B> Layer<S> for Responding<L, M, Other<F, B>>
where
    L: Layer<S>,
    F: Clone,
{
    type Service = Respond<L::Service, M, Other<F, B>, Response<B>>;

    fn layer(&self, inner: S) -> Self::Service {
        Respond::new(self.stack.layer(inner), self.other.clone())
    }
}

/// How the body of an answer is made: [`ProblemBody`] or [`NoBody`].
pub trait RejectBody<B>: sealed::RejectBody {
    /// A body with this content, if it can have any.
    fn body(content: Bytes) -> B;
    /// Whether the content arrives.
    const WITH_CONTENT: bool;
}

// That nobody else can name them is their purpose.
#[expect(unnameable_types)]
mod sealed {
    pub trait RejectBody {}
}

/// An `application/problem+json` body (RFC 9457), for bodies `From<Bytes>`.
#[derive(Debug, Clone, Copy)]
pub struct ProblemBody;

/// No body, for bodies that are `Default`.
#[derive(Debug, Clone, Copy)]
pub struct NoBody;

impl sealed::RejectBody for ProblemBody {}
impl<B: From<Bytes>> RejectBody<B> for ProblemBody {
    fn body(content: Bytes) -> B {
        content.into()
    }
    const WITH_CONTENT: bool = true;
}

impl sealed::RejectBody for NoBody {}
impl<B: Default> RejectBody<B> for NoBody {
    fn body(_: Bytes) -> B {
        B::default()
    }
    const WITH_CONTENT: bool = false;
}

/// Turns refusals into responses. See [`respond`], which makes it.
///
/// | refusal | HTTP | gRPC |
/// |---|---|---|
/// | throttled | 429 | 8 `RESOURCE_EXHAUSTED` |
/// | full, queue timeout, keys exhausted, total rate | 503 | 8 `RESOURCE_EXHAUSTED` |
/// | open, not ready, no connection in time, closed, no runtime | 503 | 14 `UNAVAILABLE` |
/// | timeout, deadline exceeded | 504 | 4 `DEADLINE_EXCEEDED` |
/// | injected by chaos | 500 | 13 `INTERNAL` |
/// | key missing or too long, cost above the burst | 400 | 3 `INVALID_ARGUMENT` |
/// | idempotency key missing or invalid, request body broken (too large) | 400 (413) | 3 `INVALID_ARGUMENT` |
/// | idempotency key of another request | 422 | 9 `FAILED_PRECONDITION` |
/// | in progress, as the policy says | 409, 425, 202 | 10 `ABORTED` |
/// | outcome unknown; answer not kept | 409 | 9 `FAILED_PRECONDITION`; 6 `ALREADY_EXISTS` |
/// | store failed; store full | 503 | 14 `UNAVAILABLE`; 8 `RESOURCE_EXHAUSTED` |
///
/// What they say in words (`detail`, `grpc-message`) is meant for clients: the
/// kind of the refusal and the layer are told to listeners, not to them.
///
/// HTTP answers carry `Retry-After` where another try is worth it (whole
/// seconds, rounded up, with up to a quarter and a second of jitter, so that
/// those who were refused together do not come back together), and the quotas
/// that throttles inside report: `RateLimit` and `RateLimit-Policy`
/// (draft-ietf-httpapi-ratelimit-headers-10). A request with the content type
/// `application/grpc` gets a trailers-only answer with `grpc-status` and
/// `grpc-retry-pushback-ms`.
///
/// # Cost
/// It reads the request's content type and opens a scope for reports; a request
/// that passes allocates nothing here.
pub struct Respond<S, M = ProblemBody, O = Pass, A = Infallible> {
    inner: S,
    other: O,
    /// What answers the next call, since the service failed before it.
    early: Option<Early<A>>,
    body: PhantomData<fn() -> M>,
}

/// The answer to an error of readiness, which waits for its request.
enum Early<A> {
    Rejected(Rejection),
    // Boxed: it is rare, and would make every future larger. Nobody locks it: a
    // body need not be `Sync`, but a service must.
    Answered(Box<Mutex<A>>),
}

impl<S, M, O, A> Respond<S, M, O, A> {
    fn new(inner: S, other: O) -> Self {
        Self {
            inner,
            other,
            early: None,
            body: PhantomData,
        }
    }
}

/// A clone has not failed yet.
impl<S: Clone, M, O: Clone, A> Clone for Respond<S, M, O, A> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.other.clone())
    }
}

impl<S: fmt::Debug, M, O, A> fmt::Debug for Respond<S, M, O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Respond").field(&self.inner).finish()
    }
}

impl<S, M, O, Q, B> Service<Request<Q>> for Respond<S, M, O, O::Answer>
where
    S: Service<Request<Q>, Response = Response<B>>,
    M: RejectBody<B>,
    O: Unlift<S::Error, B> + Clone,
{
    type Response = Response<B>;
    type Error = O::Error;
    type Future = RespondFuture<S::Future, M, O, O::Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        // What it says now counts, not what it said before.
        self.early = None;
        let Err(error) = ready!(self.inner.poll_ready(cx)) else {
            return Poll::Ready(Ok(()));
        };
        // An answer needs a request: until then the service counts as ready.
        self.early = Some(match self.other.unlift(error) {
            Split::Failed(error) => return Poll::Ready(Err(error)),
            Split::Rejected(rejection) => Early::Rejected(rejection),
            Split::Answered(answer) => Early::Answered(Box::new(Mutex::new(answer))),
        });
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let grpc = is_grpc(request.headers());
        let mut report = Report::default();
        let state = match self.early.take() {
            Some(early) => State::Early { early: Some(early) },
            None => State::Called {
                future: report.collect(|| self.inner.call(request)),
            },
        };
        RespondFuture {
            state,
            other: self.other.clone(),
            grpc,
            report,
            body: PhantomData,
        }
    }
}

/// Tells a layer outside, which records answers, that this one is no answer of the
/// handler's.
fn told<B>(mut answer: Response<B>, rejection: Rejection) -> Response<B> {
    if cfg!(feature = "idempotency") {
        answer.extensions_mut().insert(rejection);
    }
    answer
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

pin_project! {
    /// The future of [`Respond`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RespondFuture<F, M, O, A> {
        #[pin]
        state: State<F, A>,
        other: O,
        grpc: bool,
        report: Report,
        body: PhantomData<fn() -> M>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, A> {
        Called { #[pin] future: F },
        // Used up by the answer.
        Early { early: Option<Early<A>> },
    }
}

impl<F, M, O, A> fmt::Debug for RespondFuture<F, M, O, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondFuture").finish_non_exhaustive()
    }
}

impl<F, M, O, B, E> Future for RespondFuture<F, M, O, O::Answer>
where
    F: Future<Output = Result<Response<B>, E>>,
    M: RejectBody<B>,
    O: Unlift<E, B>,
{
    type Output = Result<Response<B>, O::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let split = match this.state.project() {
            StateProj::Early { early } => match early.take() {
                Some(Early::Rejected(rejection)) => Split::Rejected(rejection),
                Some(Early::Answered(answer)) => Split::Answered(O::response(answer.into_inner())),
                None => return Poll::Pending,
            },
            StateProj::Called { future } => match ready!(this.report.collect(|| future.poll(cx))) {
                Ok(response) => Split::Answered(response),
                Err(error) => match this.other.unlift(error) {
                    Split::Answered(answer) => Split::Answered(O::response(answer)),
                    Split::Rejected(rejection) => Split::Rejected(rejection),
                    Split::Failed(error) => Split::Failed(error),
                },
            },
        };
        Poll::Ready(match split {
            Split::Failed(error) => Err(error),
            Split::Answered(mut response) => {
                // A refusal that did not become this answer is not its quota: it
                // was that of a client which the service has called.
                let quotas = this.report.quotas().filter(|quota| !quota.refused);
                answer::add_quotas(response.headers_mut(), quotas);
                Ok(response)
            }
            Split::Rejected(rejection) => {
                let answer = match *this.grpc {
                    true => answer::grpc(&rejection).map(|()| M::body(Bytes::new())),
                    false => answer::http(&rejection, M::WITH_CONTENT, this.report).map(M::body),
                };
                Ok(told(answer, rejection))
            }
        })
    }
}
