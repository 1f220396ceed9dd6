//! Tower middleware for resilience and scaling: layers that stack, over one
//! clock and one core of metrics, with no lock and no allocation where a call is
//! admitted or refused.
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use tower::ServiceBuilder;
//! use tower_keep::bulkhead::{self, BulkheadLayer};
//! use tower_keep::throttle::{self, ThrottleLayer};
//! use tower_keep::timeout::{self, TimeoutLayer};
//!
//! let stack = ServiceBuilder::new()
//!     .layer(ThrottleLayer::new(throttle::Policy::per_second(1_000)?))
//!     .layer(BulkheadLayer::new(bulkhead::Policy::max_concurrent(200)?))
//!     .layer(TimeoutLayer::new(timeout::Policy::deadline(Duration::from_secs(2))?));
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(tower_keep::respond(stack));
//! # let _ = app;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # Creed, in this order
//! 1. **Never make things worse.** Around a healthy service the default policies
//!    change no response, error, order or frame.
//! 2. **Correct.** Every admission is released exactly once, whatever is
//!    dropped, aborted or panics.
//! 3. **Bounded.** Memory, queues and waits have a cap that the policy states.
//! 4. **Cancel-safe.** Every future may be dropped at any poll.
//! 5. **Observable.** Every decision is counted and explained, and an operator
//!    can overrule it.
//! 6. **Fast.** No heap allocation and no lock on the admit path; one or two
//!    atomic writes; as few clock readings as possible.
//!
//! # Patterns
//! | module | what it bounds |
//! |---|---|
#![cfg_attr(
    feature = "timeout",
    doc = "| [`timeout`] | how long a caller waits: attempt, deadline, readiness, bodies, connecting |"
)]
#![cfg_attr(
    feature = "bulkhead",
    doc = "| [`bulkhead`] | calls in flight at once: shed, queue, backpressure |"
)]
#![cfg_attr(
    feature = "adaptive",
    doc = "| [`adaptive`] | calls in flight at once, by a limit that finds itself |"
)]
#![cfg_attr(
    feature = "throttle",
    doc = "| [`throttle`] | requests in a given time: for all, or per key |"
)]
#![cfg_attr(
    feature = "circuit-breaker",
    doc = "| [`circuit_breaker`] | calls to what has failed, or has become slow: for all, or per key |"
)]
#![cfg_attr(
    feature = "retry",
    doc = "| [`retry`] | how often what has failed is tried again: by rules, with pauses, within a budget |"
)]
#![cfg_attr(
    feature = "fallback",
    doc = "| [`fallback`] | what a failure does to the caller: another answer in its place |"
)]
#![cfg_attr(
    feature = "hedge",
    doc = "| [`hedge`] | what one slow answer costs: a second attempt beside the first |"
)]
#![cfg_attr(
    feature = "health",
    doc = "| [`health`] | how long a process gets requests that is not fit for them |"
)]
#![cfg_attr(
    feature = "balance",
    doc = "| [`balance`] | what one endpoint gets: picks among many, leaves out the sick, follows discovery |"
)]
#![cfg_attr(
    feature = "watchdog",
    doc = "| [`watchdog`] | how long nobody notices that nothing moves: tasks, requests, the runtime |"
)]
#![cfg_attr(
    feature = "idempotency",
    doc = "| [`idempotency`] | how often a request has its effect: once per key, with one answer |"
)]
#![cfg_attr(
    feature = "chaos",
    doc = "| [`chaos`] | nothing: it injects faults, to show that the others do |"
)]
//!
//! # What they share
//! | module | what for |
//! |---|---|
//! | [`error`] | how a layer says no in the error type you have |
//! | [`deadline`] | how much time the caller has left, wherever you are |
//! | [`attempt`] | which attempt this is, and whether another one is wanted |
//! | [`replay`] | how a request is sent more than once |
//! | [`classify`] | how a call ended |
//! | [`release`] | whether an admission ends with the head or with the body |
//! | [`key`] | who a request counts for, and how much |
#![cfg_attr(
    any(feature = "bulkhead", feature = "adaptive"),
    doc = "| [`queue`] | who waits for admission: order, priorities, tenants, what is given up |"
)]
//! | [`registry`] | names, clocks, listeners; what all layers report |
//! | [`event`] | what they tell while they work |
//! | [`backoff`] | how long to wait before the next try |
//! | [`budget`] | how many further attempts all may make together |
//! | [`policy`] | policies that are valid once they exist |
//! | [`clock`] | the only place that reads the time |
//! | [`probe`] | how something is asked whether it is well, and what is believed of its answers |
#![cfg_attr(
    feature = "http",
    doc = "| [`http`] | answers for refusals, tracked bodies, quota headers, client addresses |"
)]
#![cfg_attr(
    feature = "test-util",
    doc = "| `test_util` | a manual clock and scripted services, for your tests too |"
)]
//!
//! Import names, not `tower_keep::*`: among the modules is one called `http`, which
//! the compiler then cannot tell from the crate.
//!
//! Longer texts: [in which order to stack](docs::order), [errors](docs::errors),
//! [cancel safety](docs::cancel_safety), [what is shared](docs::sharing),
//! [tuning](docs::tuning), [timers](docs::timers), [testing](docs::testing).
#![cfg_attr(
    feature = "watchdog",
    doc = "And what to look at [when something stands still](docs::stalls)."
)]
//!
//! # Features
//! | feature | default | what it adds |
//! |---|---|---|
//! | `timeout`, `bulkhead`, `throttle` | yes | the pattern |
//! | `adaptive`, `circuit-breaker`, `retry`, `hedge`, `fallback`, `health`, `chaos`, `watchdog`, `idempotency` | no | the pattern |
//! | `balance` | no | the pattern, over lists and watch channels |
//! | `discover` | no | `balance` over any `tower::discover` stream |
//! | `http` | yes | HTTP and gRPC: `respond`, classifiers, bodies, headers, keys |
//! | `probe` | no | probes over a network: TCP, HTTP, gRPC |
//! | `metrics` | no | a listener that feeds the `metrics` facade |
//! | `serde` | no | policies from files, reports to JSON |
//! | `tsc` | no | a clock that reads the time stamp counter |
//! | `full` | no | all of the above |
//! | `test-util` | no | the manual clock, probes, scripted services |
//!
//! All of them only add. The oldest Rust that works is 1.90.
#![cfg_attr(docsrs, feature(doc_cfg))]
// What only one pattern, or a test, needs of the shared core is dead without that
// pattern, or is not reached without the test's feature. With all of them, nothing
// may be.
#![cfg_attr(
    not(all(feature = "full", feature = "test-util")),
    allow(
        dead_code,
        unnameable_types,
        unused_imports,
        unused_macros,
        unreachable_pub
    )
)]

pub mod attempt;
pub mod backoff;
pub mod budget;
pub mod classify;
pub mod clock;
pub mod deadline;
pub mod docs;
pub mod error;
pub mod event;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(keep_loom, feature = "test-util"))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod kernel;
#[cfg(not(any(keep_loom, feature = "test-util")))]
// `pub` there means: visible to tests and benches, by the feature above.
#[allow(unreachable_pub)]
mod kernel;
pub mod key;
pub mod lift;
pub mod policy;
pub mod probe;
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
pub mod queue;
pub mod registry;
pub mod release;
pub mod replay;
#[cfg(feature = "test-util")]
pub mod test_util;

#[cfg(feature = "adaptive")]
pub mod adaptive;
#[cfg(feature = "balance")]
pub mod balance;
#[cfg(feature = "bulkhead")]
pub mod bulkhead;
#[cfg(feature = "chaos")]
pub mod chaos;
#[cfg(feature = "circuit-breaker")]
pub mod circuit_breaker;
#[cfg(feature = "fallback")]
pub mod fallback;
#[cfg(feature = "health")]
pub mod health;
#[cfg(feature = "hedge")]
pub mod hedge;
#[cfg(feature = "idempotency")]
pub mod idempotency;
#[cfg(feature = "retry")]
pub mod retry;
#[cfg(feature = "throttle")]
pub mod throttle;
#[cfg(feature = "timeout")]
pub mod timeout;
#[cfg(feature = "watchdog")]
pub mod watchdog;

pub use error::{AsRejection, Error, LayerId, Rejection, RejectionKind, check};
#[cfg(feature = "http")]
pub use http::{respond, respond_or};
pub use lift::{Lift, LiftLayer};
pub use policy::{Override, PolicyError, Ratio};
pub use registry::{Registry, Setup};

/// The README's snippets compile and run.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
