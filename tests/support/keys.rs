//! The guard of keys, where no request has one.

use bytes::Bytes;
use http::Request;
use tower_keep::Setup;
use tower_keep::idempotency::{self, IdempotencyLayer, MemoryStore};

/// Keys by header, of which no request here has one.
pub(crate) fn unkeyed(setup: Setup) -> IdempotencyLayer<Unkeyed> {
    let key: fn(&Request<()>) -> _ = |request| {
        let key = request.headers().get("idempotency-key")?;
        Some(super::shop::message(key.to_str().ok()?))
    };
    let by = idempotency::by(key, Unkept);
    IdempotencyLayer::with(
        idempotency::Policy::default(),
        by,
        MemoryStore::default(),
        setup,
    )
}

pub(crate) type Unkeyed = idempotency::By<fn(&Request<()>) -> Known, Unkept>;
type Known = Option<(idempotency::RecordKey, idempotency::Fingerprint)>;

/// Keeps no answer, since nobody asks for any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unkept;

impl<T> idempotency::Codec<T> for Unkept {
    fn encode(&self, _: &T, _: &mut Vec<u8>) -> Option<()> {
        None
    }

    fn decode(&self, _: Bytes) -> Option<T> {
        None
    }
}
