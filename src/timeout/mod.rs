//! Bounds how long a caller waits.
//!
//! A dependency that hangs takes along everything that waits for it. A timeout
//! gives the wait an end, and the caller its resources back.
//!
//! Do not rely on it alone against overload: work that is given up on late has
//! been paid for. Put a bulkhead or a throttle outside it.
//!
//! Place: on a server inside the admission layers; on a client twice, outermost
//! with a `deadline` for the whole call and innermost with an `attempt` for each
//! try.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::timeout::{Policy, TimeoutLayer};
//! use tower_keep::LiftLayer;
//!
//! let service = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(Policy::attempt(Duration::from_secs(2))?))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! # let _ = service;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! With an overall deadline, a bound on readiness and a table of routes:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use tower_keep::timeout::{Policy, Routes, TimeoutLayer};
//! use tower_keep::Setup;
//!
//! let policy = Policy::builder()
//!     .attempt(Duration::from_millis(250))
//!     .deadline(Duration::from_secs(1))
//!     .readiness(Duration::from_millis(100))
//!     .build()?;
//! let routes = Routes::new()
//!     .path("/reports", Duration::from_secs(10))
//!     .path("/reports/live", Duration::from_millis(50));
//! let layer = TimeoutLayer::with(policy, Setup::named("backend")).limits(routes);
//! assert_eq!(layer.handle().snapshot().timed_out, 0);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # What is bounded
//! - `attempt`: from the moment the response future is first pending to the
//!   response's head. A call that is answered at once costs no timer and no
//!   clock reading. It is not put in force for what is inside.
//! - `deadline`: from the call to the response's head. It is put in force
//!   ([`Deadline`](crate::deadline::Deadline)) for the inner service, so that
//!   calls made from there end in time too.
//! - a deadline that is in force already: the smaller one wins. Expired work is
//!   refused before the inner service is called.
//! - `readiness`: from the first pending `poll_ready`. The layer then answers
//!   *ready* and refuses the next call, because an error of `poll_ready` means
//!   that a service is dead.
#![cfg_attr(
    feature = "http",
    doc = "- the body: by [`RequestBodyTimeoutLayer`] and [`ResponseBodyTimeoutLayer`]."
)]
//! - connecting, and the handshake: by [`Connector`], or [`Connect`].
//!
//! A response that arrives on the very tick of the timeout wins. When the time
//! is up, the inner future is dropped before this one resolves.
//!
//! # Admission
//! None: it refuses only work whose deadline has passed.
//!
//! # Cancel safety
//! Every future may be dropped at any poll.
//!
//! # Sharing
//! The counters and the policy belong to the layer.
//!
//! # Errors
//! [`Timeout`](crate::RejectionKind::Timeout) and
//! [`DeadlineExceeded`](crate::RejectionKind::DeadlineExceeded) (whose
//! `reached_inner` tells whether the work was begun),
//! [`ConnectTimeout`](crate::RejectionKind::ConnectTimeout),
//! [`NotReadyInTime`](crate::RejectionKind::NotReadyInTime),
//! [`NotReady`](crate::RejectionKind::NotReady),
//! [`NoRuntime`](crate::RejectionKind::NoRuntime) where no timer runs,
//! [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A function for limits that panics is counted, and the policy's limit
//! holds.
//!
//! # Cost
//! Ready at once and no deadline: no clock reading, no timer, no allocation, no
//! lock. With a deadline one clock reading. Pending: one more and a timer, which
//! takes two locks of its own thread, and does not allocate either; see
//! [timers](crate::docs::timers).
//!
//! # Events
//! `Rejected`, `Finished`, `Updated`, `CallbackPanicked`.

#[cfg(feature = "http")]
mod body;
#[cfg(feature = "http")]
mod body_policy;
mod connector;
mod future;
mod handle;
mod layer;
mod limits;
mod policy;
mod service;
mod state;

#[cfg(feature = "http")]
pub use self::body::{
    BodyPolicy, BodyPolicyBuilder, RequestBodyTimeout, RequestBodyTimeoutLayer,
    ResponseBodyTimeout, ResponseBodyTimeoutFuture, ResponseBodyTimeoutLayer, TimedBody,
};
pub use self::connector::{Connect, ConnectLayer, Connecting, Connector};
pub use self::future::TimeoutFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::layer::TimeoutLayer;
pub use self::limits::{By, LimitFor, PolicyOnly, by};
#[cfg(feature = "http")]
pub use self::limits::{FromExtension, PerRequest, Routes};
pub use self::policy::{Policy, PolicyBuilder};
pub use self::service::Timeout;
