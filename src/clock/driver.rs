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
use crate::kernel::sync::{Mutex, ids, stripes, timers};
use crate::kernel::wheel::{Alarm, Next, Place};

/// The timers of one runtime.
#[derive(Debug)]
pub(crate) struct Timers {
    runtime: Id,
    alarm: Alarm,
    /// What the driver sleeps by; gone when the runtime has ended, which it would
    /// keep alive otherwise. Whoever arms an earlier timer sets it anew: only
    /// tokio's own driver wakes ours. A wake from a busy task would put it where
    /// no other worker finds it.
    sleep: Mutex<Option<Pin<Box<tokio::time::Sleep>>>>,
}

pooled!(Timers);

impl Timers {
    /// Sets the driver's sleep to what is planned.
    fn plan(&self, then: impl FnOnce(Pin<&mut tokio::time::Sleep>)) {
        if let Some(sleep) = self.sleep.lock().as_mut() {
            let far = Instant::now() + FAR;
            let planned = instant_of(self.alarm.planned());
            let until = planned.map_or(far, |planned| planned.min(far));
            sleep.as_mut().reset(until);
            then(sleep.as_mut());
        }
    }

    #[cold]
    fn hurry(&self) {
        self.plan(|_| ());
    }
}

thread_local! {
    /// Where this thread has armed last.
    static HOME: RefCell<Option<Home>> = const { RefCell::new(None) };
}

struct Home {
    runtime: Id,
    /// `None`: that runtime has no timers.
    timers: Option<Arc<Timers>>,
}

/// A timer that may be armed. Its drop takes it out.
#[derive(Debug)]
pub(super) struct Armed {
    /// `None` while it is not armed.
    timers: Option<Arc<Timers>>,
    /// Whose shard it lies on.
    thread: u32,
    place: Place,
}

impl Armed {
    /// Not armed.
    #[inline]
    pub(super) const fn not() -> Self {
        Self {
            timers: None,
            thread: 0,
            place: Place::NONE,
        }
    }

    /// Arms it in the current runtime. It must not be armed.
    #[inline]
    pub(super) fn arm(&mut self, due: Tick, now: Tick, waker: &Waker) -> Result<(), NoRuntime> {
        let mut waker = waker.clone();
        if let Some(timers) = near() {
            match self.arm_on(timers?, due, now, waker) {
                Ok(()) => return Ok(()),
                // That runtime has ended.
                Err(back) => waker = back,
            }
        }
        self.arm_far(due, now, waker)
    }

    #[cold]
    fn arm_far(&mut self, due: Tick, now: Tick, waker: Waker) -> Result<(), NoRuntime> {
        let timers = settle()?;
        self.arm_on(timers, due, now, waker).map_err(|_| NoRuntime)
    }

    #[inline]
    fn arm_on(
        &mut self,
        timers: Arc<Timers>,
        due: Tick,
        now: Tick,
        waker: Waker,
    ) -> Result<(), Waker> {
        let thread = ids::thread_index();
        let (place, is_earlier) = timers.alarm.arm(thread, due, now, waker)?;
        if is_earlier {
            timers.hurry();
        }
        self.timers = Some(timers);
        self.thread = thread;
        self.place = place;
        Ok(())
    }

    /// Whether it is still armed, and where its task is polled now; if so,
    /// `waker` is woken when it fires.
    pub(super) fn renew(&self, waker: &Waker) -> bool {
        let Some(timers) = &self.timers else {
            return false;
        };
        !has_moved(timers) && timers.alarm.renew(self.thread, self.place, waker)
    }

    /// Takes it out, if it has not fired.
    #[inline]
    pub(super) fn cancel(&mut self) {
        if let Some(timers) = self.timers.take() {
            timers.alarm.cancel(self.thread, self.place);
            give_back(timers);
        }
    }
}

impl Drop for Armed {
    #[inline]
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Whether this is another runtime, and one that has timers: outside of any, or in
/// one that has shut down, an armed timer may stay where it is.
fn has_moved(timers: &Timers) -> bool {
    let Ok(handle) = Handle::try_current() else {
        return false;
    };
    if handle.id() == timers.runtime {
        return false;
    }
    let here = near().unwrap_or_else(settle);
    here.is_ok_and(|here| !here.alarm.is_closed())
}

/// The time of the current runtime.
#[inline]
pub(super) fn now() -> Tick {
    tick_of(Instant::now().into_std())
}

/// The timers of the current runtime, if this thread has been there last.
///
/// The runtime is asked for on every call. A thread can serve several, one within
/// the other even, and nothing that is cheaper tells them apart.
#[inline]
fn near() -> Option<Result<Arc<Timers>, NoRuntime>> {
    let look = |home: &RefCell<Option<Home>>| {
        let home = home.try_borrow().ok()?;
        let home = home.as_ref()?;
        let here = Handle::try_current().is_ok_and(|handle| handle.id() == home.runtime);
        here.then(|| home.timers.as_ref().map(lend).ok_or(NoRuntime))
    };
    HOME.try_with(look).ok().flatten()
}

/// The timers of the current runtime, with a driver.
#[cold]
fn settle() -> Result<Arc<Timers>, NoRuntime> {
    let handle = Handle::try_current().map_err(|_| NoRuntime)?;
    let runtime = handle.id();
    let timers = timers::find(runtime).map_or_else(|| start(&handle), Ok);
    let home = Home {
        runtime,
        timers: timers.as_ref().ok().map(Arc::clone),
    };
    let left = HOME.try_with(|cell| cell.replace(Some(home)));
    drop(left);
    timers
}

/// Makes the timers of a runtime, and their driver.
fn start(handle: &Handle) -> Result<Arc<Timers>, NoRuntime> {
    // Tokio panics where it has no timers; we say so instead.
    let sleep = catch_unwind(|| tokio::time::sleep(FAR)).map_err(|_| NoRuntime)?;
    let shared = handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
    let (timers, is_new) = timers::enter(
        handle.id(),
        Arc::new(Timers {
            runtime: handle.id(),
            alarm: Alarm::new(if shared { stripes() } else { 1 }),
            sleep: Mutex::new(Some(Box::pin(sleep))),
        }),
    );
    if is_new {
        let timers = Arc::clone(&timers);
        // A runtime that has shut down drops it at once, which closes the alarm.
        drop(handle.spawn(Driver { timers, turns: 0 }));
        if shared {
            // Drives it out of the place for the task that this worker runs next,
            // where no other worker would find it while this one is busy.
            drop(handle.spawn(async {}));
        }
    }
    Ok(timers)
}

/// The longest that tokio is asked to sleep at once.
const FAR: Duration = Duration::from_secs(365 * 86_400);

struct Driver {
    timers: Arc<Timers>,
    turns: usize,
}

impl Future for Driver {
    type Output = Infallible;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Infallible> {
        self.turns = self.turns.wrapping_add(1);
        let mut again = true;
        if self.timers.alarm.turn(now(), self.turns) == Next::Sleep {
            self.timers.plan(|sleep| again = sleep.poll(cx).is_ready());
        }
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Its runtime ends.
impl Drop for Driver {
    fn drop(&mut self) {
        timers::leave(&self.timers);
        let sleep = self.timers.sleep.lock().take();
        drop(sleep);
        self.timers.alarm.close();
    }
}

/// Timers that are armed in the current runtime.
#[cfg(feature = "test-util")]
pub(crate) fn armed() -> usize {
    let handle = Handle::try_current().ok();
    let timers = handle.and_then(|handle| timers::find(handle.id()));
    timers.map_or(0, |timers| timers.alarm.armed())
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
        let timers = runtime.block_on(async { settle() }).unwrap();
        assert!(timers::find(id).is_some());
        drop(runtime);
        assert!(timers::find(id).is_none());
        // This thread remembers it, but nothing of the runtime.
        assert!(timers.sleep.lock().is_none());
    }
}
