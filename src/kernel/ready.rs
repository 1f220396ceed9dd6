//! The wrapped service, and whether it may be called.

use std::task::{Context, Poll, Waker};

use tower_service::Service;

use crate::error::{AsRejection, Rejection};

/// A service that is called only when it is ready. A clone is not.
#[derive(Debug)]
pub struct Readied<S> {
    inner: S,
    ready: bool,
}

impl<S: Clone> Clone for Readied<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone())
    }
}

impl<S> Readied<S> {
    /// A service that nobody has asked yet.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            ready: false,
        }
    }

    /// The service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service, to change it: it may be another one afterwards, which nobody
    /// has asked yet.
    pub fn get_mut(&mut self) -> &mut S {
        self.ready = false;
        &mut self.inner
    }

    /// The service, out of its wrapping.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Takes the readied service and leaves a fresh clone: what was promised
    /// readiness is called, never its clone.
    #[must_use]
    pub fn take(&mut self) -> Self
    where
        S: Clone,
    {
        let fresh = self.clone();
        std::mem::replace(self, fresh)
    }

    /// Whether it has said yes, and was not called since.
    #[inline]
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Asks the service, and remembers its yes.
    #[inline]
    pub fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Req>,
    {
        self.ready = false;
        let poll = self.inner.poll_ready(cx);
        self.ready = matches!(poll, Poll::Ready(Ok(())));
        poll
    }

    /// Whether it may be called now, or what to answer instead. Somebody who calls
    /// without having waited is not refused for the form of it: the service is
    /// asked once.
    #[inline]
    pub fn check<Req>(&mut self, refuse: impl FnOnce() -> Rejection) -> Result<(), S::Error>
    where
        S: Service<Req>,
        S::Error: AsRejection,
    {
        if self.ready {
            return Ok(());
        }
        self.ask(refuse)
    }

    #[cold]
    fn ask<Req>(&mut self, refuse: impl FnOnce() -> Rejection) -> Result<(), S::Error>
    where
        S: Service<Req>,
        S::Error: AsRejection,
    {
        match self.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(refuse().into()),
        }
    }

    /// Calls it, which uses up its readiness.
    #[inline]
    pub fn call<Req>(&mut self, request: Req) -> S::Future
    where
        S: Service<Req>,
    {
        self.ready = false;
        self.inner.call(request)
    }
}
