//! A watchdog from outside.

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use parking_lot::Mutex;

use super::builder::Builder;
use super::expiry::{RuntimeSnapshot, TaskSnapshot};
use super::eye::Eye;
use super::hand::named;
use super::handle::Handle;
use super::state::State;
use super::task::{Kicker, Task};
use crate::error::LayerId;
use crate::event::Stall;
use crate::kernel::core::{Core, enter};
use crate::kernel::sync::{AtomicU32, Ordering};
use crate::policy::{PolicyError, positive};
use crate::probe::Status;
use crate::registry::{Inspect, Report, Setup};

/// A thread of its own that sees what makes no progress; see the [module](super).
///
/// Dropped, it stops: its thread is joined, and so are those of its hooks and heartbeats,
/// unless one of them hangs.
pub struct Watchdog {
    dog: Arc<Dog>,
    thread: Option<JoinHandle<()>>,
    wake: Thread,
}

/// What the watchdog and its thread share.
#[derive(Debug)]
pub(super) struct Dog {
    pub(super) core: Core,
    pub(super) inbox: Mutex<Inbox>,
    pub(super) status: Mutex<WatchdogSnapshot>,
    stops: AtomicU32,
}

/// What is to be watched from now on.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) tasks: Vec<Arc<Task>>,
    pub(super) layers: Vec<Weak<State>>,
}

/// What a watchdog has counted, and what it has seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WatchdogSnapshot {
    /// How often it has looked.
    pub looks: u64,
    /// What has made no progress within its interval, each time.
    pub expiries: u64,
    /// What had expired and moves again.
    pub recoveries: u64,
    /// What stands still now.
    pub standing_still: u64,
    /// Why what expired last did, as far as could be told.
    pub last_cause: Option<Stall>,
    /// Signs of life that went out, to systemd too.
    pub beats: u64,
    /// Signs of life that were due, and withheld because something stood still.
    pub withheld: u64,
    /// Signs of life, and calls of hooks, that were left out because the last ones hang,
    /// and signs of life that failed.
    pub missed: u64,
    /// Tasks that kick.
    pub tasks: Vec<TaskSnapshot>,
    /// Runtimes.
    pub runtimes: Vec<RuntimeSnapshot>,
}

impl Dog {
    pub(super) fn stops(&self) -> bool {
        self.stops.load(Ordering::Relaxed) != 0
    }
}

impl Watchdog {
    /// A builder with the defaults: it watches nothing yet, and tells its listeners only.
    ///
    /// Unless the setup says otherwise, time is the system's monotonic clock: a runtime
    /// that is blocked, and paused time in tests, do not hold it up.
    pub fn builder(setup: Setup) -> Builder {
        Builder::new(setup)
    }

    pub(super) fn start(builder: Builder) -> io::Result<Self> {
        let (core, registry) = Core::new("watchdog", builder.setup.clone());
        let dog = Arc::new(Dog {
            core,
            inbox: Mutex::default(),
            status: Mutex::default(),
            stops: AtomicU32::new(0),
        });
        let eye = Eye::open(Arc::clone(&dog), builder)?;
        let thread = named(dog.core.name()).spawn(move || eye.watch())?;
        enter(registry, dog.core.id(), &dog);
        Ok(Self {
            wake: thread.thread().clone(),
            thread: Some(thread),
            dog,
        })
    }

    /// Watches one more task, which must make progress within each `interval`; it begins
    /// as if it had kicked. Call it where the task runs: the runtime that is current is
    /// taken for the task's, and tells why it stands still. Several times what a step
    /// takes at its slowest is a good interval; three times its 99th percentile is usual.
    ///
    /// # Errors
    /// If the interval is zero, or more than ten years.
    pub fn task(&self, name: impl Into<String>, interval: Duration) -> Result<Kicker, PolicyError> {
        positive("interval", Some(interval))?;
        let kicker = Kicker::new(name.into(), interval);
        self.dog.inbox.lock().tasks.push(Arc::clone(&kicker.task));
        self.wake.unpark();
        Ok(kicker)
    }

    /// Watches the requests that are in flight at this layer, until its services and
    /// handles are gone.
    pub fn watch(&self, layer: &Handle) {
        let layer = Arc::downgrade(layer.state.arc());
        self.dog.inbox.lock().layers.push(layer);
        self.wake.unpark();
    }

    /// What it has counted, and what it has seen last.
    #[must_use]
    pub fn snapshot(&self) -> WatchdogSnapshot {
        self.dog.status.lock().clone()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.dog.core.name()
    }

    /// Unique among the layers and watchdogs of a process.
    #[must_use]
    pub fn id(&self) -> LayerId {
        self.dog.core.id()
    }

    /// How many hooks, heartbeats and listeners have panicked in it.
    #[must_use]
    pub fn callback_panics(&self) -> u64 {
        self.dog.core.callback_panics()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.dog.stops.store(1, Ordering::Relaxed);
        self.wake.unpark();
        if let Some(thread) = self.thread.take() {
            // A hook may own the watchdog, and be dropped by the thread itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Inspect for Dog {
    fn report(&self) -> Report {
        let status = self.status.lock().clone();
        let oldest = status.tasks.iter().map(|task| task.age).max();
        let report = self.core.report([
            ("expiries", status.expiries.into()),
            ("recoveries", status.recoveries.into()),
            ("standing_still", status.standing_still.into()),
            ("last_cause", status.last_cause.map(Stall::label).into()),
            ("tasks", (status.tasks.len() as u64).into()),
            ("oldest_kick", oldest.into()),
            ("beats", status.beats.into()),
            ("withheld", status.withheld.into()),
            ("missed", status.missed.into()),
        ]);
        report.at_best(status.standing_still > 0, Status::Fail, "standing_still")
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("name", &self.name())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
