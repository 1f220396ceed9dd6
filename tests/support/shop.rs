//! A shop that takes orders with keys, over a store that fails as told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service};
use tower_keep::idempotency::{
    Completion, Fingerprint, GuardedBody, Handle, Http, Idempotency, IdempotencyLayer, MemoryStore,
    Policy, RecordKey, Reservation, Reserve, Store, Token,
};
use tower_keep::test_util::{Broken, Call, ManualClock, Script, ScriptBody, Watch, finish_on};
use tower_keep::{AsRejection, RejectionKind, Setup};

use super::{Fail, Inner, inner, response};

/// How a step of a store goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Well = 0,
    Fails,
    Hangs,
    Panics,
    /// It panics before there is a future.
    PanicsAtOnce,
    /// It does what it should, and then does not answer.
    HangsAfter,
}

const WAYS: [Way; 6] = [
    Way::Well,
    Way::Fails,
    Way::Hangs,
    Way::Panics,
    Way::PanicsAtOnce,
    Way::HangsAfter,
];

/// A memory store whose steps go as told, and which nobody tells of owners that are
/// gone: as a store in a database.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    pub(crate) inner: MemoryStore,
    ways: Arc<[AtomicUsize; 3]>,
    /// In place of the record of a completed key.
    pub(crate) nonsense: Arc<std::sync::Mutex<Option<Bytes>>>,
    /// The last record it was given.
    pub(crate) seen: Arc<std::sync::Mutex<Bytes>>,
}

pub(crate) const RESERVE: usize = 0;
pub(crate) const COMPLETE: usize = 1;
pub(crate) const RELEASE: usize = 2;

impl Faulty {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            ways: Arc::default(),
            nonsense: Arc::default(),
            seen: Arc::default(),
        }
    }

    pub(crate) fn go(&self, step: usize, way: Way) {
        self.ways[step].store(way as usize, Ordering::Relaxed);
    }

    async fn step<T>(&self, step: usize, take: impl Future<Output = T>) -> Result<T, Broken> {
        let way = WAYS[self.ways[step].load(Ordering::Relaxed)];
        match way {
            Way::Well | Way::PanicsAtOnce => Ok(take.await),
            Way::Fails => Err(Broken("store")),
            Way::Hangs => std::future::pending().await,
            Way::Panics => panic!("scripted panic of a store"),
            Way::HangsAfter => {
                take.await;
                std::future::pending().await
            }
        }
    }

    fn start(&self, step: usize) {
        let way = WAYS[self.ways[step].load(Ordering::Relaxed)];
        assert!(way != Way::PanicsAtOnce, "scripted panic of a store");
    }
}

impl Store for Faulty {
    type Error = Broken;

    fn reserve(&self, ask: Reserve) -> impl Future<Output = Result<Reservation, Broken>> + Send {
        self.start(RESERVE);
        async move {
            let said = self.step(RESERVE, self.inner.reserve(ask)).await?.unwrap();
            let nonsense = self.nonsense.lock().unwrap().clone();
            Ok(match (said, nonsense) {
                (Reservation::Completed(_), Some(nonsense)) => Reservation::Completed(nonsense),
                (said, _) => said,
            })
        }
    }

    fn complete(
        &self,
        key: RecordKey,
        token: Token,
        record: Bytes,
        retention: Duration,
    ) -> impl Future<Output = Result<Completion, Broken>> + Send {
        self.start(COMPLETE);
        async move {
            *self.seen.lock().unwrap() = record.clone();
            let take = self.inner.complete(key, token, record, retention);
            Ok(self.step(COMPLETE, take).await?.unwrap())
        }
    }

    fn release(
        &self,
        key: RecordKey,
        token: Token,
    ) -> impl Future<Output = Result<Completion, Broken>> + Send {
        self.start(RELEASE);
        async move {
            let take = self.inner.release(key, token);
            Ok(self.step(RELEASE, take).await?.unwrap())
        }
    }
}

/// What a client sees: status, body, whether it is a replay; or the refusal.
pub(crate) type Said = Result<(u16, Bytes, bool), RejectionKind>;

/// A shop whose orders go to a scripted service.
pub(crate) struct Shop<St = MemoryStore> {
    pub(crate) time: ManualClock,
    pub(crate) service: Idempotency<Inner, Http, St>,
    pub(crate) script: Script<Response<ScriptBody>, Fail>,
    pub(crate) watch: Watch,
    pub(crate) handle: Handle,
    pub(crate) store: St,
}

/// Who asks is in a header here: a real server has checked it before.
pub(crate) fn by_user() -> Http {
    Http::by(|parts| parts.headers.get("x-user").map(http::HeaderValue::as_bytes))
}

pub(crate) fn memory(time: &ManualClock) -> MemoryStore {
    MemoryStore::new(1_000, 1_000_000, time.clock()).unwrap()
}

impl Shop {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::with(policy, by_user(), memory)
    }
}

impl Shop<Faulty> {
    pub(crate) fn faulty(policy: Policy) -> Self {
        Self::with(policy, by_user(), |time| Faulty::new(memory(time)))
    }
}

impl<St: Store + Clone> Shop<St> {
    pub(crate) fn with(policy: Policy, http: Http, store: impl Fn(&ManualClock) -> St) -> Self {
        let time = ManualClock::new();
        let store = store(&time);
        let setup = Setup::named("orders").with_clock(time.clock());
        let layer = IdempotencyLayer::with(policy, http, store.clone(), setup);
        let (probe, script, watch) = inner(&time);
        Self {
            service: layer.layer(probe),
            script,
            watch,
            handle: layer.handle(),
            store,
            time,
        }
    }

    /// The next order is answered so.
    pub(crate) fn answers(&self, status: u16, text: &'static str) {
        let answer = response(&self.time, status, [super::data(text)]);
        self.script.then_call(Call::respond(answer));
    }

    pub(crate) fn call(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response<GuardedBody<ScriptBody>>, Fail>> + use<St> {
        let mut service = self.service.clone();
        async move { super::call(&mut service, request).await }
    }

    pub(crate) fn send(&self, request: Request<Full<Bytes>>) -> Said {
        let answer = finish_on(&self.time, async { said(self.call(request).await).await });
        answer.unwrap()
    }

    /// An order of this key, by one user.
    pub(crate) fn order(&self, key: &str, payload: &'static str) -> Said {
        self.send(order(key, payload))
    }

    /// How often an order had its effect.
    pub(crate) fn effects(&self) -> u64 {
        self.watch.counts().calls
    }

    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        self.watch.assert_quiet();
        assert_eq!(self.handle.snapshot().in_flight, 0);
    }
}

pub(crate) async fn said(answer: Result<Response<GuardedBody<ScriptBody>>, Fail>) -> Said {
    match answer {
        Ok(answer) => {
            let replayed = answer.headers().contains_key("idempotent-replayed");
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            Ok((status, body, replayed))
        }
        Err(error) => Err(error.as_rejection().unwrap().kind()),
    }
}

pub(crate) fn request(
    method: Method,
    path: &str,
    user: &str,
    key: &str,
    payload: &'static str,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("x-user", user)
        .header("idempotency-key", format!("\"{key}\""))
        .body(Full::from(payload))
        .unwrap()
}

pub(crate) fn order(key: &str, payload: &'static str) -> Request<Full<Bytes>> {
    request(Method::POST, "/orders", "ann", key, payload)
}

pub(crate) fn first(status: u16, body: &'static str) -> Said {
    Ok((status, Bytes::from(body), false))
}

pub(crate) fn replay(status: u16, body: &'static str) -> Said {
    Ok((status, Bytes::from(body), true))
}

/// A key for code that is no HTTP service.
pub(crate) fn message(id: &str) -> (RecordKey, Fingerprint) {
    let key = RecordKey::of(&[b"messages", id.as_bytes()]);
    (key, Fingerprint::of(id.as_bytes()))
}
