//! The protocol against a naive model, and in all its small states.
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod explore;
mod model;

use std::time::Duration;

use super::record::{Fingerprint, Owner, RecordKey};
use super::store::{Again, Reserve};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A request of this owner, with this payload.
pub(super) fn ask(owner: u128, payload: &[u8], again: Again) -> Reserve {
    let key = RecordKey::of(&[b"key"]);
    let mut ask = Reserve::new(key, Fingerprint::of(payload), Owner::new(owner));
    ask.again = again;
    ask
}
