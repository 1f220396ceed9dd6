//! Asks a server no faster than it allows, learning how fast that is from its
//! answers.
//!
//! A server that answers 429 has a limit that it does not tell, and that others use
//! up, too. This layer lets everything pass until the first such answer. From then on
//! it keeps to a rate: seven tenths of what it was sending, which grows again along a
//! cubic curve, slowly around where it was too much, faster beyond (CUBIC, RFC 9438,
//! in the form of the adaptive retry mode of the AWS SDKs).
//!
//! Do not use it where the limit is known: a [`throttle`](crate::throttle) keeps it
//! from the first request on. Nor instead of a retry's budget or backoff: it spaces
//! requests, and repeats none.
//!
//! Place: on a client inside retries, so that it sees every attempt and the
//! server's own answers, outside a breaker.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_keep::classify::{Classify, Failure, Outcome, Verdict};
//! use tower_keep::throttle::learned::{LearnedLayer, Policy};
//! use tower_keep::{Error, LiftLayer};
//!
//! /// A server that answers "slow down" in its own words.
//! #[derive(Clone)]
//! struct Words;
//!
//! impl Classify<String, Error<std::io::Error>> for Words {
//!     fn classify(&self, answer: Result<&String, &Error<std::io::Error>>) -> Verdict {
//!         let too_much = Failure::Overload { retry_after: None };
//!         Verdict::Now(match answer {
//!             Ok(text) if text == "slow down" => Outcome::Failure(too_much),
//!             Ok(_) => Outcome::Success,
//!             Err(_) => Outcome::Neutral,
//!         })
//!     }
//! }
//!
//! let service = ServiceBuilder::new()
//!     .layer(LearnedLayer::new(Policy::default(), Words))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n.to_string()) });
//! # let _ = service;
//! ```
//!
//! One limit per host, and a short wait for what comes too early:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use http::Request;
//! use tower_keep::classify::Http; // knows 429 and 503
//! use tower_keep::key;
//! use tower_keep::throttle::learned::{LearnedLayer, Policy};
//!
//! let policy = Policy::builder().max_wait(Duration::from_millis(200)).build()?;
//! let host = key::bytes(|request: &Request<()>| request.uri().host().map(str::as_bytes));
//! let layer = LearnedLayer::keyed(policy, Http, host).waiting();
//! assert_eq!(layer.handle().snapshot().keys, 0);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # The rate
//! What is sent is measured over half seconds, the latest of which counts four fifths.
//! An answer that it was too much sets the rate to 0.7 of what was measured, or of the
//! rate in force if that is less. `t` seconds later it is
//! `0.4 (t - k)³ + most`, where `most` was too much and `k = ∛(0.75 most)`, but never
//! more than twice what is sent and never less than one request in two seconds. It
//! grows in steps of 50 ms, and only while there are successes. As much as comes in
//! a second may come at once.
//!
//! Three things differ from AWS, each of which has one refuse for no reason: an answer
//! to a request that was sent before the rate was last lowered does not lower it again
//! (a hundred requests that are under way at once would otherwise bring it to the
//! floor); a burst after a pause is measured by itself and not over the pause; and the
//! bucket is empty when the first such answer comes.
//!
//! # Admission
//! In `call`: [`Refuse`](super::Refuse), the default, or [`Wait`](super::Wait), as a
//! [`throttle`](crate::throttle) does. Keyed layers know each server behind a hard cap. A
//! server that was not asked for a minute is forgotten if its place is needed; where there
//! is no place, servers share what is known, as do requests without a key.
//!
//! # Cancel safety
//! Every future may be dropped at any poll. A waiting request that is dropped gives its
//! place back if nobody has reserved behind it. A call that is dropped teaches nothing.
//!
//! # Sharing
//! What is learnt belongs to the layer: all services it makes, and their clones, share
//! it.
//!
//! # Errors
//! [`Throttled`](crate::RejectionKind::Throttled) with the wait,
//! [`NotReady`](crate::RejectionKind::NotReady),
//! [`NoRuntime`](crate::RejectionKind::NoRuntime),
//! [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A key function that panics is counted, and its request is one without a key;
//! after a classifier that does, nothing is learnt. A panic of the inner service passes
//! through.
//!
//! # Cost
//! One clock reading (shared with the layers below) and one atomic addition per server;
//! a compare-and-swap on top once there is a rate to keep. A lock for an answer that it
//! was too much, and for one request in 50 ms.
//!
//! # Events
//! `Rejected`, `Waited`, `Finished` with the outcome, `Paced` when it was too much,
//! `Updated`, `CallbackPanicked`.

mod cubic;
mod future;
mod handle;
mod layer;
mod learner;
#[cfg(all(test, keep_loom))]
mod loom;
mod policy;
mod service;
mod state;

pub use self::future::{LearnedFuture, WaitFuture};
pub use self::handle::{Handle, Pace, Permit, Snapshot};
pub use self::layer::LearnedLayer;
pub use self::policy::{Policy, PolicyBuilder};
pub use self::service::Learned;
