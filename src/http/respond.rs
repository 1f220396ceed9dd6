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
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::answer;
use super::report::Report;
use crate::error::{AsRejection, Error, Rejection};
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
pub fn respond_or<L, F>(stack: L, f: F) -> Responding<L, ProblemBody, Other<F>> {
    Responding {
        stack,
        other: Other(f),
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

impl<S, L, M, F> Layer<S> for Responding<L, M, Other<F>>
where
    L: Layer<S>,
    F: Clone,
{
    type Service = Respond<L::Service, M, Other<F>>;

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

/// What an error of the stack is.
#[derive(Debug)]
pub enum Split<B, E> {
    /// A refusal of a layer.
    Rejected(Rejection),
    /// Something that has an answer already.
    Answered(Response<B>),
    /// The service's own error, which goes on.
    Failed(E),
}

/// Tells refusals from other errors: [`Pass`] or [`Other`].
#[diagnostic::on_unimplemented(
    message = "`respond` cannot tell what to answer to the error `{E}` of this stack",
    note = "for a stack that holds other people's layers: `tower_keep::respond_or(stack, |error| response)`"
)]
pub trait Unlift<E, B> {
    /// The error that is left.
    type Error;
    /// Takes an error apart.
    fn unlift(&self, error: E) -> Split<B, Self::Error>;
}

/// The service's own errors stay errors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass;

impl<E, B> Unlift<Error<E>, B> for Pass {
    type Error = E;
    fn unlift(&self, error: Error<E>) -> Split<B, E> {
        match error {
            Error::Rejected(rejection) => Split::Rejected(rejection),
            Error::Inner(error) => Split::Failed(error),
        }
    }
}

/// Other errors become responses: made by [`respond_or`].
#[derive(Clone, Copy)]
pub struct Other<F>(F);

impl<F> fmt::Debug for Other<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Other")
    }
}

impl<E: AsRejection, B, F: Fn(E) -> Response<B>> Unlift<E, B> for Other<F> {
    type Error = Infallible;
    fn unlift(&self, error: E) -> Split<B, Infallible> {
        match error.as_rejection() {
            Some(rejection) => Split::Rejected(rejection),
            None => Split::Answered((self.0)(error)),
        }
    }
}

/// Turns refusals into responses. See [`respond`], which makes it.
///
/// | refusal | HTTP | gRPC |
/// |---|---|---|
/// | throttled | 429 | 8 `RESOURCE_EXHAUSTED` |
/// | full, queue timeout, keys exhausted | 503 | 8 `RESOURCE_EXHAUSTED` |
/// | not ready, closed, no runtime | 503 | 14 `UNAVAILABLE` |
/// | timeout, deadline exceeded | 504 | 4 `DEADLINE_EXCEEDED` |
/// | injected by chaos | 500 | 13 `INTERNAL` |
/// | key missing or too long | 400 | 3 `INVALID_ARGUMENT` |
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
pub struct Respond<S, M = ProblemBody, O = Pass> {
    inner: S,
    other: O,
    /// A refusal that came as a readiness error waits for its request.
    refused: Option<Rejection>,
    body: PhantomData<fn() -> M>,
}

impl<S, M, O> Respond<S, M, O> {
    fn new(inner: S, other: O) -> Self {
        Self {
            inner,
            other,
            refused: None,
            body: PhantomData,
        }
    }
}

impl<S: Clone, M, O: Clone> Clone for Respond<S, M, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.other.clone())
    }
}

impl<S: fmt::Debug, M, O> fmt::Debug for Respond<S, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Respond").field(&self.inner).finish()
    }
}

impl<S, M, O, Q, B> Service<Request<Q>> for Respond<S, M, O>
where
    S: Service<Request<Q>, Response = Response<B>>,
    M: RejectBody<B>,
    O: Unlift<S::Error, B> + Clone,
{
    type Response = Response<B>;
    type Error = O::Error;
    type Future = RespondFuture<S::Future, M, O>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), O::Error>> {
        match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => match self.other.unlift(error) {
                Split::Failed(error) => Poll::Ready(Err(error)),
                Split::Rejected(rejection) => {
                    self.refused = Some(rejection);
                    Poll::Ready(Ok(()))
                }
                // A response needs a request: until then the service counts as
                // ready, and says so again when it is called.
                Split::Answered(_) => Poll::Ready(Ok(())),
            },
        }
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let grpc = is_grpc(request.headers());
        let mut report = Report::default();
        let state = match self.refused.take() {
            Some(rejection) => State::Refused { rejection },
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

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

pin_project! {
    /// The future of [`Respond`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RespondFuture<F, M, O> {
        #[pin]
        state: State<F>,
        other: O,
        grpc: bool,
        report: Report,
        body: PhantomData<fn() -> M>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Called { #[pin] future: F },
        Refused { rejection: Rejection },
    }
}

impl<F, M, O> fmt::Debug for RespondFuture<F, M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RespondFuture").finish_non_exhaustive()
    }
}

impl<F, M, O, B, E> Future for RespondFuture<F, M, O>
where
    F: Future<Output = Result<Response<B>, E>>,
    M: RejectBody<B>,
    O: Unlift<E, B>,
{
    type Output = Result<Response<B>, O::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let split = match this.state.project() {
            StateProj::Refused { rejection } => Split::Rejected(*rejection),
            StateProj::Called { future } => match ready!(this.report.collect(|| future.poll(cx))) {
                Ok(response) => Split::Answered(response),
                Err(error) => this.other.unlift(error),
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
            Split::Rejected(rejection) if *this.grpc => {
                Ok(answer::grpc(&rejection).map(|()| M::body(Bytes::new())))
            }
            Split::Rejected(rejection) => {
                Ok(answer::http(&rejection, M::WITH_CONTENT, this.report).map(M::body))
            }
        })
    }
}
