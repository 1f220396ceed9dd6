//! Requests that name their key in `Idempotency-Key`.

mod body;
mod collect;
mod field;
mod payload;
mod wire;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body;
use sha2::Digest;

pub use self::body::GuardedBody;
use self::payload::{Read, hasher, read};
use super::exchange::{Answers, Asked, Collected, Limits, Look, Requests};
use super::record::{Fingerprint, RecordKey, Token};
use crate::error::{Rejection, RejectionKind};
use crate::http::ReplayBody;
use crate::kernel::core::Core;

static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest field value that is looked at.
const LONGEST_FIELD: usize = 1024;

type Who = dyn Fn(&Parts) -> Option<&[u8]> + Send + Sync;
type Covers = dyn Fn(&str) -> bool + Send + Sync;
type Derive = dyn Fn(&Parts, &[u8]) -> Option<Vec<u8>> + Send + Sync;
type Print = dyn Fn(&Parts, &[u8]) -> Fingerprint + Send + Sync;

/// Guards HTTP requests by the field `Idempotency-Key`
/// (draft-ietf-httpapi-idempotency-key-header): a String of RFC 9651 of up to 255
/// bytes, not empty. All other fields than one such are refused with 400, before
/// anything is stored.
///
/// The record's key consists of who asks, the operation and its version, the method,
/// the path and the field's string: none of them is shared with any other. What is
/// asked for is told by SHA-256 over method, path with query, and body.
///
/// The inner service gets the body as a [`ReplayBody`], and its fencing [`Token`] in
/// the request's extensions. A replayed answer has the field
/// `Idempotent-Replayed: true`, and all fields of the first one but those that belong
/// to one connection, one moment or one client: hop-by-hop fields (RFC 9110, section
/// 7.6.1), `Date`, `Age`, `Alt-Svc`, `Set-Cookie`, `WWW-Authenticate`,
/// `Proxy-Authenticate`, `Authentication-Info`, `Server-Timing`.
#[derive(Clone)]
pub struct Http(Arc<Rules>);

#[derive(Clone)]
struct Rules {
    who: Option<Arc<Who>>,
    operation: Vec<u8>,
    version: u32,
    methods: Vec<Method>,
    covers: Option<Arc<Covers>>,
    required: bool,
    lenient: bool,
    derive: Option<Arc<Derive>>,
    print: Option<Arc<Print>>,
    unreplayed: Vec<HeaderName>,
}

impl Http {
    /// Keys belong to who asks: **something that the server has checked**, such as
    /// the user of a session that an authenticating layer outside has put into the
    /// extensions. A request of which it is not known is refused with 400.
    #[must_use]
    pub fn by<F>(who: F) -> Self
    where
        F: Fn(&Parts) -> Option<&[u8]> + Send + Sync + 'static,
    {
        Self::new(Some(Arc::new(who)))
    }

    /// Keys belong to all who ask alike. For services with one client: **any other
    /// who guesses a key and its payload reads its answer.**
    #[must_use]
    pub fn shared() -> Self {
        Self::new(None)
    }

    fn new(who: Option<Arc<Who>>) -> Self {
        Self(Arc::new(Rules {
            who,
            operation: Vec::new(),
            version: 0,
            methods: vec![Method::POST, Method::PATCH],
            covers: None,
            required: false,
            lenient: false,
            derive: None,
            print: None,
            unreplayed: Vec::new(),
        }))
    }

    fn set(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The operation, and the version of what its payloads mean: with another one,
    /// the same key is a new request. By default an empty name, and 0.
    #[must_use]
    pub fn operation(self, name: &str, version: u32) -> Self {
        self.set(|rules| {
            rules.operation = name.into();
            rules.version = version;
        })
    }

    /// The methods that are guarded: by default `POST` and `PATCH`, which are not
    /// idempotent by themselves (RFC 9110, section 9.2.2).
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.set(|rules| rules.methods = methods.into_iter().collect())
    }

    /// The paths that are guarded: by default all.
    #[must_use]
    pub fn paths(self, covers: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.set(|rules| rules.covers = Some(Arc::new(covers)))
    }

    /// Refuses requests without a key, with 400. By default they are not guarded.
    #[must_use]
    pub fn required(self) -> Self {
        self.set(|rules| rules.required = true)
    }

    /// Takes keys without quotes, too, as many clients send them: visible ASCII
    /// without quotes, commas and semicolons.
    #[must_use]
    pub fn lenient(self) -> Self {
        self.set(|rules| rules.lenient = true)
    }

    /// The key of requests without the field, from the business key in head and body:
    /// an order's number and version, not a time. Nothing: the request has none.
    #[must_use]
    pub fn derived<F>(self, derive: F) -> Self
    where
        F: Fn(&Parts, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
    {
        self.set(|rules| rules.derive = Some(Arc::new(derive)))
    }

    /// What the payload is told from others by, in place of method, path, query and
    /// all of the body: for bodies that say the same in several ways.
    #[must_use]
    pub fn fingerprint<F>(self, print: F) -> Self
    where
        F: Fn(&Parts, &[u8]) -> Fingerprint + Send + Sync + 'static,
    {
        self.set(|rules| rules.print = Some(Arc::new(print)))
    }

    /// More headers that are not replayed.
    #[must_use]
    pub fn not_replaying(self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.set(|rules| rules.unreplayed.extend(headers))
    }
}

impl Rules {
    /// The string of the field; nothing if there is none.
    fn key(&self, headers: &http::HeaderMap) -> Result<Option<Vec<u8>>, RejectionKind> {
        let mut values = headers.get_all(&KEY).iter();
        let Some(value) = values.next() else {
            return match self.required && self.derive.is_none() {
                true => Err(RejectionKind::KeyRequired),
                false => Ok(None),
            };
        };
        let value = value.as_bytes();
        if values.next().is_some() || value.len() > LONGEST_FIELD {
            return Err(RejectionKind::KeyInvalid);
        }
        let key = match self.lenient {
            true => field::lenient(value),
            false => field::strict(value),
        };
        key.filter(|key| (1..=field::LONGEST).contains(&key.len()))
            .map(Some)
            .ok_or(RejectionKind::KeyInvalid)
    }

    fn record_key(&self, parts: &Parts, who: &[u8], named: Named, key: &[u8]) -> RecordKey {
        let shared = [
            u8::from(self.who.is_none()),
            u8::from(named == Named::Derived),
        ];
        RecordKey::of(&[
            b"tower-keep idempotency 1",
            &shared,
            &self.operation,
            &self.version.to_le_bytes(),
            who,
            parts.method.as_str().as_bytes(),
            parts.uri.path().as_bytes(),
            key,
        ])
    }
}

/// Where a key comes from: what a client names is never what is derived.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Field,
    Derived,
}

/// A request with its key, if it names one.
#[derive(Debug)]
pub struct Keyed<B> {
    request: Request<B>,
    key: Option<Vec<u8>>,
}

impl<Q> Requests<Request<Q>> for Http
where
    Q: Body<Data: Send, Error: Send> + Send + Unpin + 'static,
{
    type Request = Request<ReplayBody<Q>>;
    type Keyed = Keyed<Q>;

    #[inline]
    fn look(&self, request: Request<Q>, core: &Core) -> Look<Self::Request, Keyed<Q>> {
        let rules = &*self.0;
        if !rules.methods.contains(request.method()) {
            return Look::Pass(request.map(ReplayBody::plain));
        }
        if let Some(covers) = &rules.covers {
            match core.contain("paths", || covers(request.uri().path())) {
                Some(true) => {}
                Some(false) => return Look::Pass(request.map(ReplayBody::plain)),
                None => return Look::Refuse(RejectionKind::KeyInvalid),
            }
        }
        match rules.key(request.headers()) {
            Ok(None) if rules.derive.is_none() => Look::Pass(request.map(ReplayBody::plain)),
            Ok(key) => Look::Guard(Keyed { request, key }),
            Err(kind) => Look::Refuse(kind),
        }
    }

    async fn ask(&self, keyed: Keyed<Q>, most: usize, core: &Core) -> Asked<Self::Request> {
        let rules = &*self.0;
        let (parts, body) = keyed.request.into_parts();
        let who = match &rules.who {
            None => Some(&[][..]),
            Some(who) => core.contain("principal", || who(&parts)).flatten(),
        };
        let Some(who) = who else {
            return Asked::Refuse(RejectionKind::BadKey);
        };
        let keeps = rules.print.is_some() || keyed.key.is_none();
        let start = match keeps {
            true => Read::Kept(Vec::new()),
            false => Read::Hashed(hasher(&parts)),
        };
        let (body, read) = match read(body, most, start).await {
            Ok(read) => read,
            Err(kind) => return Asked::Refuse(kind),
        };
        let kept = match &read {
            Read::Kept(kept) => &kept[..],
            Read::Hashed(_) => &[],
        };
        let key = match (&keyed.key, &rules.derive) {
            (Some(key), _) => rules.record_key(&parts, who, Named::Field, key),
            (None, Some(derive)) => match core.contain("derived key", || derive(&parts, kept)) {
                Some(Some(key)) => rules.record_key(&parts, who, Named::Derived, &key),
                Some(None) if rules.required => return Asked::Refuse(RejectionKind::KeyRequired),
                Some(None) => return Asked::Pass(Request::from_parts(parts, body)),
                None => return Asked::Refuse(RejectionKind::KeyInvalid),
            },
            (None, None) => return Asked::Refuse(RejectionKind::KeyRequired),
        };
        let print = match (&rules.print, read) {
            (Some(print), Read::Kept(kept)) => {
                match core.contain("fingerprint", || print(&parts, &kept)) {
                    Some(print) => print,
                    None => return Asked::Refuse(RejectionKind::KeyInvalid),
                }
            }
            (_, Read::Hashed(hasher)) => Fingerprint::of_hasher(hasher),
            (None, Read::Kept(kept)) => Fingerprint::of_hasher(hasher(&parts).chain_update(&kept)),
        };
        Asked::Guard(key, print, Request::from_parts(parts, body))
    }

    fn bare(&self, request: Request<Q>) -> Self::Request {
        request.map(ReplayBody::plain)
    }

    fn fence(&self, request: &mut Self::Request, token: Token) {
        request.extensions_mut().insert(token);
    }
}

impl<B> Answers<Response<B>> for Http
where
    B: Body<Data: Send, Error: Send> + Send + Unpin + 'static,
{
    type Response = Response<GuardedBody<B>>;

    fn is_refusal(&self, answer: &Response<B>) -> bool {
        let refused = answer.extensions().get::<Rejection>();
        refused.is_some_and(|rejection| !rejection.reached_inner())
    }

    #[inline]
    fn pass(&self, answer: Response<B>) -> Self::Response {
        answer.map(GuardedBody::plain)
    }

    async fn collect(
        &self,
        answer: Response<B>,
        record: Vec<u8>,
        limits: Limits,
        _: &Core,
    ) -> Collected<Self::Response> {
        collect::collect(answer, record, limits, &self.0.unreplayed).await
    }

    fn replay(&self, record: Bytes) -> Option<Self::Response> {
        let (answer, trailers) = wire::read(record)?;
        let mut answer = answer.map(|body| GuardedBody::recorded(body, trailers));
        let mark = HeaderValue::from_static("true");
        answer.headers_mut().insert(&REPLAYED, mark);
        Some(answer)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("operation", &String::from_utf8_lossy(&self.0.operation))
            .field("version", &self.0.version)
            .field("methods", &self.0.methods)
            .field("required", &self.0.required)
            .field("lenient", &self.0.lenient)
            .finish_non_exhaustive()
    }
}
