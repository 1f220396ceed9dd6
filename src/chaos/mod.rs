//! Injects faults, so that you can show what your stack does about them.
//!
//! A timeout that never fired and a fallback nobody has seen are hopes. Chaos
//! makes a service slow, silent or wrong at a rate you set, where and when you
//! say, and the same way again from the same seed (Basiri et al., "Chaos
//! Engineering", IEEE Software 2016).
//!
//! It is off until its handle starts it, and costs one relaxed load until then;
//! so it may stay in a stack that ships.
//!
//! Do not leave the switch to strangers: whoever can start it can take the
//! service down.
//!
//! Place: innermost, in the place of the service that is to fail, so that all
//! layers outside meet its faults as they would meet real ones.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_keep::chaos::{ChaosLayer, Policy};
//! use tower_keep::{AsRejection, LiftLayer, Ratio, RejectionKind};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_keep::PolicyError> {
//! let chaos = ChaosLayer::new(Policy::builder().error(Ratio::ONE).build()?);
//! let mut service = ServiceBuilder::new()
//!     .layer(chaos.clone())
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//!
//! assert!(matches!(service.ready().await.unwrap().call(1).await, Ok(2)));
//! chaos.handle().start();
//! let error = service.ready().await.unwrap().call(1).await.unwrap_err();
//! assert_eq!(error.as_rejection().unwrap().kind(), RejectionKind::Injected);
//! chaos.handle().stop();
//! # Ok(())
//! # }
//! ```
//!
//! A slow service for HTTP, one answer in ten a 503, broken bodies, only below
//! `/api`; and for testers any fault on request:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use http::{HeaderName, Request, StatusCode};
//! use tower_keep::chaos::{self, ChaosLayer, Latency, Policy};
//! use tower_keep::{Ratio, Setup};
//!
//! let slow = Latency::LogNormal {
//!     median: Duration::from_millis(50),
//!     p99: Duration::from_secs(1),
//!     most: Duration::from_secs(5),
//! };
//! let policy = Policy::builder()
//!     .seed(42)
//!     .latency(Ratio::new(0.5)?, slow)
//!     .abort(Ratio::new(0.1)?)
//!     .reset(Ratio::new(0.01)?)
//!     .after_bytes(512)
//!     .build()?;
//! let api = chaos::only(|request: &Request<()>| request.uri().path().starts_with("/api"));
//! let tester = |request: &Request<()>| request.headers().get("x-test-key").is_some_and(known);
//! let layer = ChaosLayer::with(policy, Setup::named("backend"))
//!     .target(chaos::asked(HeaderName::from_static("x-fault"), tester).otherwise(api))
//!     .faults(chaos::status(StatusCode::SERVICE_UNAVAILABLE))
//!     .with_bodies();
//! assert!(!layer.handle().snapshot().running);
//! # fn known(_: &http::HeaderValue) -> bool { false }
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # Faults
//! | fault | what happens | the inner service |
//! |---|---|---|
//! | latency | the response is held back | is called before |
//! | error | [`Injected`](crate::RejectionKind::Injected), or the error you make: a connection reset, for example ([`by`]) | is not called |
//! | abort | the response you make: a status, for example (`status`) | is not called |
//! | hang | no answer until the caller goes, or an error after `longest_hang` | is not called |
//! | cut | the body ends early, as if that were all of it | is called |
//! | stall | the body stops, until `longest_hang` | is called |
//! | reset | the body breaks with an error | is called |
//!
//! Latency goes together with each of the others. Errors, aborts and hangs
//! exclude each other, and so do the faults of bodies; so each has exactly its
//! share.
//!
//! The fate of a request depends on the seed and on how many came before it, on
//! nothing else: not on the clock, the threads or the other rates. To repeat an
//! experiment, start it again. Requests that the [`Target`] spares are not
//! counted; those that ask for a fault count apart.
//!
//! # Admission
//! None.
//!
//! # Cancel safety
//! Every future may be dropped at any poll.
//!
//! # Sharing
//! The switch, the policy and the count of requests belong to the layer.
//!
//! # Errors
//! [`Injected`](crate::RejectionKind::Injected), which
//! [classifiers](crate::classify) take for a transient failure of the service;
//! [`NoRuntime`](crate::RejectionKind::NoRuntime) in the place of a response
//! that was to come late where no timer runs;
//! [`NotReady`](crate::RejectionKind::NotReady),
//! [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A target that panics spares the request, and faults that panic are
//! the default ones; both are counted.
//!
//! # Cost
//! Off: one relaxed load. Running: one write to a counter that all threads
//! share; a call that meets a fault allocates.
//!
//! # Events
//! `Injected` with the fault's label, for bodies when they meet it; `Rejected`,
//! `Updated`, `CallbackPanicked` (the target, the faults).

mod body;
mod fate;
mod faults;
mod future;
mod handle;
mod latency;
mod layer;
mod policy;
mod service;
mod state;
mod target;

#[cfg(feature = "http")]
pub use self::body::{Bodies, ChaosBody};
pub use self::body::{Calls, Meets, Reach};
pub use self::fate::Fault;
pub use self::faults::{By, Faults, Rejected, by};
#[cfg(feature = "http")]
pub use self::faults::{Status, status};
pub use self::future::ChaosFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::latency::Latency;
pub use self::layer::ChaosLayer;
pub use self::policy::{Policy, PolicyBuilder};
pub use self::service::Chaos;
pub use self::target::{Aim, Everyone, Only, Target, only};
#[cfg(feature = "http")]
pub use self::target::{Asked, asked};
