//! The future behind an admission: the inner one, or a refusal.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::core::quietly;

pin_project! {
    /// Resolves to what the inner future does, or to the refusal. It drops the
    /// inner future as soon as that has ended, by a panic too; polled again, it
    /// stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct Gate<F, E> {
        #[pin]
        state: State<F, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, E> {
        Open { #[pin] future: F },
        Refused { error: Option<E> },
        Done,
    }
}

impl<F, E> Gate<F, E> {
    /// Admitted.
    #[inline]
    pub fn open(future: F) -> Self {
        Self {
            state: State::Open { future },
        }
    }

    /// Refused.
    pub fn refused(error: E) -> Self {
        Self {
            state: State::Refused { error: Some(error) },
        }
    }

    /// Neither: it stays pending.
    #[cfg(feature = "chaos")]
    pub fn closed() -> Self {
        Self { state: State::Done }
    }

    /// Drops the inner future now.
    pub fn close(self: Pin<&mut Self>) {
        self.project().state.set(State::Done);
    }
}

impl<F, T, E> Future for Gate<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polling = Polling {
            state: self.project().state,
            unwinds: true,
        };
        let poll = match polling.state.as_mut().project() {
            StateProj::Open { future } => future.poll(cx),
            StateProj::Refused { error } => error
                .take()
                .map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            StateProj::Done => Poll::Pending,
        };
        polling.unwinds = false;
        if poll.is_ready() {
            polling.state.set(State::Done);
        }
        poll
    }
}

/// A poll that is under way.
struct Polling<'a, F, E> {
    state: Pin<&'a mut State<F, E>>,
    unwinds: bool,
}

impl<F, E> Drop for Polling<'_, F, E> {
    #[inline]
    fn drop(&mut self) {
        if self.unwinds {
            // A second panic, out of a drop, would abort the process.
            quietly(|| self.state.set(State::Done));
        }
    }
}

impl<F, E> fmt::Debug for Gate<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Open { .. } => "Open",
            State::Refused { .. } => "Refused",
            State::Done => "Done",
        })
    }
}
