//! Bounds on bodies, in both directions.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub use super::body_policy::{BodyPolicy, BodyPolicyBuilder};
use crate::clock::{Clock, Sleep, Tick};
use crate::error::{Rejection, RejectionKind};
use crate::kernel::core::Core;
use crate::registry::Setup;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// A body with an end to every wait for a frame.
    ///
    /// It forwards frames, trailers, size hint and end-of-stream untouched. When
    /// a bound is crossed it drops the inner body and fails with a
    /// [`Rejection`], boxed: [`find_rejection`](crate::error::find_rejection)
    /// finds it. Only waiting counts, not what the reader does in between.
    ///
    /// **A body that nobody polls is not ended**: it runs when its reader asks for a
    /// frame. A server stops asking while its client takes no more, and that client
    /// then keeps what the body holds, as a bulkhead's place that is released at the
    /// body's end. Bound that where writing is seen to stall: by the server's own
    /// timeouts for connections, or release places
    /// [with the head](crate::release::OnHead).
    pub struct TimedBody<B> {
        #[pin]
        inner: Option<B>,
        // None in bodies that were not made by a layer.
        watch: Option<Watch>,
        #[pin]
        timer: Option<Sleep>,
    }
}

/// What is known of one body's progress.
struct Watch {
    core: Arc<Core>,
    policy: BodyPolicy,
    /// When it has to be complete; set by the first poll.
    complete: Option<Tick>,
    /// Since when we wait for the next frame.
    since: Option<Tick>,
    /// What came, and how long we waited for it, in the current window.
    bytes: u64,
    waited: Duration,
}

impl Watch {
    fn clock(&self) -> &Clock {
        self.core.clock()
    }

    /// The time until which a wait that began at `since` may last, and what it
    /// is called after that.
    fn due(&self, since: Tick) -> (Tick, RejectionKind) {
        let policy = &self.policy;
        let idle = policy.idle.map(|idle| since.saturating_add(idle));
        let slow = policy.slowest.map(|(rate, grace)| {
            // What came has earned this much waiting, at least the grace and at
            // most twice that: nobody saves up for a long stall.
            let earned = u128::from(self.bytes) * 1_000_000_000 / u128::from(rate.get());
            let earned = Duration::from_nanos(u64::try_from(earned).unwrap_or(u64::MAX));
            let earned = earned.clamp(grace, grace.saturating_mul(2));
            since.saturating_add(earned.saturating_sub(self.waited))
        });
        [
            (self.complete, RejectionKind::BodyTimeout),
            (idle, RejectionKind::BodyIdle),
            (slow, RejectionKind::BodyTooSlow),
        ]
        .into_iter()
        .filter_map(|(due, kind)| Some((due?, kind)))
        .min_by_key(|(due, _)| *due)
        .unwrap_or((Tick::MAX, RejectionKind::BodyTimeout))
    }

    /// A frame of so many bytes has come.
    fn progress(&mut self, bytes: usize) {
        let Some((_, grace)) = self.policy.slowest else {
            self.since = None;
            return;
        };
        if let Some(since) = self.since.take() {
            let wait = self.clock().now().saturating_since(since);
            self.waited = self.waited.saturating_add(wait);
        }
        if self.waited >= grace {
            // A window is over, and was fast enough: the next one starts anew.
            self.bytes = 0;
            self.waited = Duration::ZERO;
        }
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

impl<B> TimedBody<B> {
    fn new(inner: B, core: &Arc<Core>, policy: BodyPolicy) -> Self {
        Self {
            inner: Some(inner),
            watch: Some(Watch {
                core: Arc::clone(core),
                policy,
                complete: None,
                since: None,
                bytes: 0,
                waited: Duration::ZERO,
            }),
            timer: None,
        }
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        if let Some(watch) = this.watch.as_mut()
            && watch.complete.is_none()
            && let Some(total) = watch.policy.total
        {
            watch.complete = Some(watch.clock().now().saturating_add(total));
        }
        // The frame first: one that comes on the very tick is in time.
        if let Poll::Ready(frame) = inner.poll_frame(cx) {
            if let (Some(watch), Some(Ok(frame))) = (this.watch.as_mut(), &frame) {
                watch.progress(frame.data_ref().map_or(0, Buf::remaining));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(watch) = this.watch.as_mut() else {
            return Poll::Pending;
        };
        let since = match watch.since {
            Some(since) => since,
            None => *watch.since.insert(watch.core.clock().now()),
        };
        let (due, kind) = watch.due(since);
        loop {
            // A timer that is armed for earlier is left alone: it costs one
            // wake-up, which is cheaper than a timer per frame.
            let armed = this.timer.as_ref().as_pin_ref().map(|timer| timer.due());
            if armed.is_none_or(|armed| armed > due) {
                if due == Tick::MAX {
                    return Poll::Pending;
                }
                this.timer.set(Some(watch.clock().sleep_until(due)));
            }
            let Some(timer) = this.timer.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            let fired = timer.due();
            let kind = match ready!(timer.poll(cx)) {
                Ok(()) if fired < due => {
                    this.timer.set(None);
                    continue;
                }
                Ok(()) => kind,
                Err(_) => RejectionKind::NoRuntime,
            };
            let rejection = watch.core.reject(Rejection::after(kind, watch.core.id()));
            this.timer.set(None);
            this.inner.set(None);
            return Poll::Ready(Some(Err(rejection.into())));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

// So that `respond` can make answers of the same type.
impl<B: From<Bytes>> From<Bytes> for TimedBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self {
            inner: Some(bytes.into()),
            watch: None,
            timer: None,
        }
    }
}

impl<B: Default> Default for TimedBody<B> {
    fn default() -> Self {
        Self {
            inner: Some(B::default()),
            watch: None,
            timer: None,
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for TimedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedBody")
            .field("inner", &self.inner)
            .field("timer", &self.timer)
            .finish()
    }
}

/// Writes the two layers, which differ in the direction only.
macro_rules! body_layer {
    ($(#[$doc:meta])* $layer:ident, $service:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $layer {
            core: Arc<Core>,
            policy: BodyPolicy,
        }

        impl $layer {
            /// Bounds of this policy.
            #[must_use]
            pub fn new(policy: BodyPolicy) -> Self {
                Self::with(policy, Setup::default())
            }

            /// As [`new`](Self::new), with a name, a clock, listeners. It does
            /// not enter a registry: it has nothing to report.
            pub fn with(policy: BodyPolicy, setup: Setup) -> Self {
                let (core, _) = Core::new("timeout", setup);
                Self {
                    core: Arc::new(core),
                    policy,
                }
            }
        }

        impl<S> Layer<S> for $layer {
            type Service = $service<S>;

            fn layer(&self, inner: S) -> $service<S> {
                $service {
                    inner,
                    layer: self.clone(),
                }
            }
        }

        #[doc = concat!("The service of [`", stringify!($layer), "`].")]
        #[derive(Debug, Clone)]
        pub struct $service<S> {
            inner: S,
            layer: $layer,
        }
    };
}

body_layer! {
    /// Bounds how long the inner service waits for the request's body: a client
    /// that sends a byte a minute holds nothing for long.
    ///
    /// The reader of the body gets the refusal as the body's error, and decides
    /// what to answer: axum's extractors make it a 400, unless the handler takes
    /// `Result<Bytes, BytesRejection>` and asks
    /// [`find_rejection`](crate::error::find_rejection).
    RequestBodyTimeoutLayer, RequestBodyTimeout
}

body_layer! {
    /// Bounds how long a caller waits for the response's body.
    ResponseBodyTimeoutLayer, ResponseBodyTimeout
}

impl<S, B> Service<Request<B>> for RequestBodyTimeout<S>
where
    S: Service<Request<TimedBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let RequestBodyTimeoutLayer { core, policy } = &self.layer;
        self.inner
            .call(request.map(|body| TimedBody::new(body, core, *policy)))
    }
}

impl<S, Req, B> Service<Req> for ResponseBodyTimeout<S>
where
    S: Service<Req, Response = Response<B>>,
{
    type Response = Response<TimedBody<B>>;
    type Error = S::Error;
    type Future = ResponseBodyTimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseBodyTimeoutFuture {
            future: self.inner.call(request),
            layer: self.layer.clone(),
        }
    }
}

pin_project! {
    /// The future of [`ResponseBodyTimeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseBodyTimeoutFuture<F> {
        #[pin]
        future: F,
        layer: ResponseBodyTimeoutLayer,
    }
}

impl<F, B, E> Future for ResponseBodyTimeoutFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TimedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let ResponseBodyTimeoutLayer { core, policy } = this.layer;
        let response = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| TimedBody::new(body, core, *policy))))
    }
}
