//! Attempts on the wire.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::attempt::{Attempt, Scope, mark};

static NUMBER: HeaderName = HeaderName::from_static("x-attempt");
static PREVIOUS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
pub(crate) static PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// In which headers attempts travel; see the [module](crate::attempt).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wire {
    /// `x-attempt` and `x-should-retry`.
    #[default]
    Http,
    /// A header of this name instead of `x-attempt`, and `x-should-retry`.
    Named(HeaderName),
    /// `grpc-previous-rpc-attempts` and `grpc-retry-pushback-ms` (gRPC proposal
    /// A6).
    Grpc,
}

impl Wire {
    fn header(&self) -> &HeaderName {
        match self {
            Self::Http => &NUMBER,
            Self::Named(name) => name,
            Self::Grpc => &PREVIOUS,
        }
    }

    /// What the header's number is lower by.
    fn offset(&self) -> u32 {
        u32::from(*self == Self::Grpc)
    }

    /// What cannot be read is the first attempt: most are.
    fn read(&self, headers: &HeaderMap) -> Attempt {
        let number = headers.get(self.header()).and_then(|value| {
            let value = value.to_str().ok()?;
            let digits = value.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| value.parse::<u32>().ok())?
        });
        match number {
            Some(number) => Attempt::nth(number.saturating_add(self.offset())),
            None => Attempt::first(),
        }
    }

    fn sign(&self) -> Sign {
        match self {
            Self::Grpc => Sign::Pushback,
            Self::Http | Self::Named(_) => Sign::ShouldRetry,
        }
    }
}

/// How a response says that no retry is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    ShouldRetry,
    Pushback,
}

impl Sign {
    fn write(self, headers: &mut HeaderMap) {
        match self {
            Self::ShouldRetry => headers.insert(&SHOULD_RETRY, HeaderValue::from_static("false")),
            Self::Pushback => headers.insert(&PUSHBACK, HeaderValue::from_static("-1")),
        };
    }

    /// Whether the sign is there. A pushback that is negative or unreadable is
    /// one.
    pub(crate) fn is_in(self, headers: &HeaderMap) -> bool {
        match self {
            Self::ShouldRetry => headers
                .get(&SHOULD_RETRY)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"false")),
            Self::Pushback => headers.get_all(&PUSHBACK).iter().any(|value| {
                let millis = value
                    .to_str()
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok());
                millis.is_none_or(i64::is_negative)
            }),
        }
    }
}

/// Whether its head tells a failure, of HTTP or of gRPC. A gRPC call whose status
/// comes after its messages has not failed here: it is committed.
pub(crate) fn is_failure<T>(response: &Response<T>) -> bool {
    let status = response.status();
    let code = || response.headers().get("grpc-status");
    match status.is_success() {
        true => code().is_some_and(|code| code != "0"),
        false => status.is_client_error() || status.is_server_error(),
    }
}

/// Makes [`Read`].
#[derive(Debug, Clone, Default)]
pub struct ReadLayer {
    wire: Wire,
}

impl ReadLayer {
    /// Takes the attempt from these headers.
    #[must_use]
    pub fn new(wire: Wire) -> Self {
        Self { wire }
    }
}

impl<S> Layer<S> for ReadLayer {
    type Service = Read<S>;

    fn layer(&self, inner: S) -> Read<S> {
        let wire = self.wire.clone();
        Read { inner, wire }
    }
}

/// Puts the attempt that a request's headers tell in force for the inner
/// service, and tells the client if somebody inside said not to retry. A response
/// that is no failure is never marked.
///
/// Place it outermost on a server, outside [`respond`](crate::respond()): so
/// that answers for refusals are marked, too. It allocates nothing; a response
/// without a mark passes untouched.
#[derive(Debug, Clone)]
pub struct Read<S> {
    inner: S,
    wire: Wire,
}

impl<S, B, T> Service<Request<B>> for Read<S>
where
    S: Service<Request<B>, Response = Response<T>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ReadFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut attempt = self.wire.read(request.headers());
        let inner = &mut self.inner;
        ReadFuture {
            future: attempt.scope(|| inner.call(request)),
            attempt,
            sign: self.wire.sign(),
        }
    }
}

pin_project! {
    /// The future of [`Read`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ReadFuture<F> {
        #[pin]
        future: F,
        attempt: Attempt,
        sign: Sign,
    }
}

impl<F> fmt::Debug for ReadFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFuture")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl<F, T, E> Future for ReadFuture<F>
where
    F: Future<Output = Result<Response<T>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let poll = {
            let _scope = Scope::enter(this.attempt);
            this.future.poll(cx)
        };
        let mut result = ready!(poll);
        if this.attempt.is_marked()
            && let Ok(response) = &mut result
            && is_failure(response)
        {
            this.sign.write(response.headers_mut());
        }
        Poll::Ready(result)
    }
}

/// Makes [`Write`].
#[derive(Debug, Clone, Default)]
pub struct WriteLayer {
    wire: Wire,
}

impl WriteLayer {
    /// Puts attempts into these headers.
    #[must_use]
    pub fn new(wire: Wire) -> Self {
        Self { wire }
    }
}

impl<S> Layer<S> for WriteLayer {
    type Service = Write<S>;

    fn layer(&self, inner: S) -> Write<S> {
        let wire = self.wire.clone();
        Write { inner, wire }
    }
}

/// Tells the next service which attempt a request is, and takes its word for it
/// if that says not to retry.
///
/// Place it innermost on a client. First attempts, and requests without an
/// attempt in force, pass untouched; for later ones the header is written anew,
/// which allocates for its value and perhaps for the header map.
#[derive(Debug, Clone)]
pub struct Write<S> {
    inner: S,
    wire: Wire,
}

impl<S, B, T> Service<Request<B>> for Write<S>
where
    S: Service<Request<B>, Response = Response<T>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = WriteFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(attempt) = Attempt::current()
            && attempt.number() > 1
        {
            let number = attempt.number() - self.wire.offset();
            let header = self.wire.header().clone();
            request
                .headers_mut()
                .insert(header, HeaderValue::from(number));
        }
        WriteFuture {
            future: self.inner.call(request),
            sign: self.wire.sign(),
        }
    }
}

pin_project! {
    /// The future of [`Write`].
    #[must_use = "futures do nothing unless polled"]
    pub struct WriteFuture<F> {
        #[pin]
        future: F,
        sign: Sign,
    }
}

impl<F> fmt::Debug for WriteFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteFuture")
            .field("sign", &self.sign)
            .finish_non_exhaustive()
    }
}

impl<F, T, E> Future for WriteFuture<F>
where
    F: Future<Output = Result<Response<T>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        if let Ok(response) = &result
            && this.sign.is_in(response.headers())
        {
            mark();
        }
        Poll::Ready(result)
    }
}
