//! What a shutdown has to wait for.
//!
//! A connection is watched by the server, but a tunnel has left its connection and a body may
//! outlive its handler: each holds a [`Token`], and the drain waits until none is left.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// Counts what is in flight.
#[derive(Debug, Clone)]
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

/// One thing in flight; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Token(Arc<watch::Sender<usize>>);

impl InFlight {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn token(&self) -> Token {
        self.0.send_modify(|count| *count += 1);
        Token(Arc::clone(&self.0))
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    pub(crate) async fn none(&self) {
        // The sender is alive as long as `self` is, so this cannot fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// What an exchange with an upstream holds until its last byte has passed.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) _token: Token,
    pub(crate) _slot: OwnedSemaphorePermit,
}

/// A body that holds its exchange: slots are counted until the last byte, as connections are.
#[derive(Debug)]
pub(crate) struct Counted {
    body: Body,
    exchange: Option<Exchange>,
}

impl Counted {
    pub(crate) fn new(body: Body, exchange: Exchange) -> Self {
        Self {
            body,
            exchange: Some(exchange),
        }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.exchange = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An empty body whose length is not known to be zero.
///
/// Answers to `HEAD`, and `304` and `101`, have no content, and a `Content-Length: 0` made for them
/// would say something about a representation that is not empty, or be forbidden.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoContent;

impl HttpBody for NoContent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Poll::Ready(None)
    }
}
