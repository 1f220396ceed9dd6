//! One call of a service of one's own: waits until it is ready, and calls it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// Polled again after it has resolved to an error of readiness, it stays
    /// pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct Oneshot<S, Req>
    where
        S: Service<Req>,
    {
        // Used up by the call.
        call: Option<(S, Req)>,
        #[pin]
        future: Option<S::Future>,
    }
}

impl<S: Service<Req>, Req> Oneshot<S, Req> {
    /// The call of this service.
    pub fn new(service: S, request: Req) -> Self {
        Self {
            call: Some((service, request)),
            future: None,
        }
    }

    /// Whether the service has been called.
    pub fn is_called(&self) -> bool {
        self.call.is_none()
    }
}

impl<S: Service<Req>, Req> Future for Oneshot<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some((service, _)) = this.call {
            if let Err(error) = ready!(service.poll_ready(cx)) {
                *this.call = None;
                return Poll::Ready(Err(error));
            }
            if let Some((mut service, request)) = this.call.take() {
                this.future.set(Some(service.call(request)));
            }
        }
        match this.future.as_mut().as_pin_mut() {
            // It is dropped by who polls this: should its drop panic, what it
            // has resolved to is not lost.
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }
    }
}
