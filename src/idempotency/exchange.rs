//! What a guard needs to know of requests and answers.

use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;

use bytes::Bytes;
use tower_service::Service;

use super::policy::Streams;
use super::record::{Fingerprint, RecordKey, Token};
use crate::clock::{Clock, Tick};
use crate::error::RejectionKind;
use crate::kernel::core::Core;

/// How requests are known: by `Http`, or [`By`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell the key of `{Req}`",
    label = "no key for this request",
    note = "`idempotency::Http` guards `http::Request<B>` where `B: Body + Send + Unpin + 'static`; `idempotency::by(key, codec)` guards others"
)]
pub trait Requests<Req>: Clone + Send + Sync + 'static {
    /// What the inner service is called with.
    type Request: Send + 'static;
    /// A request that is to be guarded.
    type Keyed: Send + 'static;

    /// Whether the request is to be guarded.
    fn look(&self, request: Req, core: &Core) -> Look<Self::Request, Self::Keyed>;

    /// Under which key, and what it asks for; bodies up to `most` bytes.
    fn ask(
        &self,
        keyed: Self::Keyed,
        most: usize,
        core: &Core,
    ) -> impl Future<Output = Asked<Self::Request>> + Send;

    /// The request as it comes.
    fn bare(&self, request: Req) -> Self::Request;

    /// Tells the handler of its fencing token.
    fn fence(&self, request: &mut Self::Request, token: Token);
}

/// How answers are kept: by `Http`, or [`By`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep the answer `{Res}`",
    label = "no record of this answer",
    note = "`idempotency::Http` keeps `http::Response<B>` where `B: Body + Send + Unpin + 'static`; `idempotency::by(key, codec)` keeps what its codec knows"
)]
pub trait Answers<Res>: Send + Sync + 'static {
    /// What the caller gets.
    type Response: Send + 'static;

    /// Whether a layer inside has refused, and the handler was not called.
    fn is_refusal(&self, answer: &Res) -> bool;

    /// The answer as it came.
    fn pass(&self, answer: Res) -> Self::Response;

    /// Appends the answer to the record.
    fn collect(
        &self,
        answer: Res,
        record: Vec<u8>,
        limits: Limits,
        core: &Core,
    ) -> impl Future<Output = Collected<Self::Response>> + Send;

    /// The answer of a record; nothing if it is none.
    fn replay(&self, record: Bytes) -> Option<Self::Response>;
}

/// What the inner service is called with.
pub(super) type Sent<X, Req> = <X as Requests<Req>>::Request;
/// What it answers.
pub(super) type Got<S, X, Req> = <S as Service<Sent<X, Req>>>::Response;
/// What the caller gets.
pub(super) type Given<S, X, Req> = <X as Answers<Got<S, X, Req>>>::Response;

/// A first look at a request.
#[derive(Debug)]
pub enum Look<Req, Keyed> {
    /// It is not guarded.
    Pass(Req),
    /// It is.
    Guard(Keyed),
    /// It must not run.
    Refuse(RejectionKind),
}

/// A second look, at the body too.
#[derive(Debug)]
pub enum Asked<Req> {
    /// It is not guarded after all.
    Pass(Req),
    /// It is, under this key.
    Guard(RecordKey, Fingerprint, Req),
    /// It must not run.
    Refuse(RejectionKind),
}

/// An answer that was read.
#[derive(Debug)]
pub enum Collected<Res> {
    /// To its end.
    Record(Vec<u8>, Res),
    /// Not to its end: it is no answer that can be recorded.
    Not(Res),
    /// It broke off.
    Broken(Res),
}

/// Bounds on reading an answer.
#[derive(Debug)]
pub struct Limits {
    pub(super) most: usize,
    pub(super) streams: Streams,
    pub(super) clock: Clock,
    pub(super) until: Tick,
}

/// Makes records of answers, and answers of records.
///
/// One that panics is counted, and the answer is not recorded, or the record is
/// taken for broken.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make records of `{T}`",
    note = "`idempotency::Plain` does of `()`, `Bytes`, `Vec<u8>` and `String`; for others implement `Codec<{T}>`"
)]
pub trait Codec<T>: Send + Sync {
    /// Appends the answer to a record; `None` if it is not to be recorded.
    fn encode(&self, answer: &T, record: &mut Vec<u8>) -> Option<()>;

    /// The answer of a record; `None` if it is none.
    fn decode(&self, record: Bytes) -> Option<T>;
}

impl<T, C: Codec<T> + ?Sized> Codec<T> for Arc<C> {
    fn encode(&self, answer: &T, record: &mut Vec<u8>) -> Option<()> {
        (**self).encode(answer, record)
    }

    fn decode(&self, record: Bytes) -> Option<T> {
        (**self).decode(record)
    }
}

/// Records of answers that are bytes, or nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plain;

impl Codec<()> for Plain {
    fn encode(&self, (): &(), _: &mut Vec<u8>) -> Option<()> {
        Some(())
    }

    fn decode(&self, record: Bytes) -> Option<()> {
        record.is_empty().then_some(())
    }
}

macro_rules! plain {
    ($($bytes:ty: $from:expr;)*) => { $(
        impl Codec<$bytes> for Plain {
            fn encode(&self, answer: &$bytes, record: &mut Vec<u8>) -> Option<()> {
                record.extend_from_slice(answer.as_ref());
                Some(())
            }

            fn decode(&self, record: Bytes) -> Option<$bytes> {
                $from(record)
            }
        }
    )* };
}

plain! {
    Bytes: Some;
    Vec<u8>: |record: Bytes| Some(record.into());
    String: |record: Bytes| String::from_utf8(record.into()).ok();
}

/// Guards requests of any type; see [`by`].
#[derive(Clone)]
pub struct By<K, C> {
    key: K,
    codec: C,
}

/// Guards requests of which `key` knows key and payload, and keeps their answers by
/// `codec`; a request without one is not guarded. A key that panics refuses the
/// request.
pub fn by<Req, K, C>(key: K, codec: C) -> By<K, C>
where
    K: Fn(&Req) -> Option<(RecordKey, Fingerprint)>,
{
    By { key, codec }
}

impl<K, C> fmt::Debug for By<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("By")
    }
}

impl<Req, K, C> Requests<Req> for By<K, C>
where
    Req: Send + 'static,
    K: Fn(&Req) -> Option<(RecordKey, Fingerprint)> + Clone + Send + Sync + 'static,
    C: Clone + Send + Sync + 'static,
{
    type Request = Req;
    type Keyed = (RecordKey, Fingerprint, Req);

    #[inline]
    fn look(&self, request: Req, core: &Core) -> Look<Req, Self::Keyed> {
        match core.contain("key", || (self.key)(&request)) {
            Some(Some((key, print))) => Look::Guard((key, print, request)),
            Some(None) => Look::Pass(request),
            None => Look::Refuse(RejectionKind::KeyInvalid),
        }
    }

    fn ask(
        &self,
        (key, print, request): Self::Keyed,
        _: usize,
        _: &Core,
    ) -> impl Future<Output = Asked<Req>> + Send {
        ready(Asked::Guard(key, print, request))
    }

    fn bare(&self, request: Req) -> Req {
        request
    }

    fn fence(&self, _: &mut Req, _: Token) {}
}

impl<Res, K, C> Answers<Res> for By<K, C>
where
    Res: Send + 'static,
    K: Send + Sync + 'static,
    C: Codec<Res> + 'static,
{
    type Response = Res;

    fn is_refusal(&self, _: &Res) -> bool {
        false
    }

    #[inline]
    fn pass(&self, answer: Res) -> Res {
        answer
    }

    fn collect(
        &self,
        answer: Res,
        mut record: Vec<u8>,
        _: Limits,
        core: &Core,
    ) -> impl Future<Output = Collected<Res>> + Send {
        let encoded = core.contain("codec", || self.codec.encode(&answer, &mut record));
        ready(match encoded.flatten() {
            Some(()) => Collected::Record(record, answer),
            None => Collected::Not(answer),
        })
    }

    fn replay(&self, record: Bytes) -> Option<Res> {
        self.codec.decode(record)
    }
}
