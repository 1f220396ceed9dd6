//! Tries again what has failed, with pauses, and within a budget.
//!
//! Some failures pass: a connection that broke, a server that restarts. Sending
//! the request once more hides them from the caller. But a retry is one more
//! request for a service that may have too much to do already, and that is how a
//! short trouble becomes a long one (Bronson et al., "Metastable Failures in
//! Distributed Systems", 2021). So this one asks first whether the request
//! *may* be sent again, waits at random, keeps to a budget that all callers share,
//! stops at the caller's deadline, and makes one tier retry and not three.
//!
//! Do not use it where a request must not be done twice and has no idempotency
//! key; where somebody outside or inside retries the same already; nor against a
//! service that is overloaded: the budget keeps a retry from making that worse, and
//! nothing here makes it better.
//!
//! Place: on a client inside the overall timeout, outside what is per endpoint, so
//! that each attempt may pick another one, meets the breakers, and has a timeout of
//! its own ([order](crate::docs::order)).
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_keep::LiftLayer;
//! use tower_keep::retry::{Idempotent, Policy, RetryLayer};
//!
//! let service = ServiceBuilder::new()
//!     .layer(RetryLayer::new(Policy::default(), Idempotent::new()))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! # let _ = service;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! HTTP with streaming bodies, a budget for all calls of one service, a timeout for
//! each attempt, and the attempt's number in a header:
//!
#![cfg_attr(all(feature = "http", feature = "timeout"), doc = "```")]
#![cfg_attr(not(all(feature = "http", feature = "timeout")), doc = "```ignore")]
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::attempt::{Wire, WriteLayer};
//! use tower_keep::backoff::{Backoff, Jitter};
//! use tower_keep::budget::{self, Budget};
//! use tower_keep::replay::Buffered;
//! use tower_keep::retry::{Http, Policy, RetryLayer};
//! use tower_keep::timeout::{self, TimeoutLayer};
//! use tower_keep::{LiftLayer, Setup};
//!
//! let backoff = Backoff::builder()
//!     .base(Duration::from_millis(20))
//!     .cap(Duration::from_secs(1))
//!     .jitter(Jitter::Equal)
//!     .build()?;
//! let policy = Policy::builder().max_attempts(2).backoff(backoff).build()?;
//! let budget = Budget::new(budget::Policy::builder().ratio(1, 20).build()?);
//! let setup = Setup::named("payments");
//! let retry = RetryLayer::with_budget(policy, Http::new(), budget, setup)
//!     .replay(Buffered::up_to(64 * 1024));
//! let handle = retry.handle();
//!
//! let client = ServiceBuilder::new()
//!     .layer(TimeoutLayer::new(timeout::Policy::deadline(Duration::from_secs(2))?))
//!     .layer(retry)
//!     .layer(TimeoutLayer::new(timeout::Policy::attempt(Duration::from_millis(500))?))
//!     .layer(WriteLayer::new(Wire::Http))
//!     .layer(LiftLayer::new());
//! # let _ = client;
//! handle.update(handle.policy().to_builder().max_attempts(3).build()?); // while it runs
//! assert_eq!(handle.snapshot().retried, 0);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # Admission
//! Every request is sent at once. When an attempt has ended, the [`Rules`] say
//! whether to try again: ready-made are `Http`, `Grpc`, [`Idempotent`] and
//! [`when`]. There is no other attempt
//! - when it went well, or would end the same way;
//! - when the server, or a tier inside that has given up, [marked](crate::attempt)
//!   it: overloaded, do not retry;
//! - after as many as the policy allows;
//! - when the request cannot be sent again: it cannot be cloned, or its body was
//!   over the cap of [`Buffered`](crate::replay) or has failed;
//! - when the pause would not end before the caller's
//!   [deadline](crate::deadline): then it fails at once;
//! - when the [budget](crate::budget) has nothing left.
//!
//! In all of these the caller gets the last attempt's outcome as it was. A tier that
//! gives up with its attempts or its budget spent marks it itself.
//!
//! A circuit that opens inside ends the attempts: its refusals, as those of the
//! other layers, are tried again only where the rules were asked to.
//!
//! Before each retry the service, a clone made for this request, is asked for
//! readiness anew: so a balancer picks anew, and knows from the
//! [`Attempt`](crate::attempt::Attempt) where the request has been. If it fails or
//! does not get ready before the deadline, the caller gets the outcome that there
//! was. Where that is a response, its body may hold the very place that the service
//! waits for (a bulkhead, a connection): then readiness is waited for no longer than
//! the pause before it took, and the response is returned. An error holds nothing,
//! and the wait ends with the deadline only.
//!
//! # As others do it
//! | as | rules | backoff | budget | what differs here |
//! |---|---|---|---|---|
//! | gRPC (proposal A6) | `Grpc` | [proportional](crate::backoff::Jitter::Proportional), 20 % | [`grpc`](crate::budget::Policy::grpc) | jitter keeps to the cap; a pushback above zero is followed by the session's own delay, and does not set that back; calls that have not left the client count as attempts; more than 5 attempts are possible |
//! | AWS's clients, standard mode | [`Idempotent`] or your own | base 1 s (50 ms since 2.1, and by default here), cap 20 s, full jitter | [`aws`](crate::budget::Policy::aws), [`aws_2_1`](crate::budget::Policy::aws_2_1) | `x-amz-retry-after` is not read; three attempts, as by default here |
//! | Finagle, Linkerd | `Http` | any | [`ratio(1, 5)`](crate::budget::PolicyBuilder::ratio), `floor(10)` | what is saved is bounded by a number, not by ten seconds |
//! | Envoy | `Http` | base 25 ms, cap 250 ms, full jitter | [`in_flight`](crate::budget::Policy::in_flight), 20 %, 3 | attempts do not count as requests |
//!
//! # Cancel safety
//! The future may be dropped at any poll: an attempt under way is dropped, a pause
//! or a wait for readiness ends, and what the [budget](crate::budget) granted for an
//! attempt that has not begun goes back. An attempt is gone before the pause after
//! it begins; its response is kept until the next one begins, and its body with it,
//! to be returned if there will be none. On HTTP/1 that holds its connection for so
//! long, under a bulkhead until the body's end its place.
//!
//! # Sharing
//! The policy, the counts and the budget belong to the layer: all services that it
//! makes, and their clones, share them. Give clones of one
//! [`Budget`](crate::budget::Budget) to all layers that call the same service. Each
//! request has random delays of its own.
//!
//! # Errors
//! [`Closed`](crate::RejectionKind::Closed), and
//! [`NotReady`](crate::RejectionKind::NotReady) if it is called without being ready.
//! It has no error of its own for attempts that are exhausted: the last one's is
//! returned.
//!
//! # Panics
//! Never. Rules and replays that panic are counted, and the request is not sent
//! again. A panic of the inner service passes through.
//!
//! # Cost
//! A first attempt that succeeds: no allocation, no lock and no clock reading of
//! this layer; counters of its own thread. Besides, **a clone of the inner service
//! and of the request**, if there may be another attempt: for HTTP of the head, whose
//! headers allocate; a body is kept as
//! [`ReplayBody`](crate::replay) says. Where the policy allows one attempt only,
//! nothing is cloned. A retry takes an allocation, a lock for the policy, a clock
//! reading, three under a deadline, and a timer.
//!
//! # Events
//! `Retrying` with the attempt, the delay and the reason; `Concluded` for requests
//! that were tried more than once or were to be: succeeded, exhausted, budget,
//! deadline, and so on; `Finished` with the last outcome, `Rejected`, `Updated`,
//! `CallbackPanicked`. Attempts after the first run in a `tracing` span `attempt` of
//! level `debug` with the layer's name, the number, the delay and the reason.

mod future;
mod handle;
mod layer;
mod policy;
mod rules;
mod service;
mod session;
mod state;

pub use self::future::RetryFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::layer::RetryLayer;
pub use self::policy::{Policy, PolicyBuilder};
pub use self::rules::{Again, Idempotent, Judged, Rules, When, when};
#[cfg(feature = "http")]
pub use self::rules::{Grpc, Http, Unknown, Unprocessed};
pub use self::service::Retry;
