//! Puts checks together and starts them.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::about::About;
use super::handle::Health;
use super::policy::Check;
use super::state::{Entry, State};
use crate::clock::NoRuntime;
use crate::kernel::core::{Core, enter};
use crate::policy::PolicyError;
use crate::probe::follow;
use crate::registry::Setup;

/// Puts checks together.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Builder {
    setup: Setup,
    about: About,
    checks: Vec<Check>,
}

/// Why the checks were not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A check cannot be what it says.
    #[error(transparent)]
    Check(#[from] PolicyError),
    /// There is no tokio runtime here to run them.
    #[error(transparent)]
    NoRuntime(#[from] NoRuntime),
}

impl Health {
    /// A builder with no check.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// The name, clock, listeners and registry; the name is `"health"` by default.
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// What the service says about itself.
    pub fn about(mut self, about: About) -> Self {
        self.about = about;
        self
    }

    /// One more check.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Starts the checks in the tokio runtime that this is called in: one task that
    /// owns one task for each of them. They end with the last [`Health`].
    ///
    /// # Errors
    /// If a check cannot be what it says: a bad or doubled name, a dependency in
    /// liveness, a bound of staleness below what its schedule needs. If there is no
    /// tokio runtime.
    pub fn start(self) -> Result<Health, StartError> {
        let mut names = HashSet::new();
        if let Some(twice) = self.checks.iter().find(|check| !names.insert(&check.name)) {
            let given = format_args!("{:?} twice", twice.name);
            let allowed = "allowed is one check of a name";
            return Err(PolicyError::new("name", given, allowed).into());
        }
        let (core, registry) = Core::new("health", self.setup);
        let now = core.clock().now();
        let entries = self.checks.iter().map(|check| Entry::new(check, now));
        let entries = entries.collect::<Result<_, _>>()?;
        let runtime = Handle::try_current().map_err(|_| NoRuntime)?;
        let state = Arc::new(State::new(core, self.about, entries));
        enter(registry, state.core.id(), &state);
        let task = runtime.spawn(supervise(Arc::clone(&state), self.checks));
        Ok(Health::new(state, task.abort_handle()))
    }
}

/// Tells that nobody runs the checks any more.
struct Ended(Arc<State>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn supervise(state: Arc<State>, checks: Vec<Check>) {
    let _ended = Ended(Arc::clone(&state));
    // After it, so dropped before it: all of them end with this task.
    let mut tasks = JoinSet::new();
    let seed = rand::random::<u64>();
    for (at, check) in checks.into_iter().enumerate() {
        tasks.spawn(run(Arc::clone(&state), at, check, seed));
    }
    loop {
        let due = state.review();
        if state.core.clock().sleep_until(due).await.is_err() {
            // Whoever asks finds what is stale, too; only nobody is told in time.
            std::future::pending::<()>().await;
        }
    }
}

async fn run(state: Arc<State>, at: usize, check: Check, seed: u64) {
    let seed = seed.wrapping_add(at as u64);
    let clock = state.core.clock().clone();
    follow(&*check.probe, check.schedule, &clock, seed, |seen| {
        if state.record(at, seen) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })
    .await;
}
