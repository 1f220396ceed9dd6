//! Notices that something makes no progress, and acts.
//!
//! A process that hangs looks alive: it keeps its port, its lease and its place behind
//! the balancer. A [`Watchdog`] is a thread of its own, so that a runtime that is blocked
//! cannot silence it. It watches
//! - **tasks** that prove their progress by [kicking](Kicker::kick), each with an interval
//!   of its own;
//! - **requests**, by a [`WatchdogLayer`]: each that is in flight for too long, and a
//!   service of which nothing comes back at all;
//! - **runtimes** of Tokio: workers that do not come back from a poll, and new tasks that
//!   get no turn.
//!
//! Do not use it to bound a single call: that is `timeout`, which costs the
//! caller nothing to wait for. And do not kick by a timer: it proves that timers work.
//!
//! Place: the layer around the handler, inside what waits in queues.
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::Setup;
//! use tower_keep::watchdog::Watchdog;
//!
//! let watchdog = Watchdog::builder(Setup::named("copier"))
//!     .on_expiry(|expiry| eprintln!("{expiry}"))
//!     .start()?;
//! let kicker = watchdog.task("copy", Duration::from_secs(30))?;
//! for _item in 0..3 {
//!     // ... copy it, and then:
//!     kicker.kick();
//! }
//! kicker.pause(); // nothing to do until the next item
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With a runtime, a layer, signs of life, and an end:
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::watchdog::{
//!     HeartbeatFile, Policy, Readiness, Recorder, Then, Watchdog, WatchdogLayer, stage,
//! };
//! use tower_keep::{LiftLayer, Registry, Setup};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # let path = std::env::temp_dir().join(format!("keep-doc-{}", std::process::id()));
//! let recorder = Recorder::new();
//! let registry = Registry::new().with_listener(recorder.clone());
//! let watchdog = Watchdog::builder(Setup::named("api").in_registry(&registry))
//!     .runtime("main", runtime.handle().clone(), Duration::from_secs(5))
//!     .diagnose(&registry)
//!     .recorder(&recorder)
//!     .to_stderr()
//!     .readiness(|now| drop(now == Readiness::NotReady))
//!     .heartbeat(HeartbeatFile::new(&path), Duration::from_secs(10))
//!     .then(Then::Exit(70))
//!     .grace(Duration::from_secs(5));
//! // Where there is systemd: `.systemd(&systemd)`, of `Systemd::from_env()?`.
//! let watchdog = watchdog.start()?;
//!
//! let policy = Policy::builder()
//!     .stuck_after(Duration::from_secs(30))
//!     .hung_after(Duration::from_secs(60))
//!     .build()?;
//! let layer = WatchdogLayer::with(policy, Setup::named("orders").in_registry(&registry));
//! watchdog.watch(&layer.handle());
//! let service = ServiceBuilder::new()
//!     .layer(layer)
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move {
//!         stage("database");
//!         Ok::<_, std::io::Error>(n + 1)
//!     });
//! # let _ = service;
//! # drop(watchdog);
//! # let _ = std::fs::remove_file(path);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Accuracy
//! It looks four times in each interval, and an alarm comes after one to one and a quarter
//! intervals without progress, never earlier; a request is told to be stuck up to an eighth
//! of its limit late. Time in which the watchdog's thread itself did not run (a machine
//! that slept, a process that was stopped) is not counted.
//!
//! # What can be said
//! [`Stall`] is what the runtime's own figures show, and no more; only those are read that
//! Tokio keeps stable.
//!
//! | seen | told |
//! |---|---|
//! | workers that are not parked, and for half of the time have shown nothing new at all | `blocked` |
//! | a new task without a turn for half of the time, and workers that do come back | `starved` |
//! | new tasks get their turn, a worker has rested, and there is no progress | `deadlock` |
//! | anything else, or a task of no runtime that is watched | `unknown` |
//!
//! Workers that come back from polls show it only once in some tens of them: with polls of
//! 100 ms and more, an interval of some seconds is too short to tell them from one poll
//! that hangs. There is no backtrace of the thread that hangs: nothing gives it without
//! `unsafe` code or a Tokio built for it.
//!
//! # Expiry
//! In this order, each if it was asked for: listeners hear of it; [diagnostics](Diagnostics)
//! are gathered (tasks, requests in flight, runtimes, all layers of a registry, the last
//! events), and written to standard error; [hooks](Builder::on_expiry) are called;
//! readiness is turned off; leases are [released](Builder::release); after a time of grace
//! the process exits or aborts. If all moves again before, it does not. What to look at
//! then: [the runbook](crate::docs::stalls).
//!
//! Signs of life, to [systemd](Systemd) or as a [`Heartbeat`], go out only while nothing has
//! expired. In a [registry](crate::Registry), a watchdog under which something stands still
//! fails: a health check of its [layers](crate::health::checks::Layers) counts that. Somebody outside should act on their absence: only that notices a process of
//! which no thread runs any more.
//!
//! # Admission
//! The layer refuses nothing, unless it is closed by its handle. Over its capacity requests
//! pass unwatched, and are counted.
//!
//! # Cancel safety
//! Every future may be dropped at any poll: the request is out of the table before the drop
//! returns. A [`Kicker`] that is dropped ends the watch of its task.
//!
//! # Sharing
//! The table belongs to the layer: all services it makes, and their clones, share it. A
//! watchdog may watch many layers, and a layer be watched by several.
//!
//! # Errors
//! [`Stuck`](crate::RejectionKind::Stuck), only under [`OnStuck::Reject`];
//! [`NotReady`](crate::RejectionKind::NotReady), [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A panic of the inner service passes through, and its request is out of the table.
//! Hooks, heartbeats and listeners that panic are counted.
//!
//! # Cost
//! A kick is one relaxed store. A request takes two locked instructions, on lines that other
//! threads seldom write, no clock reading, no allocation and no lock.
//!
//! # Events
//! Of the watchdog: `Expired`, `Recovered`, `Kicked`, `CallbackPanicked`. Of the layer:
//! `Stuck`, `Rejected`, `Finished`, `Updated`, `CallbackPanicked` (the key).

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
#[cfg(all(test, keep_loom))]
mod loom;
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
pub use self::dog::{Watchdog, WatchdogSnapshot};
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
pub use crate::event::{OnWatch, Stall};
