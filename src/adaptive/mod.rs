//! Bounds how many calls are in flight at once, by a limit that finds itself.
//!
//! Every service has a number of calls that it serves best. With fewer it idles;
//! with more they only wait inside it, and each takes longer. That number changes
//! with every release, neighbour and query plan, and a fixed limit is right for a
//! week. This layer measures how long calls take, and follows.
//!
//! Do not use it where response times say nothing about load: around calls that
//! wait for something else (long polling, streams), or with fewer than some ten
//! calls a second. A [`bulkhead`](crate::bulkhead) has a limit that you choose.
//!
//! Place: on a server outside the timeout, in the place of a bulkhead; on a client
//! inside the breaker, per endpoint. It must see the time in service alone: inside
//! retries, and outside nothing that waits.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_keep::adaptive::{AdaptiveLayer, Policy};
//! use tower_keep::LiftLayer;
//!
//! let service = ServiceBuilder::new()
//!     .layer(AdaptiveLayer::new(Policy::default()))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! # let _ = service;
//! ```
//!
//! For HTTP, with bounds, a queue that sheds what is less important first, and a
//! name:
//!
//! ```
//! use http::Request;
//! use tower_keep::adaptive::{AdaptiveLayer, Policy, Rule};
//! use tower_keep::classify::Http;
//! use tower_keep::queue::{Discipline, Priority, rank};
//! use tower_keep::Setup;
//!
//! let policy = Policy::builder()
//!     .rule(Rule::Gradient)
//!     .min_limit(8)
//!     .max_limit(400)
//!     .discipline(Discipline::overload())
//!     .build()?;
//! let layer = AdaptiveLayer::with(policy, Setup::named("api"))
//!     .classify(Http) // knows a 503 as an overload
//!     .queued()
//!     .ranked(rank(|request: &Request<()>| match request.uri().path() {
//!         "/pay" => Priority::Critical,
//!         _ => Priority::Normal,
//!     }));
//! let handle = layer.handle();
//! assert!((8..=400).contains(&handle.snapshot().limit));
//! # let _ = layer;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # The limit
//! Time is cut into [windows](PolicyBuilder::window). At the end of each an
//! [`Algorithm`] is told what was measured, and says what the limit is from now
//! on; the policy's floor and ceiling hold whatever it says. It starts with four
//! calls per core. What all of the ready-made ones have in common:
//!
//! - A window in which the limit was not felt changes nothing: an idle service
//!   keeps its limit.
//! - A call that fails counts only if it took longer than is usual, so fast
//!   failures never raise the limit. More than a hundredth of overloads and
//!   timeouts lowers it.
//! - The baseline, what a call takes without a queue in the service, is measured by
//!   taking a quarter off the limit about every 50 windows, and more only while
//!   that makes calls faster. It cannot drift up under overload that lasts, and
//!   production traffic is never pinned to a handful of calls.
//!
//! In simulations of services whose capacity is known, all of them serve at least
//! 90 % of what the best fixed limit does, 100 windows after a change (`cargo bench
//! --bench traces` draws this):
//!
#![doc = include_str!("traces.svg")]
//!
//! # Admission
//! What is over the limit is refused, or waits if the layer is
//! [`queued`](AdaptiveLayer::queued): see [`queue`](crate::queue). The queue is as
//! long as what is served within its longest wait. The limit in force is exact.
//! When it goes down, calls in flight finish undisturbed.
//!
//! # Cancel safety
//! Every future may be dropped at any poll: its permit is back, or its place in
//! the queue is gone, before the drop returns. A call that is dropped counts only
//! if it has lasted longer than is usual.
//!
//! # Sharing
//! The limit belongs to the layer. All services it makes, and their clones, share
//! it and are measured together.
//!
//! # Errors
//! [`LimitReached`](crate::RejectionKind::LimitReached) (with the wait, as far as what
//! calls usually take tells it: that of those in the queue and of one more, by the limit),
//! [`QueueTimeout`](crate::RejectionKind::QueueTimeout),
//! [`Shed`](crate::RejectionKind::Shed),
//! [`DeadlineExceeded`](crate::RejectionKind::DeadlineExceeded) while it waited,
//! [`NotReady`](crate::RejectionKind::NotReady), [`NoRuntime`](crate::RejectionKind::NoRuntime)
//! if it must wait where no timer runs, [`Closed`](crate::RejectionKind::Closed).
//! They become 503, never 429: it is the service that is overloaded.
//!
//! # Panics
//! Never. A panic of the inner service passes through and gives its permit back;
//! one of an algorithm is counted, and the limit stays.
//!
//! # Cost
//! That of a [`bulkhead`](crate::bulkhead), and two clock readings for calls that
//! are timed: all of them while they are few, one in eight when a window has
//! hundreds. No allocation, no lock; whoever ends a window takes one.
//!
//! # Events
//! `Rejected`, `Finished` with the outcome, `Waited`, `Limit` when it has changed,
//! `Updated`, `CallbackPanicked` (the classifier, the algorithm, the rank, the key).
//! [`Load`] is what to scale by.

mod algorithm;
mod future;
mod handle;
mod layer;
#[cfg(all(test, keep_loom))]
mod loom;
mod meter;
mod policy;
mod report;
mod service;
mod state;

pub use self::algorithm::{Aimd, Algorithm, Gradient, Gradient2, Guarded, Vegas, Window};
pub use self::future::{AdaptiveFuture, QueueFuture};
pub use self::handle::{Acquire, Handle, Load, Permit, Snapshot};
pub use self::layer::AdaptiveLayer;
pub use self::policy::{Policy, PolicyBuilder, Rule};
pub use self::service::Adaptive;
