//! Who fires the timers of a runtime.
//!
//! All timers that are armed within one tokio runtime share one [`Alarm`], and a
//! task of that runtime drives it: as long as somebody waits there, the driver is
//! polled there. A runtime of its own means a time of its own as well, so that
//! tests with paused time do not feel each other.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::time::Instant;

use super::{NoRuntime, Tick, instant_of, tick_of};
use crate::kernel::shared::{give_back, lend, pooled};
use crate::kernel::sync::{alarms, ids, stripes};
use crate::kernel::wheel::{Alarm, Next, Place};

pooled!(Alarm);

thread_local! {
    /// Where this thread has armed last.
    static HOME: RefCell<Option<Home>> = const { RefCell::new(None) };
}

struct Home {
    runtime: Id,
    /// The thread belongs to a runtime that runs on by itself, whatever this
    /// thread does: it need not be asked again where it is.
    worker: bool,
    alarm: Arc<Alarm>,
}

/// A timer that may be armed. Its drop takes it out.
#[derive(Debug)]
pub(super) struct Armed {
    /// `None` while it is not armed.
    alarm: Option<Arc<Alarm>>,
    /// Whose shard it lies on.
    thread: u32,
    place: Place,
}

impl Armed {
    /// Not armed.
    #[inline]
    pub(super) const fn not() -> Self {
        Self {
            alarm: None,
            thread: 0,
            place: Place::NONE,
        }
    }

    /// Arms it in the current runtime. It must not be armed.
    #[inline]
    pub(super) fn arm(&mut self, due: Tick, now: Tick, waker: &Waker) -> Result<(), NoRuntime> {
        let mut waker = waker.clone();
        let thread = ids::thread_index();
        if let Some(alarm) = near() {
            match alarm.arm(thread, due, now, waker) {
                Ok(place) => {
                    self.alarm = Some(alarm);
                    self.thread = thread;
                    self.place = place;
                    return Ok(());
                }
                Err(back) => waker = back,
            }
        }
        self.arm_far(due, now, waker)
    }

    #[cold]
    fn arm_far(&mut self, due: Tick, now: Tick, waker: Waker) -> Result<(), NoRuntime> {
        let alarm = settle()?;
        let thread = ids::thread_index();
        let place = alarm.arm(thread, due, now, waker);
        self.place = place.map_err(|_| NoRuntime)?;
        self.alarm = Some(alarm);
        self.thread = thread;
        Ok(())
    }

    /// Whether it is still armed, and where its task is polled now; if so,
    /// `waker` is woken when it fires.
    pub(super) fn renew(&self, waker: &Waker) -> bool {
        let Some(alarm) = &self.alarm else {
            return false;
        };
        // Outside of any runtime it may stay where it is.
        let moved = near().map_or_else(settle, Ok).is_ok_and(|here| {
            let moved = !Arc::ptr_eq(&here, alarm);
            give_back(here);
            moved
        });
        !moved && alarm.renew(self.thread, self.place, waker)
    }

    /// Takes it out, if it has not fired.
    #[inline]
    pub(super) fn cancel(&mut self) {
        if let Some(alarm) = self.alarm.take() {
            alarm.cancel(self.thread, self.place);
            give_back(alarm);
        }
    }
}

impl Drop for Armed {
    #[inline]
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The time of the current runtime.
#[inline]
pub(super) fn now() -> Tick {
    tick_of(Instant::now().into_std())
}

/// The alarm of the current runtime, if this thread has been there last.
#[inline]
fn near() -> Option<Arc<Alarm>> {
    let look = |home: &RefCell<Option<Home>>| {
        let home = home.try_borrow().ok()?;
        let home = home.as_ref()?;
        // A handle is counted on a line that all threads of the runtime share.
        let here = home.worker && tokio::task::try_id().is_some()
            || Handle::try_current().is_ok_and(|handle| handle.id() == home.runtime);
        here.then(|| lend(&home.alarm))
    };
    HOME.try_with(look).ok().flatten()
}

/// The alarm of the current runtime, with a driver.
#[cold]
fn settle() -> Result<Arc<Alarm>, NoRuntime> {
    let handle = Handle::try_current().map_err(|_| NoRuntime)?;
    let runtime = handle.id();
    let shared = handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
    let alarm = match alarms::find(runtime) {
        Some(alarm) => alarm,
        None => start(&handle, if shared { stripes() } else { 1 })?,
    };
    let home = Home {
        runtime,
        worker: shared && tokio::task::try_id().is_some(),
        alarm: Arc::clone(&alarm),
    };
    let left = HOME.try_with(|cell| cell.replace(Some(home)));
    drop(left);
    Ok(alarm)
}

/// Makes the alarm of a runtime, and its driver.
fn start(handle: &Handle, shards: usize) -> Result<Arc<Alarm>, NoRuntime> {
    // Tokio panics where it has no timers; we say so instead.
    let sleep = catch_unwind(|| tokio::time::sleep(FAR)).map_err(|_| NoRuntime)?;
    let (alarm, is_new) = alarms::enter(handle.id(), Arc::new(Alarm::new(shards)));
    if is_new {
        let alarm = Arc::clone(&alarm);
        // A runtime that has shut down drops it at once, which closes the alarm.
        drop(handle.spawn(Driver {
            alarm,
            sleep: Box::pin(sleep),
        }));
    }
    Ok(alarm)
}

/// The longest that tokio is asked to sleep at once.
const FAR: Duration = Duration::from_secs(365 * 86_400);

struct Driver {
    alarm: Arc<Alarm>,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Future for Driver {
    type Output = Infallible;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Infallible> {
        let now = now();
        let again = match self.alarm.turn(now, cx.waker()) {
            Next::Yield => true,
            Next::Never => false,
            Next::At(due) => {
                let due = instant_of(due).unwrap_or_else(|| Instant::now() + FAR);
                self.sleep.as_mut().reset(due);
                self.sleep.as_mut().poll(cx).is_ready()
            }
        };
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Its runtime ends.
impl Drop for Driver {
    fn drop(&mut self) {
        alarms::leave(&self.alarm);
        self.alarm.close();
    }
}

/// Timers that are armed in the current runtime.
#[cfg(feature = "test-util")]
pub(crate) fn armed() -> usize {
    let handle = Handle::try_current().ok();
    let alarm = handle.and_then(|handle| alarms::find(handle.id()));
    alarm.map_or(0, |alarm| alarm.armed())
}

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use super::*;

    /// A process may make runtimes again and again.
    #[test]
    fn nothing_is_kept_of_a_runtime_that_has_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let id = runtime.handle().id();
        let alarm = runtime.block_on(async { settle() }).unwrap();
        assert!(alarms::find(id).is_some());
        drop(runtime);
        assert!(alarms::find(id).is_none());
        HOME.with(RefCell::take);
        assert_eq!(Arc::strong_count(&alarm), 1);
    }
}
