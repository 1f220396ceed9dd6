//! Asking something how it is: one vocabulary for health checks and for whoever
//! chooses among endpoints.
//!
//! A [`Probe`] is an async closure, or what you make of the trait. [`ask`] runs it
//! once, [`follow`] again and again by a [`Schedule`], and a [`Hysteresis`] says
//! what to believe of its answers.
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::clock::Clock;
//! use tower_keep::probe::{self, Status};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let disk_full = || async { Err::<(), _>("no space left") };
//! let seen = probe::ask(&disk_full, Duration::from_secs(1), &Clock::default()).await;
//! assert_eq!(seen.finding.status(), Status::Fail);
//!
//! let stuck = || std::future::pending::<()>();
//! let seen = probe::ask(&stuck, Duration::from_secs(1), &Clock::default()).await;
//! assert_eq!(seen.end, probe::End::TimedOut);
//! # }
//! ```
#![cfg_attr(
    feature = "probe",
    doc = "\nReady-made: [`Tcp`] connects, [`Http`] asks for a status, [`Grpc`] asks `grpc.health.v1`."
)]

mod finding;
#[cfg(feature = "probe")]
mod grpc;
#[cfg(any(feature = "probe", feature = "health"))]
#[allow(dead_code)] // until the server side is there
pub(crate) mod health_v1;
#[cfg(feature = "probe")]
mod http;
mod hysteresis;
mod run;
mod schedule;
mod status;
#[cfg(feature = "probe")]
mod tcp;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use self::finding::{Finding, Observed};
#[cfg(feature = "probe")]
pub use self::grpc::Grpc;
#[cfg(feature = "probe")]
pub use self::http::Http;
pub use self::hysteresis::Hysteresis;
pub use self::run::{End, Observation, ask, follow};
pub use self::schedule::{Schedule, ScheduleBuilder};
pub use self::status::{Status, UnknownStatus};
#[cfg(feature = "probe")]
pub use self::tcp::Tcp;

/// The future of a [`Probe`].
pub type Probing<'a> = Pin<Box<dyn Future<Output = Finding> + Send + 'a>>;

/// Asks something how it is.
///
/// Async closures are probes: of `()`, a [`Status`], a [`Finding`], or a `Result` of
/// one of them whose error can be displayed.
///
/// It is run by one task at a time. It may hang, panic or be dropped at any point: all
/// of these are failures of what it asks, and of nothing else. It must not block the
/// thread: a runtime of one thread would stand still.
pub trait Probe: Send + Sync + 'static {
    /// Asks once.
    fn probe(&self) -> Probing<'_>;

    /// Whether it asks something outside of this process; by default not. The
    /// liveness of a process must not depend on such a thing.
    fn reach(&self) -> Reach {
        Reach::Inside
    }
}

/// What a [`Probe`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reach {
    /// This process, or the machine it runs on.
    #[default]
    Inside,
    /// Something that can fail while this process is well.
    Outside,
}

impl<F, Fut> Probe for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future + Send + 'static,
    Fut::Output: Into<Finding>,
{
    fn probe(&self) -> Probing<'_> {
        let asked = self();
        Box::pin(async { asked.await.into() })
    }
}

impl Probe for Arc<dyn Probe> {
    fn probe(&self) -> Probing<'_> {
        (**self).probe()
    }

    fn reach(&self) -> Reach {
        (**self).reach()
    }
}

impl fmt::Debug for dyn Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}
