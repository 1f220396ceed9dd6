//! Makes a slow call once more, and takes the answer that comes first.
//!
//! Of calls that fan out to a hundred servers of which one in a hundred calls
//! takes a second, two thirds take a second. A second attempt after the time that
//! nearly all calls stay below costs a few per cent more calls and takes most of
//! that tail away (Dean and Barroso, "The Tail at Scale", CACM 2013).
//!
//! # When not to use it
//! - For requests that must not be done twice: *both* attempts can be done to
//!   their end. So it asks which may ([`MayHedge`]).
//! - Where all calls are slow at the same time. A second attempt at a service that
//!   has too much to do makes it later for everybody. It is bounded for that: by
//!   a budget, by the share of failures, and by a percentile that moves along.
//! - Where both attempts reach the same queue, it helps little: put a balancer
//!   inside, which sends the second one elsewhere.
//!
//! Place: on a client, inside retry and outside of the balancer.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::LiftLayer;
//! use tower_keep::hedge::{self, HedgeLayer, Policy};
//!
//! let lookup = ServiceBuilder::new()
//!     .layer(HedgeLayer::new(Policy::default(), hedge::every()))
//!     .layer(LiftLayer::new())
//!     .service_fn(|word: String| async move { Ok::<_, std::io::Error>(word.len()) });
//! # let _ = lookup;
//! ```
//!
//! For HTTP, after a fixed time, out of a budget that others share:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use tower_keep::Setup;
//! use tower_keep::budget::Budget;
//! use tower_keep::classify::Http;
//! use tower_keep::hedge::{self, Delay, HedgeLayer, Policy};
//! use tower_keep::replay::Buffered;
//!
//! let budget = Budget::default();
//! let policy = Policy::builder()
//!     .delay(Delay::Fixed(Duration::from_millis(80)))
//!     .hedges(2)
//!     .build()?;
//! let layer = HedgeLayer::with_budget(policy, hedge::idempotent(), budget, Setup::named("search"))
//!     .replay(Buffered::up_to(64 * 1024))
//!     .classify(Http);
//! assert_eq!(layer.handle().snapshot().delay, Some(Duration::from_millis(80)));
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # What is hedged
//! A call whose request may be made twice ([`MayHedge`]) and can be
//! ([`Replay`](crate::replay::Replay)), when its first attempt is still under way
//! after the delay. The delay is fixed, or a percentile of what the first attempts
//! took lately; it counts from when the response is first pending. No attempt
//! begins
//! - past the deadline in force, nor where the delay would end past it;
//! - without a grant of the [`Budget`](crate::budget::Budget);
//! - while more than a share of the calls fail, or are dropped later than the
//!   delay, as by a timeout outside
//!   ([`failure_ratio`](PolicyBuilder::failure_ratio));
//! - after an attempt of the call was answered with *overload* or marked
//!   ([`attempt::mark`](crate::attempt::mark)).
//!
//! Of a body that streams nobody knows how long it will be: an attempt may begin, and
//! the body turn out longer than what is kept of it. Then the first attempt reads on
//! unharmed, the others fail (`ReplayError::TooLong`), and no more begin.
//!
//! # Which answer
//! The first **success**, and then the others are called off, by being dropped,
//! before the caller gets it. A failure of the first waits for what the others come
//! to, unless it is permanent; a caller's mistake is an answer. It waits only for
//! those that were called, not for those whose service is not ready yet, until the
//! deadline in force; and if it is a response, for no longer than it took: its body
//! may hold the very place that the others wait for, in a queue inside. If none succeeds, the caller
//! gets what the *first* attempt came to, as without this layer. Where there is no
//! deadline and an attempt that was called hangs, an error of the first waits as long
//! as that: bound the call, or each attempt, by a timeout. A call whose
//! first attempt fails before there is another is not repeated: that is what
//! retry is for. (gRPC's hedging sends the next attempt at once then. But there it
//! takes the place of a retry policy; here it stands beside one, which waits before
//! it asks a service again that has just failed.)
//!
//! # What the percentile is of
//! Of first attempts alone, each once: those that succeed by what they took, those
//! that a hedge outran, or that failed or were dropped later than the delay, by
//! what they had taken until then. Without these, the slowest would be missing,
//! and the percentile would sink by its own doing. It is at most 12.5 % too high.
//!
//! # Admission
//! None: it holds nobody back.
//!
//! # Cancel safety
//! Every future may be dropped at any poll, and drops all attempts.
//!
//! # Sharing
//! The counters, the policy and what is known of recent calls belong to the layer.
//! The budget is its own unless it was [given one](HedgeLayer::with_budget).
//!
//! # Errors
//! Those of the inner service; [`NotReady`](crate::RejectionKind::NotReady) and
//! [`Closed`](crate::RejectionKind::Closed) of its own. Where no timer runs, no
//! call is hedged.
//!
//! # Panics
//! Never. A function that says which requests may be made twice, a replay and a
//! classifier that panic are counted: the call goes on without a hedge, or as
//! neutral. So is an attempt counted that panics as it is called off: its answer is
//! not the one that was waited for. Any other panic of the inner service, in any
//! attempt, passes through.
//!
//! # Cost
//! A call that may be hedged clones the inner service and what its replay keeps of
//! the request, before the first attempt: once that has been called, nobody else
//! has them. Beyond this, ready at once: no clock reading, no timer, no allocation,
//! no lock. Pending: a clock reading and a timer; another reading at the end and one
//! count in a histogram if the delay is a percentile. An attempt that is made
//! allocates its future.
//!
//! # Events
//! `Hedged` (started, won, failed, called off, no budget) with the attempt's number,
//! `Finished` with the outcome of the call, `Rejected`, `Updated`, `CallbackPanicked`.
//! Attempts after the first run in a `tracing` span `attempt` of level `debug` with the
//! layer's name, the number, the delay and the reason, which is `late`.

mod call;
mod future;
mod handle;
mod layer;
#[cfg(all(test, keep_loom))]
mod loom;
mod may;
mod policy;
mod service;
mod state;

pub use self::future::HedgeFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::layer::HedgeLayer;
pub use self::may::{Every, MayHedge, When, every, when};
#[cfg(feature = "http")]
pub use self::may::{Idempotent, idempotent};
pub use self::policy::{Delay, Policy, PolicyBuilder};
pub use self::service::Hedge;
