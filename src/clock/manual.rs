//! A clock that a test moves by hand, either way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Clock, Source, Tick};

/// Moves the time of the [`Clock`]s it hands out.
///
/// Clones move the same time. It starts an hour after [`Tick::ZERO`] and stands
/// still until it is moved. Moving it wakes every timer that has become due.
#[derive(Clone)]
pub struct ManualClock(Arc<Inner>);

struct Inner {
    now: AtomicU64,
    timers: Mutex<Timers>,
}

#[derive(Default)]
struct Timers {
    next: u64,
    waiting: BTreeMap<(Tick, u64), Waker>,
}

impl ManualClock {
    /// A clock of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Tick::from_nanos(3_600_000_000_000))
    }

    /// A clock that starts at `now`.
    #[must_use]
    pub fn starting_at(now: Tick) -> Self {
        Self(Arc::new(Inner {
            now: AtomicU64::new(now.as_nanos()),
            timers: Mutex::default(),
        }))
    }

    /// The clock to give to layers.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::of(Source::Manual(self.clone()))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick::from_nanos(self.0.now.load(Ordering::Acquire))
    }

    /// Moves the time forward and wakes what has become due.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    /// Moves the time back, as no monotonic clock should.
    pub fn rewind(&self, by: Duration) {
        self.set(self.now().saturating_sub(by));
    }

    /// Sets the time to any point and wakes what is due by then.
    pub fn set(&self, now: Tick) {
        self.0.now.store(now.as_nanos(), Ordering::Release);
        loop {
            let due = {
                let mut timers = self.0.timers.lock();
                match timers.waiting.first_key_value() {
                    Some((&key, _)) if key.0 <= now => timers.waiting.remove(&key),
                    _ => None,
                }
            };
            match due {
                Some(waker) => waker.wake(),
                None => return,
            }
        }
    }

    /// Timers that are armed and have not fired.
    #[must_use]
    pub fn armed(&self) -> usize {
        self.0.timers.lock().waiting.len()
    }

    /// When the next armed timer fires.
    #[must_use]
    pub fn next_due(&self) -> Option<Tick> {
        let timers = self.0.timers.lock();
        timers.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    #[cfg(feature = "watchdog")]
    pub(super) fn nap_until(&self, due: Tick) {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut sleep = ManualSleep::new(self.clone(), due);
        if sleep.poll(&mut Context::from_waker(&waker)).is_pending() {
            std::thread::park();
        }
    }

    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("now", &self.now())
            .field("armed", &self.armed())
            .finish()
    }
}

pub(super) struct ManualSleep {
    clock: ManualClock,
    due: Tick,
    key: Option<(Tick, u64)>,
}

impl ManualSleep {
    pub(super) fn new(clock: ManualClock, due: Tick) -> Self {
        Self {
            clock,
            due,
            key: None,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Wakers are foreign code: cloned before the lock, dropped after it.
        let waker = cx.waker().clone();
        let _stale;
        let mut timers = self.clock.0.timers.lock();
        _stale = self.key.and_then(|key| timers.waiting.remove(&key));
        // Read under the lock: `set` stores the time before it takes the lock.
        if self.clock.now() >= self.due {
            self.key = None;
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            timers.next += 1;
            (self.due, timers.next)
        });
        timers.waiting.insert(key, waker);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let stale = self.clock.0.timers.lock().waiting.remove(&key);
            drop(stale);
        }
    }
}
