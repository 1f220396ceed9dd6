//! A service that does what is written.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::clock::{Clock, ManualClock, Sleep};

/// An error for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scripted failure: {0}")]
pub struct Broken(pub &'static str);

/// What one `poll_ready` of a [`Script`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready<E> {
    /// It is ready.
    Now,
    /// Not yet: it pends this often, and wakes its caller each time. It stands
    /// for as many entries.
    Pend(u32),
    /// It is never ready again, and wakes nobody.
    Never,
    /// It has failed.
    Error(E),
    /// It panics.
    Panic,
}

/// What one call of a [`Script`] does.
#[derive(Debug, Clone)]
#[must_use]
pub struct Call<T, E> {
    pending: u32,
    after: Option<Duration>,
    end: End<T, E>,
    panic_in_call: bool,
    panic_in_drop: bool,
}

#[derive(Debug, Clone)]
enum End<T, E> {
    Done(Result<T, E>),
    Never,
    Panic,
}

impl<T, E> Call<T, E> {
    fn ending(end: End<T, E>) -> Self {
        Self {
            pending: 0,
            after: None,
            end,
            panic_in_call: false,
            panic_in_drop: false,
        }
    }

    /// Responds, at once unless told otherwise.
    pub fn respond(response: T) -> Self {
        Self::ending(End::Done(Ok(response)))
    }

    /// Fails.
    pub fn error(error: E) -> Self {
        Self::ending(End::Done(Err(error)))
    }

    /// Pends for ever, and wakes nobody.
    pub fn never() -> Self {
        Self::ending(End::Never)
    }

    /// Panics when it is polled.
    pub fn panic() -> Self {
        Self::ending(End::Panic)
    }

    /// First pends this often, and wakes its task each time.
    pub fn pending(mut self, polls: u32) -> Self {
        self.pending = polls;
        self
    }

    /// Ends when this time has passed since the call, on the script's clock.
    pub fn after(mut self, time: Duration) -> Self {
        self.after = Some(time);
        self
    }

    /// `call` itself panics.
    pub fn panic_in_call(mut self) -> Self {
        self.panic_in_call = true;
        self
    }

    /// The drop of the future panics, unless its thread is panicking already.
    pub fn panic_in_drop(mut self) -> Self {
        self.panic_in_drop = true;
        self
    }
}

/// A service that does what is written, for any type of request. Clones go on
/// in the same script; requests are dropped.
pub struct Script<T, E> {
    clock: Clock,
    lines: Arc<Mutex<Lines<T, E>>>,
}

struct Lines<T, E> {
    readiness: VecDeque<Ready<E>>,
    calls: VecDeque<Call<T, E>>,
    otherwise: Call<T, E>,
}

impl<T, E> Script<T, E> {
    /// A script that is always ready and does `otherwise` in every call, unless
    /// there are lines for it.
    pub fn new(time: &ManualClock, otherwise: Call<T, E>) -> Self {
        Self {
            clock: time.clock(),
            lines: Arc::new(Mutex::new(Lines {
                readiness: VecDeque::new(),
                calls: VecDeque::new(),
                otherwise,
            })),
        }
    }

    /// One more line: what a later `poll_ready` does.
    #[must_use]
    pub fn ready(self, line: Ready<E>) -> Self {
        self.then_ready(line);
        self
    }

    /// One more line: what a later call does.
    #[must_use]
    pub fn call(self, line: Call<T, E>) -> Self {
        self.then_call(line);
        self
    }

    /// As [`ready`](Self::ready), while it is in use.
    pub fn then_ready(&self, line: Ready<E>) {
        self.lines.lock().readiness.push_back(line);
    }

    /// As [`call`](Self::call), while it is in use.
    pub fn then_call(&self, line: Call<T, E>) {
        self.lines.lock().calls.push_back(line);
    }
}

impl<T, E> Clone for Script<T, E> {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            lines: Arc::clone(&self.lines),
        }
    }
}

impl<T, E> fmt::Debug for Script<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.lock();
        f.debug_struct("Script")
            .field("readiness", &lines.readiness.len())
            .field("calls", &lines.calls.len())
            .finish()
    }
}

impl<T: Clone, E: Clone, Req> Service<Req> for Script<T, E> {
    type Response = T;
    type Error = E;
    type Future = ScriptFuture<T, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let line = {
            let mut lines = self.lines.lock();
            match lines.readiness.pop_front() {
                Some(Ready::Pend(more @ 2..)) => {
                    lines.readiness.push_front(Ready::Pend(more - 1));
                    Ready::Pend(more)
                }
                Some(Ready::Never) => {
                    lines.readiness.push_front(Ready::Never);
                    Ready::Never
                }
                Some(line) => line,
                None => Ready::Now,
            }
        };
        match line {
            Ready::Now | Ready::Pend(0) => Poll::Ready(Ok(())),
            Ready::Pend(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ready::Never => Poll::Pending,
            Ready::Error(error) => Poll::Ready(Err(error)),
            Ready::Panic => panic!("scripted panic in poll_ready"),
        }
    }

    fn call(&mut self, _: Req) -> ScriptFuture<T, E> {
        let call = {
            let mut lines = self.lines.lock();
            let next = lines.calls.pop_front();
            next.unwrap_or_else(|| lines.otherwise.clone())
        };
        assert!(!call.panic_in_call, "scripted panic in call");
        ScriptFuture {
            timer: call.after.map(|time| {
                let due = self.clock.now().saturating_add(time);
                self.clock.sleep_until(due)
            }),
            pending: call.pending,
            end: Some(call.end),
            bomb: Bomb(call.panic_in_drop),
        }
    }
}

pin_project! {
    /// The future of a [`Script`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ScriptFuture<T, E> {
        pending: u32,
        #[pin]
        timer: Option<Sleep>,
        end: Option<End<T, E>>,
        bomb: Bomb,
    }
}

struct Bomb(bool);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(
            !self.0 || std::thread::panicking(),
            "scripted panic in drop"
        );
    }
}

impl<T, E> Future for ScriptFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(less) = this.pending.checked_sub(1) {
            *this.pending = less;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(timer) = this.timer.as_mut().as_pin_mut() {
            // A timer of a manual clock needs no runtime.
            let _ = ready!(timer.poll(cx));
        }
        match this.end.take() {
            Some(End::Done(result)) => Poll::Ready(result),
            Some(End::Never) => {
                *this.end = Some(End::Never);
                Poll::Pending
            }
            Some(End::Panic) => panic!("scripted panic in poll"),
            None => panic!("a scripted future was polled after its end"),
        }
    }
}

impl<T, E> fmt::Debug for ScriptFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptFuture")
            .field("pending", &self.pending)
            .field("ended", &self.end.is_none())
            .finish_non_exhaustive()
    }
}
