//! Requests that have their effect once per key.

#[allow(dead_code)] // until the stores stand on it
mod state;

mod policy;
mod record;
mod store;
#[cfg(all(test, not(keep_loom)))]
mod tests;

pub use self::policy::{Policy, PolicyBuilder};
pub use self::record::{Fingerprint, Owner, RecordKey, Token};
pub use self::store::{Again, Completion, ROOM, Reservation, Reserve, Store};
