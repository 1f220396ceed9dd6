//! How a watchdog is set up.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::runtime;

use super::dog::Watchdog;
use super::expiry::Expiry;
use super::heartbeat::Heartbeat;
use super::recorder::Recorder;
#[cfg(unix)]
use super::systemd::Systemd;
use crate::policy::{PolicyError, positive};
use crate::registry::{Registry, Setup};

/// What a watchdog does to its process in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Then {
    /// Nothing: somebody else decides.
    #[default]
    Nothing,
    /// It exits with this code, as by [`std::process::exit`]: functions registered with
    /// `atexit` run, destructors do not.
    Exit(i32),
    /// It aborts, as by [`std::process::abort`]: at once, and with a core dump where
    /// these are on.
    Abort,
}

/// Whether the service should get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// All that is watched moves again.
    Ready,
    /// Something stands still.
    NotReady,
}

/// Why a watchdog did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A time is out of range.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The system gave it no thread.
    #[error("no thread for the watchdog: {0}")]
    Thread(#[from] io::Error),
}

type ExpiryHook = Box<dyn FnMut(&Expiry) + Send>;
type ReadinessHook = Box<dyn FnMut(Readiness) + Send>;

/// What is done at an expiry, in this order.
#[derive(Default)]
pub(super) struct Hooks {
    pub(super) registry: Option<Registry>,
    pub(super) recorder: Option<Recorder>,
    pub(super) stderr: bool,
    pub(super) expiry: Vec<ExpiryHook>,
    pub(super) readiness: Vec<ReadinessHook>,
    pub(super) release: Vec<ExpiryHook>,
}

/// A runtime to be watched.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) handle: runtime::Handle,
    pub(super) interval: Duration,
}

/// Somewhere to beat.
pub(super) struct Outlet {
    pub(super) heart: Box<dyn Heartbeat>,
    pub(super) every: Duration,
}

/// Makes a [`Watchdog`].
#[must_use = "a watchdog begins with `start`"]
pub struct Builder {
    pub(super) setup: Setup,
    pub(super) targets: Vec<Target>,
    pub(super) hooks: Hooks,
    pub(super) then: Then,
    pub(super) grace: Duration,
    pub(super) patience: Duration,
    #[cfg(unix)]
    pub(super) systemd: Option<Systemd>,
    pub(super) outlets: Vec<Outlet>,
}

/// How long hooks may take unless it is said otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

impl Builder {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            setup,
            targets: Vec::new(),
            hooks: Hooks::default(),
            then: Then::Nothing,
            grace: Duration::ZERO,
            patience: PATIENCE,
            #[cfg(unix)]
            systemd: None,
            outlets: Vec::new(),
        }
    }

    /// Watches this runtime too: no worker may stay inside one poll, and no new task wait
    /// for its turn, for longer than `interval` (1 ns to 10 years).
    ///
    /// A quarter of the interval apart, an empty task is spawned on it. A current-thread
    /// runtime must be driven all the time: outside of `block_on` it does stand still.
    pub fn runtime(
        mut self,
        name: impl Into<String>,
        handle: runtime::Handle,
        interval: Duration,
    ) -> Self {
        self.targets.push(Target {
            name: name.into(),
            handle,
            interval,
        });
        self
    }

    /// At an expiry, adds to the diagnostics what every layer of the registry reports.
    pub fn diagnose(mut self, registry: &Registry) -> Self {
        self.hooks.registry = Some(registry.clone());
        self
    }

    /// At an expiry, adds to the diagnostics what the recorder heard last.
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.hooks.recorder = Some(recorder.clone());
        self
    }

    /// At an expiry, writes the diagnostics to standard error.
    pub fn to_stderr(mut self) -> Self {
        self.hooks.stderr = true;
        self
    }

    /// At an expiry, first of all: calls this. Hooks run one after the other on a thread
    /// of their own; a panic is contained, and one that hangs holds up those after it,
    /// not the watchdog.
    pub fn on_expiry(mut self, hook: impl FnMut(&Expiry) + Send + 'static) -> Self {
        self.hooks.expiry.push(Box::new(hook));
        self
    }

    /// At an expiry, next: the service is not ready; and when all moves again, it is.
    pub fn readiness(mut self, hook: impl FnMut(Readiness) + Send + 'static) -> Self {
        self.hooks.readiness.push(Box::new(hook));
        self
    }

    /// At an expiry, next: gives back what others wait for, such as a leader's lease.
    pub fn release(mut self, hook: impl FnMut(&Expiry) + Send + 'static) -> Self {
        self.hooks.release.push(Box::new(hook));
        self
    }

    /// At an expiry, last, ends the process, by default not. If all moves again before, it
    /// does not.
    pub fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    /// How long after its hooks the process is ended: up to 10 years, by default at once.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long hooks may take before the process is ended without them: 1 ns to 10
    /// years, by default 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Tells systemd: `WATCHDOG=1` at half of the time that it allows, and only while
    /// nothing has expired; `STATUS=` when something has. The other messages are the
    /// service's own affair: [`Systemd::ready`], [`Systemd::stopping`].
    #[cfg(unix)]
    pub fn systemd(mut self, systemd: &Systemd) -> Self {
        self.systemd = Some(systemd.clone());
        self
    }

    /// A sign of life this often (1 ns to 10 years, not more often than 1,000 a second),
    /// and only while nothing has expired.
    pub fn heartbeat(mut self, heartbeat: impl Heartbeat, every: Duration) -> Self {
        self.outlets.push(Outlet {
            heart: Box::new(heartbeat),
            every,
        });
        self
    }

    fn check(&self) -> Result<(), PolicyError> {
        for target in &self.targets {
            positive("interval", Some(target.interval))?;
        }
        for outlet in &self.outlets {
            positive("every", Some(outlet.every))?;
        }
        positive("patience", Some(self.patience))?;
        if !self.grace.is_zero() {
            positive("grace", Some(self.grace))?;
        }
        Ok(())
    }

    /// Starts the watchdog's thread.
    ///
    /// # Errors
    /// If a time is out of range, or the system gives it no thread.
    pub fn start(self) -> Result<Watchdog, StartError> {
        self.check()?;
        Ok(Watchdog::start(self)?)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("setup", &self.setup)
            .field("then", &self.then)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
