//! How long an upstream may be silent before the gateway answers for it.
//!
//! A limit on the whole exchange would break every long upload. So the time starts anew as long as
//! the body of the request moves: only an upstream that neither takes nor gives is given up.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use http_body::{Frame, SizeHint};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Counts the frames that went to the upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

/// The upstream was silent for too long.
#[derive(Debug)]
pub(crate) struct NoResponse;

impl std::fmt::Display for NoResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no response in time")
    }
}

impl std::error::Error for NoResponse {}

impl Progress {
    /// Counts the frames of this request.
    pub(crate) fn of(&self, request: Request<Body>) -> Request<Body> {
        if request.body().is_end_stream() {
            return request;
        }
        let progress = self.clone();
        request.map(|body| Body::new(Moving { body, progress }))
    }

    /// Waits for `answer`, at least `limit` after the last frame.
    pub(crate) async fn wait<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, NoResponse> {
        let mut answer = pin!(answer);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            if let Ok(answer) = tokio::time::timeout(limit, &mut answer).await {
                return Ok(answer);
            }
            if self.0.load(Ordering::Relaxed) == before {
                return Err(NoResponse);
            }
        }
    }
}

#[derive(Debug)]
struct Moving {
    body: Body,
    progress: Progress,
}

impl HttpBody for Moving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.progress.0.fetch_add(1, Ordering::Relaxed);
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
