//! Requests that have their effect once per key.
//!
//! Clients send again what was not answered, queues deliver at least once. A guard
//! remembers which key was begun, with which payload, and what was answered: the
//! first request runs, a duplicate gets the first one's answer, byte for byte.
//!
//! # When not to use it
//! - For what is idempotent by itself: reading, and writing the same value.
//! - In place of a transaction. Between the handler's effect and the record of its
//!   answer a process can die: **then nobody knows**, and the guard says so. Who must
//!   know writes effect and key into one database in one transaction, or fences the
//!   effect by the [`Token`].
//! - With a [`MemoryStore`] where there is more than one process, or where money is:
//!   it knows nothing of the others, and forgets at the end.
//!
//! Place: inside timeout and limits, whose refusals then cost no key, and around the
//! handler. A retry belongs outside, with the same key for each attempt. Inside a layer
//! that authenticates: **whoever names a key gets its answer**, so who asks belongs into
//! the key, and must have been checked.
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use axum::{Router, routing::post};
//! use tower_keep::idempotency::{Http, IdempotencyLayer};
//!
//! #[derive(Clone)]
//! struct User(String); // put there by what authenticates, outside
//!
//! let who = Http::by(|parts| Some(parts.extensions.get::<User>()?.0.as_bytes()));
//! let app: Router = Router::new()
//!     .route("/orders", post(|| async { "done" }))
//!     .layer(tower_keep::respond(IdempotencyLayer::new(who)));
//! # let _ = app;
//! ```
//!
//! With a policy, and for one who consumes a queue:
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::clock::Clock;
//! use tower_keep::idempotency::{
//!     self, Delivery, Fingerprint, IdempotencyLayer, InFlight, MemoryStore, Plain, Policy, RecordKey,
//! };
//! use tower_keep::{Rejection, Setup};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::builder()
//!     .lease(Duration::from_secs(30))
//!     .retention(Duration::from_secs(7 * 86_400)) // longer than the queue redelivers
//!     .in_flight(InFlight::Wait)
//!     .build()?;
//! let store = MemoryStore::new(10_000, 16 * 1024 * 1024, Clock::default())?;
//! let by_id = idempotency::by(|_: &()| None, Plain);
//! let layer = IdempotencyLayer::with(policy, by_id, store, Setup::named("shipping"));
//! let receiver = layer.receiver();
//!
//! for delivery in 1..=2 {
//!     let key = RecordKey::of(&[b"ship", b"v1", b"order 7"]);
//!     let payload = Fingerprint::of(b"{\"order\":7}");
//!     let ship = async { Ok::<_, Rejection>(String::from("parcel 12")) };
//!     let shipped = receiver.once(key, payload, &Plain, ship).await?;
//!     assert_eq!(matches!(shipped, Delivery::First(_)), delivery == 1);
//!     assert_eq!(shipped.into_inner(), "parcel 12");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Admission
//! A key is *reserved* in the store before anything else happens, by one atomic step,
//! for as long as the [lease](PolicyBuilder::lease). Duplicates are answered by what the
//! record says:
//!
//! | record | duplicate | over HTTP |
//! |---|---|---|
//! | reserved | [as the policy says](PolicyBuilder::in_flight) | 409, 425, 202 with `Retry-After`, or it waits |
//! | completed | gets the recorded answer | that, and `Idempotent-Replayed: true` |
//! | completed without an answer | [`AnswerNotKept`](crate::RejectionKind::AnswerNotKept) | 409 |
//! | unknown, never again | [`OutcomeUnknown`](crate::RejectionKind::OutcomeUnknown) | 409 |
//! | unknown, [`Again::Allowed`] | takes over, with a larger token | |
//! | any, other payload | [`KeyReused`](crate::RejectionKind::KeyReused) | 422 |
//!
//! | how the first one ended | record |
//! |---|---|
//! | an answer, 4xx and 5xx too: the effect may be there | completed, for the [retention](PolicyBuilder::retention) |
//! | too long, a stream, an upgrade, no room | [completed without an answer, or none](PolicyBuilder::unrecorded) |
//! | a refusal of a layer inside, before the handler was called | none: it may be sent again |
//! | another error; dropped; panicked; its body broke off | unknown |
//! | after its lease, and another has taken over | that of the other one |
//!
//! What says that the handler was not called is a [`Rejection`](crate::Rejection) of which
//! [`reached_inner`](crate::Rejection::reached_inner) is false: as the error of the
//! service, or in the extensions of a response that [`respond`](crate::respond) made.
//! **A handler must not hand on the refusal of a client it has called as its own error**:
//! with [`Error`](crate::Error) it cannot, with a boxed error it can. Layers of other
//! crates say nothing of the kind, and their 429 or 503 is recorded as an answer.
//!
//! A record says which key it is of. One that does not, or that cannot be read, counts
//! as a failure of the store.
//!
//! # Cancel safety
//! Every future may be dropped at any poll. Before the key is granted, nothing has
//! happened. While the handler runs or its answer is read, the outcome is unknown: at
//! once if the store hears of it ([`Store::abandon`]), else when the lease runs out. A
//! step of a store that is dropped half way may have been taken: that, too, ends with
//! the lease.
//!
//! # Sharing
//! Policy, counters and store belong to the layer. A store may be shared by layers:
//! operation, version, method and path are parts of the key.
//!
//! # Errors
//! Those of the inner service; of its own, all before it was called:
//! [`KeyRequired`](crate::RejectionKind::KeyRequired),
//! [`KeyInvalid`](crate::RejectionKind::KeyInvalid),
//! [`BadKey`](crate::RejectionKind::BadKey) (nobody knows who asks),
//! [`BodyTooLarge`](crate::RejectionKind::BodyTooLarge),
//! [`BodyBroken`](crate::RejectionKind::BodyBroken),
//! [`InProgress`](crate::RejectionKind::InProgress) and its like,
//! [`KeyReused`](crate::RejectionKind::KeyReused),
//! [`OutcomeUnknown`](crate::RejectionKind::OutcomeUnknown),
//! [`AnswerNotKept`](crate::RejectionKind::AnswerNotKept),
//! [`StoreFailed`](crate::RejectionKind::StoreFailed),
//! [`StoreFull`](crate::RejectionKind::StoreFull),
//! [`NotReady`](crate::RejectionKind::NotReady),
//! [`Closed`](crate::RejectionKind::Closed).
//!
//! A store that fails once the handler has answered takes nothing from its caller: the
//! answer is given, and the outcome becomes unknown.
//!
//! # Panics
//! Never. Your functions, your codec and your store may panic: they are counted, and the
//! request is refused, or the step counts as failed. A panic of the inner service passes
//! through.
//!
//! # Cost
//! A request without a key: no allocation, no lock, no clock reading, and no clone of the
//! inner service. One with a key: a clone of that service, one allocation for its future,
//! those of its record and of the copy of its body, two SHA-256, and what the store costs
//! ([`MemoryStore`]: one lock and one clock reading for each step). Answers are read to
//! their end before their callers see them, since a record must be there first.
//!
//! # Events
//! [`Guarding`](crate::event::Guarding): reserved, taken over, recorded, unrecorded,
//! released, abandoned, fenced, replayed, unguarded, and each step of the store with its
//! time, or why it failed. `Rejected`, `Finished`, `Updated`, `CallbackPanicked`. Under
//! [`Override::Bypass`](crate::Override::Bypass) nothing is guarded.

mod builder;
#[cfg(feature = "test-util")]
pub mod conformance;
#[doc(hidden)]
pub mod exchange;
mod future;
mod handle;
#[cfg(feature = "http")]
mod http;
mod layer;
mod memory;
mod policy;
mod receiver;
mod record;
mod service;
mod session;
mod state;
mod store;
mod tally;
#[cfg(all(test, not(keep_loom)))]
mod tests;

pub use self::builder::PolicyBuilder;
pub use self::exchange::{By, Codec, Plain, by};
pub use self::future::IdempotencyFuture;
pub use self::handle::{Handle, Snapshot};
#[cfg(feature = "http")]
#[doc(hidden)]
pub use self::http::Keyed;
#[cfg(feature = "http")]
pub use self::http::{GuardedBody, Http};
pub use self::layer::IdempotencyLayer;
pub use self::memory::{MemoryStore, Usage};
pub use self::policy::{InFlight, Policy, Streams, Unguarded, Unrecorded};
pub use self::receiver::{Delivery, Receiver};
pub use self::record::{Fingerprint, Owner, RecordKey, Token};
pub use self::service::Idempotency;
pub use self::store::{Again, Completion, ROOM, Reservation, Reserve, Store};
