//! Tells whether a process is alive, ready and well: to orchestrators, to load
//! balancers, and to its own handlers.
//!
//! Checks run in the background, each at its own pace, and what asks is answered
//! from what is known already. So a flood of probes runs no check more often, and a
//! check that hangs keeps no probe waiting.
//!
//! Do not use it to protect calls to a dependency that fails: that is the circuit
//! breaker's, which sees every call.
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use tower_keep::health::{Check, Health};
//!
//! # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let health = Health::builder()
//!     .check(Check::new("database", ping).dependency())
//!     .start()?;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .fallback_service(health.endpoints());
//! # let _ = app; Ok(()) }
//! ```
//!
//! With groups, criticality, what layers know of their dependencies, and details for
//! callers on loopback:
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::health::{Check, Criticality, Group, Health, checks};
//! use tower_keep::probe::Schedule;
//! use tower_keep::{Registry, Setup};
//!
//! # async fn warm_up() -> Result<(), String> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::new();
//! let often = Schedule::builder().interval(Duration::from_secs(1)).build()?;
//! let two_gib = checks::Bounds::new().fail(2 << 30);
//! let health = Health::builder()
//!     .setup(Setup::named("shop").in_registry(&registry))
//!     .check(Check::new("warm-up", warm_up).groups([Group::Startup]))
//!     .check(
//!         Check::new("memory", checks::Memory::new(two_gib)?)
//!             .groups([Group::Liveness]),
//!     )
//!     .check(
//!         Check::new("layers", checks::Layers::of(&registry))
//!             .criticality(Criticality::Degrading)
//!             .schedule(often),
//!     )
//!     .start()?;
//! let endpoints = health
//!     .endpoints()
//!     .details_for(|head| head.headers.contains_key("x-operator"));
//! # let _ = endpoints; Ok(()) }
//! ```
//!
//! # Groups
//! | group | asks | holds |
//! |---|---|---|
//! | liveness | shall it be restarted? | before a check has answered, and never for a dependency |
//! | readiness | shall it get requests? | once started and all have answered, unless withdrawn |
//! | startup | has it started? | once all have answered well, for ever |
//!
//! A group is as its worst check. A critical check that fails fails its groups, a
//! degrading one makes them warn: with 200, and readable by handlers through
//! [`Health::status`], so that they serve with less. A check that has not been heard
//! of for too long is a failure, whatever it said last.
//!
//! Checks of a dependency cannot be in liveness ([`Check::dependency`]): restarting
//! all instances of a service because its database is down makes one failure two.
//!
//! # Admission
//! None: it refuses no request.
//!
//! # Cancel safety
//! Every future may be dropped at any poll. The tasks of the checks end with the last
//! [`Health`] and the last of its services.
//!
//! # Sharing
//! Clones of [`Health`] and the services it makes are one. If the runtime that runs
//! the checks ends while somebody still asks, everything fails from then on.
//!
//! # Errors
//! [`StartError`] when it is started; none later.
//!
//! # Panics
//! Never. A check that panics has failed, a predicate that panics lets nobody see.
//!
//! # Cost
//! [`Health::status`]: one atomic load and a reading of the clock, no lock, no
//! allocation. An answer without details allocates for its headers alone. Details are
//! written anew for each request, in time that grows with the number of checks.
//!
//! # Events
//! `Checked`, once for each change of a check or a group; `CallbackPanicked`.

mod about;
mod answer;
mod builder;
pub mod checks;
pub mod grpc;
mod handle;
mod policy;
mod service;
mod state;
mod verdict;

pub use self::about::About;
pub use self::builder::{Builder, StartError};
pub use self::handle::{CheckSnapshot, Health, Snapshot};
pub use self::policy::{Check, Component, Criticality, Group};
pub use self::service::Endpoints;
