//! Bounds how many calls are in flight at once.
//!
//! When a service answers slowly, requests pile up in it until memory or
//! sockets run out, and everything that shares the process with it suffers. A
//! bulkhead keeps the damage on one side (Nygard, *Release It!*).
//!
//! Do not use it against too many requests *a second* from fast callers: that
//! is `throttle`.
//!
//! Place: on a server outside the timeout, around what is scarce; on a client
//! inside the breaker, per endpoint. Queues go outermost.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_keep::bulkhead::{BulkheadLayer, Policy};
//! use tower_keep::LiftLayer;
//!
//! let service = ServiceBuilder::new()
//!     .layer(BulkheadLayer::new(Policy::max_concurrent(100)?))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! # let _ = service;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! With a queue, until the end of the response's body, and with a name:
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::bulkhead::{BulkheadLayer, Policy};
//! use tower_keep::Setup;
//!
//! let policy = Policy::builder()
//!     .max_concurrent(100)
//!     .queue_length(50)
//!     .max_wait(Duration::from_millis(200))
//!     .build()?;
//! let layer = BulkheadLayer::with(policy, Setup::named("reports"))
//!     .queued()
//!     .until_body_end();
//! let handle = layer.handle();
//! handle.update(Policy::max_concurrent(10)?); // while it runs
//! assert_eq!(handle.snapshot().limit, 10);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # Admission
//! A type parameter chooses what happens when the limit is reached. [`Shed`]
//! (the default) refuses. [`Queue`] waits in the future, first come first
//! served, bounded in length and in time and by the caller's deadline; it
//! clones the inner service only when it must wait, and calls the one that was
//! ready; priorities, fair tenants and what to do under overload: see
//! [`queue`](crate::queue). [`Backpressure`] takes its permit in `poll_ready`, as tower's
//! `ConcurrencyLimit` does: a clone that became ready and is then left idle
//! keeps its permit from everybody else, and nobody is ever refused. Use it
//! only where every clone that becomes ready is called or dropped at once.
//!
//! The limit is exact. A call for which a permit becomes free at the very
//! moment it is refused may still be refused.
//!
//! # Cancel safety
//! Every future may be dropped at any poll: its permit is back, or its place in
//! the queue is gone, before the drop returns.
//!
//! # Sharing
//! The limit belongs to the layer. All services it makes, and their clones,
//! share it: one layer on a router is one limit, whatever the number of routes
//! and connections.
//!
//! # Errors
//! [`Full`](crate::RejectionKind::Full), [`QueueTimeout`](crate::RejectionKind::QueueTimeout),
//! [`Shed`](crate::RejectionKind::Shed), [`DeadlineExceeded`](crate::RejectionKind::DeadlineExceeded) while it waited,
//! [`NotReady`](crate::RejectionKind::NotReady), [`NoRuntime`](crate::RejectionKind::NoRuntime)
//! if it must wait where no timer runs, [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A panic of the inner service passes through and gives its permit back.
//!
//! # Cost
//! Two compare-and-swaps on lines that no other core writes, no clock reading,
//! no allocation, no lock; a call that waits takes a short lock.
//!
//! # Events
//! `Rejected`, `Finished` with the outcome, `Waited`, `Updated`,
//! `CallbackPanicked` (the classifier).

mod future;
mod handle;
mod layer;
mod policy;
mod service;
mod state;

pub use self::future::{BulkheadFuture, QueueFuture};
pub use self::handle::{Acquire, Handle, Permit, Snapshot};
pub use self::layer::BulkheadLayer;
pub use self::policy::{Policy, PolicyBuilder};
pub use self::service::{Backpressure, Bulkhead};
pub use crate::queue::{Queue, Shed};
