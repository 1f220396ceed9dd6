//! Attempts that travel with a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{Attempt, CURRENT, Current, NONE, Scope};

/// A future that keeps the attempt in force here, for `tokio::spawn` and for
/// whatever else polls it elsewhere. Nothing that is noted or marked there comes
/// back; polled where an attempt is in force, what it notes does, and a mark does
/// not.
pub fn carry<F>(future: F) -> Scoped<F> {
    let attempt = CURRENT.try_with(Current::get).unwrap_or(NONE);
    Scoped { future, attempt }
}

pin_project! {
    /// A future with an attempt in force; see [`Attempt::wrap`] and [`carry`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        #[pin]
        pub(super) future: F,
        pub(super) attempt: Attempt,
    }
}

impl<F> Scoped<F> {
    /// The attempt, with what it has learnt.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _scope = Scope::enter(this.attempt);
        this.future.poll(cx)
    }
}
