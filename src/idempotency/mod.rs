//! Requests that have their effect once per key.

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
pub use self::policy::{InFlight, Policy, PolicyBuilder, Streams, Unguarded, Unrecorded};
pub use self::receiver::{Delivery, Receiver};
pub use self::record::{Fingerprint, Owner, RecordKey, Token};
pub use self::service::Idempotency;
pub use self::store::{Again, Completion, ROOM, Reservation, Reserve, Store};
