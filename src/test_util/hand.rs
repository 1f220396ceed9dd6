//! Polling by hand.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::clock::ManualClock;

/// A waker that only counts. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct CountingWaker(Arc<Wakes>);

#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl CountingWaker {
    /// A waker that nobody has used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// To poll with.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// How often it was woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.0.0.load(Ordering::Acquire)
    }

    /// Wakers of it that somebody keeps.
    #[must_use]
    pub fn kept(&self) -> usize {
        Arc::strong_count(&self.0).saturating_sub(1)
    }
}

/// A future in the hand: polled when the test says so.
pub struct Hand<F> {
    future: Pin<Box<F>>,
    waker: CountingWaker,
}

impl<F: Future> Hand<F> {
    /// Takes a future into the hand, without polling it.
    pub fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            waker: CountingWaker::new(),
        }
    }

    /// Polls once.
    pub fn poll(&mut self) -> Poll<F::Output> {
        let waker = self.waker.waker();
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls once with a fresh waker, as after a move to another task. The
    /// count of wake-ups starts anew; the returned waker is the old one.
    pub fn poll_elsewhere(&mut self) -> (Poll<F::Output>, CountingWaker) {
        let old = std::mem::take(&mut self.waker);
        (self.poll(), old)
    }

    /// How often its waker was woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.waker.wakes()
    }

    /// The future.
    #[must_use]
    pub fn get_ref(&self) -> &F {
        &self.future
    }
}

impl<F> fmt::Debug for Hand<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand")
            .field("waker", &self.waker)
            .finish_non_exhaustive()
    }
}

/// Runs a future to its end: polls it when it was woken, and otherwise moves the
/// clock to the next timer. `None` if it waits for something that never comes.
///
/// ```
/// use std::time::Duration;
/// use tower_keep::test_util::{ManualClock, finish_on};
///
/// let time = ManualClock::new();
/// let start = time.now();
/// let clock = time.clock();
/// let hour = clock.sleep_until(start.saturating_add(Duration::from_secs(3600)));
/// assert_eq!(finish_on(&time, hour), Some(Ok(())));
/// assert_eq!(finish_on(&time, std::future::pending::<()>()), None);
/// ```
pub fn finish_on<F: Future>(time: &ManualClock, future: F) -> Option<F::Output> {
    let mut hand = Hand::new(future);
    loop {
        let seen = hand.wakes();
        if let Poll::Ready(output) = hand.poll() {
            return Some(output);
        }
        while hand.wakes() == seen {
            time.set(time.next_due()?);
        }
    }
}

/// After so many polls, [`drop_at`] takes it that a future never ends.
pub const MOST_POLLS: u32 = 64;

/// Drops a future after 0, 1, 2, … polls until it ends by itself, and checks
/// each time that nothing of it is left.
///
/// `make` starts a fresh call each time; `quiet` is told the number of polls
/// after which the future was dropped, and panics if something is left. A
/// future that panics has ended. Returns the number of polls that it takes to
/// the end; `None` if it still pends after [`MOST_POLLS`].
pub fn drop_at<F: Future>(mut make: impl FnMut() -> F, mut quiet: impl FnMut(u32)) -> Option<u32> {
    for polls in 0..=MOST_POLLS {
        // Whether the call is over: it is if `make` or a poll panics, but not if
        // only the drop does.
        let mut over = true;
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut hand = Hand::new(make());
            over = false;
            for _ in 0..polls {
                over = catch_unwind(AssertUnwindSafe(|| hand.poll().is_ready())).unwrap_or(true);
            }
        }));
        quiet(polls);
        if over {
            return Some(polls);
        }
    }
    None
}
