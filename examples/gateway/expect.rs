//! `Expect: 100-continue`, end to end.
//!
//! A client that asks before it sends wants the answer of the upstream, not one of the gateway.
//! The server below sends `100 Continue` as soon as somebody reads the body, so the gateway must
//! not read it before the upstream has said `100` itself. An upstream that never says so is waited
//! for only a moment: a client may send without the answer, and so may a gateway.

use crate::clock;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::EXPECT;
use axum::http::{Request, StatusCode, Version};
use http_body::{Frame, SizeHint};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;

/// How long an upstream that ignores the expectation holds the body back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Holds the body back until the upstream asks for it, if the client said that it waits.
///
/// `received` is the version the client spoke: HTTP/1.0 has no `100`.
pub(crate) fn hold_until_asked(mut request: Request<Body>, received: Version) -> Request<Body> {
    let expects = request
        .headers()
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !expects {
        return request;
    }
    if request.body().is_end_stream()
        || received < Version::HTTP_11
        || request.version() == Version::HTTP_2
    {
        // Nothing to hold back, nobody who waits, or no way to hear the upstream's `100`.
        request.headers_mut().remove(EXPECT);
        return request;
    }
    let asked = Arc::new(Notify::new());
    let ask = Arc::clone(&asked);
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            ask.notify_one();
        }
    });
    request.map(|body| {
        Body::new(Held {
            body,
            gate: Some(Box::pin(async move {
                tokio::select! {
                    () = asked.notified() => (),
                    () = clock::sleep(PATIENCE) => (),
                }
            })),
        })
    })
}

struct Held {
    body: Body,
    gate: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("asked", &self.gate.is_none())
            .finish_non_exhaustive()
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(cx));
            self.gate = None;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
