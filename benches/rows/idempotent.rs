//! Paths through the guard of keys.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tower_keep::Error;
use tower_keep::idempotency::{
    Codec, Fingerprint, IdempotencyLayer, MemoryStore, Owner, RecordKey, Reservation, Reserve,
    Store, by,
};
use tower_layer::Layer;
use tower_service::Service;

use super::driver::{self, Inner, Maker, of};

/// A number in a record of 1 KiB.
#[derive(Debug, Clone, Copy)]
struct Kilobyte;

impl Codec<u64> for Kilobyte {
    fn encode(&self, answer: &u64, record: &mut Vec<u8>) -> Option<()> {
        record.extend(answer.to_le_bytes());
        record.resize(record.len() + 1_016, 0);
        Some(())
    }

    fn decode(&self, record: Bytes) -> Option<u64> {
        let (number, _) = record.split_first_chunk()?;
        Some(u64::from_le_bytes(*number))
    }
}

/// No request has a key.
pub(super) fn unkeyed() -> Maker {
    let layer = IdempotencyLayer::new(by(|_: &u64| None, Kilobyte));
    of(layer.layer(Inner), driver::ready)
}

/// All requests have the same one.
pub(super) fn replayed() -> Maker {
    let known = (RecordKey::of(&[b"key"]), Fingerprint::of(b"payload"));
    let layer = IdempotencyLayer::new(by(move |_: &u64| Some(known), Kilobyte));
    of(layer.layer(Inner), driver::ready)
}

/// Each request has a new one.
pub(super) fn begun() -> Maker {
    let print = Fingerprint::of(b"payload");
    let key = move |call: &u64| Some((RecordKey::of(&[&call.to_le_bytes()]), print));
    let layer = IdempotencyLayer::new(by(key, Kilobyte));
    of(layer.layer(Inner), driver::ready)
}

/// The store alone: each call reserves a key of a table that stays as large, and
/// completes it.
pub(super) fn stored(keys: u64) -> Maker {
    let store = MemoryStore::default();
    let asks = (0..keys).map(|key| {
        let key = RecordKey::of(&[&key.to_le_bytes()]);
        Reserve::new(key, Fingerprint::of(b"payload"), Owner::new(1))
    });
    let asks: Arc<[Reserve]> = asks.collect();
    for ask in &asks[..] {
        begin_and_finish(&store, ask);
    }
    of(Stored { store, asks }, driver::ready)
}

#[derive(Debug, Clone)]
struct Stored {
    store: MemoryStore,
    asks: Arc<[Reserve]>,
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(said) => said,
        Poll::Pending => unreachable!("the memory store waits"),
    }
}

fn begin_and_finish(store: &MemoryStore, ask: &Reserve) {
    let Ok(Reservation::Granted { token, .. }) = now(store.reserve(*ask)) else {
        unreachable!("a key that is free was not granted");
    };
    // Over at once, so that the key is free the next time.
    let record = Bytes::from_static(b"done");
    let done = now(store.complete(ask.key, token, record, Duration::ZERO));
    std::hint::black_box(done).ok();
}

impl Service<u64> for Stored {
    type Response = u64;
    type Error = Error<Infallible>;
    type Future = Ready<Result<u64, Error<Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[allow(clippy::cast_possible_truncation)] // a remainder
    fn call(&mut self, call: u64) -> Self::Future {
        let at = call.wrapping_mul(7_919) as usize % self.asks.len();
        begin_and_finish(&self.store, &self.asks[at]);
        ready(Ok(call))
    }
}
