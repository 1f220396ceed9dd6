//! The health of a process, from outside.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::AbortHandle;

use super::policy::{Criticality, Group};
use super::service::Endpoints;
use super::state::State;
use crate::probe::{Observed, Status};

/// The health of a process. Clones are the same; when the last one is dropped, and
/// the last of its services, the checks end.
#[derive(Debug, Clone)]
pub struct Health {
    pub(super) state: Arc<State>,
    _task: Arc<Task>,
}

/// The task that runs the checks.
#[derive(Debug)]
struct Task {
    state: Arc<State>,
    abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.state.close();
        self.abort.abort();
    }
}

/// Where the health of a process stands.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Whether the process is to be restarted.
    pub liveness: Status,
    /// Whether it is to get requests.
    pub readiness: Status,
    /// Whether it has started.
    pub startup: Status,
    /// The worst of all checks.
    pub overall: Status,
    /// Each check.
    pub checks: Vec<CheckSnapshot>,
}

/// Where one check stands.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CheckSnapshot {
    /// Its name.
    pub name: String,
    /// What is believed of it: a failure before its first answer, and if it is stale.
    pub status: Status,
    /// Whether it has not been heard of for too long.
    pub is_stale: bool,
    /// What its failure means.
    pub criticality: Criticality,
    /// How often it has run.
    pub runs: u64,
    /// How many of its runs have failed.
    pub failures: u64,
    /// When it has last run.
    pub time: Option<SystemTime>,
    /// How long that took.
    pub took: Option<Duration>,
    /// What that measured.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub observed: Option<Observed>,
    /// What that said.
    pub output: Cow<'static, str>,
}

impl Health {
    pub(super) fn new(state: Arc<State>, abort: AbortHandle) -> Self {
        let _task = Arc::new(Task {
            state: Arc::clone(&state),
            abort,
        });
        Self { state, _task }
    }

    /// Whether this process is fit to serve: for handlers that serve with less (from
    /// a cache, read-only) while it warns or fails. One atomic load and a reading of
    /// the clock.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_of(Group::Readiness)
    }

    /// As [`status`](Self::status), of any group.
    #[must_use]
    pub fn status_of(&self, group: Group) -> Status {
        self.state.status(Some(group))
    }

    /// One check, by its name.
    #[must_use]
    pub fn check(&self, name: &str) -> Option<CheckSnapshot> {
        let entries = &self.state.entries;
        let entry = entries.iter().find(|entry| &*entry.name == name)?;
        Some(self.state.look(entry))
    }

    /// Where it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// Waits until the status of a group is something else than `from`, and returns
    /// it.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn changed(&self, group: Group, from: Status) -> Status {
        let mut changes = self.state.changed.subscribe();
        loop {
            let status = self.status_of(group);
            if status != from {
                return status;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Readiness fails from now on, whatever the checks say: for maintenance, or
    /// because something has been found that must not get requests. Liveness is not
    /// touched. Those who may see details are told why.
    pub fn withdraw(&self, why: impl Into<Arc<str>>) {
        self.state.withdraw(Some(why.into()));
    }

    /// Takes [`withdraw`](Self::withdraw) back: the checks decide again.
    pub fn restore(&self) {
        self.state.withdraw(None);
    }

    /// The first part of a graceful shutdown: readiness fails at once, and the future
    /// waits for `delay`, in which whoever sends requests notices and stops. Only then
    /// stop to accept, and finish what is in flight.
    ///
    /// Kubernetes and load balancers go on sending to a process that is ending until
    /// they have noticed; a delay of a little more than the readiness probe's period
    /// times its failure threshold covers that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_keep::health::Health;
    ///
    /// # fn serve(health: Health, listener: tokio::net::TcpListener, app: axum::Router) {
    /// let stop = async move {
    ///     let _ = tokio::signal::ctrl_c().await;
    ///     health.drain(Duration::from_secs(5)).await;
    /// };
    /// let server = axum::serve(listener, app).with_graceful_shutdown(stop);
    /// # drop(server);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Nothing happens before its first poll. Dropped later, readiness stays failed.
    /// Where no timer runs, it does not wait.
    pub async fn drain(&self, delay: Duration) {
        self.withdraw("draining");
        let clock = self.state.core.clock();
        let due = clock.now().saturating_add(delay);
        // Without a timer there is no runtime to wait in.
        let _ = clock.sleep_until(due).await;
    }

    /// `/livez`, `/readyz`, `/startupz` and `/healthz` as a service.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        Endpoints::new(self.clone())
    }

    /// How many callbacks of yours have panicked: checks, listeners, predicates.
    #[must_use]
    pub fn callback_panics(&self) -> u64 {
        self.state.core.callback_panics()
    }
}
