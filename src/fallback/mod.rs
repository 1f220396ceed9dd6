//! Answers in place of a failure.
//!
//! A part of a page that is missing is better than no page. A fallback answers
//! a refusal or a failure with a value, a function's result or another
//! service's response, and says that it did.
//!
//! # When not to use it
//! - Where the truth is asked for. Who asks whether something is allowed, paid
//!   or done must get the failure: an answer that was made up is wrong, and one
//!   that is old may be.
//! - Where it would reach further than the service. **A fallback answers without
//!   the checks of the service it stands in for.** It must not give anybody what
//!   that service would have kept from them: put the layer that authenticates
//!   and authorises *outside*, or keep who asks ([`keeping`]) and look it up by
//!   that. What is cached for all must be meant for all.
//! - For writes, unless "accepted for later" is what it says.
//!
//! Old data is data with an age: say it where it is shown, and give it a limit.
//!
//! Place: outside all whose refusals it answers (breaker, bulkhead, timeout,
//! retry), inside what authorises.
//!
//! ```
//! use tower::{Service, ServiceBuilder, ServiceExt};
//! use tower_keep::fallback::{self, FallbackLayer};
//! use tower_keep::LiftLayer;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut stars = ServiceBuilder::new()
//!     .layer(FallbackLayer::new(fallback::value(None)))
//!     .layer(LiftLayer::new())
//!     .service_fn(|product: u32| async move {
//!         Err::<Option<f32>, _>(std::io::Error::other("the reviews are down"))
//!     });
//!
//! let shown = stars.ready().await.unwrap().call(7).await;
//! assert!(matches!(shown, Ok(None)));
//! # }
//! ```
//!
//! For HTTP, by the request's path, for bad statuses too, and told to the client:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use axum::body::Body;
//! use http::{HeaderName, Request, Response};
//! use tower_keep::classify::Http;
//! use tower_keep::fallback::{self, Failed, FallbackLayer, Policy, Rule};
//! use tower_keep::Setup;
//! use tower_keep::event::Trace;
//!
//! let policy = Policy::builder().timeout(Rule::Pass).build()?;
//! let answer = fallback::keeping(
//!     |request: &Request<Body>| request.uri().path() == "/recommendations",
//!     |known, failed: Failed<'_, Response<Body>, tower::BoxError>| {
//!         assert_ne!(failed.cause().label(), "success");
//!         known.then(|| Response::new(Body::from("[]"))) // else the failure stays
//!     },
//! );
//! let setup = Setup::named("recommendations").with_listener(Trace);
//! let layer = FallbackLayer::with(policy, answer, setup)
//!     .classify(Http)
//!     .marked_in(HeaderName::from_static("x-degraded"));
//! assert_eq!(layer.handle().snapshot().answered, 0);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # Admission
//! None: every call goes to the inner service first.
//!
//! What is answered, the [`Policy`] says by kinds of outcome: refusals of layers
//! inside, timeouts, overload and transient failures, but not what will fail
//! again, since that would hide a defect for good, nor a caller's mistake. Which
//! response or error is which kind, a [classifier](crate::classify) says. The
//! default one takes every response for a success and **every error that is no
//! refusal for a transient failure**, so all of them are answered, defects too:
//! give the layer a classifier that knows your errors, or let
//! [`transient`](PolicyBuilder::transient) failures pass.
//!
//! The cause is never lost. It is in the event; over HTTP,
//! `FallbackLayer::marked` puts it into the response's extensions and
//! `marked_in` into a header, too. And if the fallback itself fails, panics or
//! makes `None`, the caller gets the first failure, not that of the fallback.
//!
//! Fallbacks stack: what the inner one leaves, the outer one answers.
//!
//! # Cancel safety
//! Every future may be dropped at any poll. Nothing is answered for a call that
//! is dropped.
//!
//! # Sharing
//! The counters and the policy belong to the layer.
//!
//! # Errors
//! Those of the inner service that are not answered;
//! [`NotReady`](crate::RejectionKind::NotReady) and
//! [`Closed`](crate::RejectionKind::Closed) of its own, which it does not
//! answer. An error of `poll_ready` means that a service is dead, and passes.
//!
//! # Panics
//! Never. A function or a backup service that panics is counted, and leaves the
//! failure as it is. A panic of the inner service passes through.
//!
//! # Cost
//! For a call that ends well: the clone of the [`Answer`] and what it keeps of
//! the request, which for a plain function is nothing; no clock reading, no
//! allocation, no lock. A backup service costs a clone of itself and of what it
//! is to be asked, for every call, and holds a failed response until it has
//! answered.
//!
//! # Events
//! `Answered` and `Unanswered` with the cause, `Finished` with the outcome of
//! the inner call, `Rejected`, `Updated`, `CallbackPanicked` (the answer, what
//! it keeps, the classifier).

mod answer;
mod future;
mod handle;
mod layer;
mod mark;
mod policy;
mod service;
mod state;

pub use self::answer::{
    Answer, Backup, By, Failed, Keeping, ToService, Value, by, keeping, service, value,
};
#[cfg(feature = "http")]
pub use self::answer::{OfResponse, response};
pub use self::future::FallbackFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::layer::FallbackLayer;
#[cfg(feature = "http")]
pub use self::mark::Marked;
pub use self::mark::{Mark, Unmarked};
pub use self::policy::{Policy, PolicyBuilder, Rule};
pub use self::service::Fallback;
