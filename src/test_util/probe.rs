//! A service that takes Tower's contract literally.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

/// Wraps a service and counts what is done to it, breaches of contract among
/// it: [`Watch`] tells. It behaves exactly as the service in it.
///
/// Readiness belongs to the instance that was polled: a clone has none, and a
/// call uses it up.
pub struct Probe<S> {
    inner: S,
    ready: bool,
    failed: bool,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    ready_polls: AtomicU64,
    calls: AtomicU64,
    violations: AtomicU64,
    services: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    completed: AtomicU64,
    dropped: AtomicU64,
    late_polls: AtomicU64,
}

/// What a [`Probe`] and its clones have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `poll_ready`.
    pub ready_polls: u64,
    /// Calls of `call`.
    pub calls: u64,
    /// Calls of an instance that had not become ready since its last call, and
    /// uses of one that had failed.
    pub violations: u64,
    /// Instances that are alive.
    pub services: u64,
    /// Futures that are alive.
    pub in_flight: u64,
    /// The most futures that were alive at once.
    pub most_in_flight: u64,
    /// Futures that ended, by a panic too.
    pub completed: u64,
    /// Futures that were dropped before their end.
    pub dropped: u64,
    /// Polls of futures that had ended.
    pub late_polls: u64,
}

/// Tells what a [`Probe`] has seen. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Seen>);

fn add(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::AcqRel) + 1
}

impl<S> Probe<S> {
    /// A probe around a service.
    pub fn new(inner: S) -> Self {
        let seen = Arc::<Seen>::default();
        add(&seen.services);
        Self {
            inner,
            ready: false,
            failed: false,
            seen,
        }
    }

    /// To look at it from outside.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.seen))
    }

    /// Whether this instance may be called.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

impl Watch {
    /// What was seen until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Acquire);
        Counts {
            ready_polls: read(&self.0.ready_polls),
            calls: read(&self.0.calls),
            violations: read(&self.0.violations),
            services: read(&self.0.services),
            in_flight: read(&self.0.in_flight),
            most_in_flight: read(&self.0.most_in_flight),
            completed: read(&self.0.completed),
            dropped: read(&self.0.dropped),
            late_polls: read(&self.0.late_polls),
        }
    }

    /// Checks that the contract was kept.
    ///
    /// # Panics
    /// If an unready service was called, or an ended future polled.
    #[track_caller]
    pub fn assert_lawful(&self) {
        let counts = self.counts();
        assert!(
            counts.violations == 0 && counts.late_polls == 0,
            "the contract was broken: {counts:?}"
        );
    }

    /// Checks that the contract was kept and that no call is left.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn assert_quiet(&self) {
        self.assert_lawful();
        let counts = self.counts();
        assert!(
            counts.in_flight == 0 && counts.calls >= counts.completed + counts.dropped,
            "something is left: {counts:?}"
        );
    }
}

impl<S: Clone> Clone for Probe<S> {
    fn clone(&self) -> Self {
        let inner = self.inner.clone();
        add(&self.seen.services);
        Self {
            inner,
            ready: false,
            failed: self.failed,
            seen: Arc::clone(&self.seen),
        }
    }
}

impl<S> Drop for Probe<S> {
    fn drop(&mut self) {
        self.seen.services.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S> fmt::Debug for Probe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("ready", &self.ready)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl<S: Service<Req>, Req> Service<Req> for Probe<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = ProbeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        add(&self.seen.ready_polls);
        if self.failed {
            add(&self.seen.violations);
        }
        self.ready = false;
        let poll = self.inner.poll_ready(cx);
        self.ready = matches!(poll, Poll::Ready(Ok(())));
        self.failed = matches!(poll, Poll::Ready(Err(_)));
        poll
    }

    fn call(&mut self, request: Req) -> Self::Future {
        add(&self.seen.calls);
        if !std::mem::take(&mut self.ready) {
            add(&self.seen.violations);
        }
        let future = self.inner.call(request);
        let now = add(&self.seen.in_flight);
        self.seen.most_in_flight.fetch_max(now, Ordering::AcqRel);
        ProbeFuture {
            inner: future,
            life: Life {
                ended: false,
                seen: Arc::clone(&self.seen),
            },
        }
    }
}

pin_project! {
    /// The future of a [`Probe`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ProbeFuture<F> {
        #[pin]
        inner: F,
        // After `inner`: a call is over once its future is gone.
        life: Life,
    }
}

#[derive(Debug)]
struct Life {
    ended: bool,
    seen: Arc<Seen>,
}

impl Drop for Life {
    fn drop(&mut self) {
        add(if self.ended {
            &self.seen.completed
        } else {
            &self.seen.dropped
        });
        self.seen.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<F: Future> Future for ProbeFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.life.ended {
            add(&this.life.seen.late_polls);
            return Poll::Pending;
        }
        // Stays so if the future panics.
        this.life.ended = true;
        let poll = this.inner.poll(cx);
        this.life.ended = poll.is_ready();
        poll
    }
}
