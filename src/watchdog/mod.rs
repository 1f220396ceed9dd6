//! Notices that something makes no progress, and acts.

#[cfg(all(test, not(keep_loom)))]
mod tests;

mod acts;
mod beats;
mod builder;
mod dog;
mod expiry;
mod eye;
mod future;
mod hand;
mod handle;
mod heartbeat;
mod layer;
mod pace;
mod policy;
mod recorder;
mod runtime;
mod service;
mod stage;
mod state;
#[cfg(unix)]
mod systemd;
mod table;
mod task;

pub use self::builder::{Builder, Readiness, StartError, Then};
pub use self::dog::{Snapshot as WatchdogSnapshot, Watchdog};
pub use self::expiry::{
    CallInFlight, Diagnostics, Expiry, RuntimeSnapshot, Standing, TaskSnapshot,
};
pub use self::future::WatchedFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::heartbeat::{Beat, Heartbeat, HeartbeatFile};
pub use self::layer::WatchdogLayer;
pub use self::policy::{OnStuck, Policy, PolicyBuilder};
pub use self::recorder::Recorder;
pub use self::service::{Unkeyed, Watched};
pub use self::stage::stage;
#[cfg(unix)]
pub use self::systemd::Systemd;
pub use self::task::Kicker;
pub use crate::event::{Stall, Subject};
