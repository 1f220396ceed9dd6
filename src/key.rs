//! Who a request counts for, and how much: [`Key`] and [`Cost`](cost::Cost).
//!
//! A keyed pattern keeps one state per *key*: an API key, a tenant, a client address, a path. An
//! extractor reads the key out of the request and feeds it to a [`KeyHasher`]; what is stored is
//! only the [`KeyId`], a 64-bit SipHash-1-3 under a random key that belongs to one [`KeySpace`]: the
//! hash that the standard library trusts with its maps. So memory per key is fixed, no secret is
//! kept, and nobody outside the process can choose two keys that collide. Chance can: two of a
//! million keys share a state once in 37 million runs, two of ten million once in 370,000. A
//! throttle or a breaker bears that; what must not, such as the record of a payment, compares more.
//!
//! | extractor | key |
//! |---|---|
//! | [`Global`] | one for all requests |
//! | [`bytes()`] | bytes that a closure borrows from the request |
//! | [`value`] | anything `Hash` that a closure returns |
//! | `(A, B)`, `(A, B, C)` | the combination; `("ab", "c")` is not `("a", "bc")` |
//! | `header`, `path`, `method`, `client_ip` | parts of an HTTP request (feature `http`) |
//!
//! ```
//! use tower_keep::key::{self, KeySpace, NoKey};
//!
//! struct Job {
//!     tenant: String,
//!     shard: Option<u32>,
//! }
//!
//! let per_tenant = key::bytes(|job: &Job| Some(job.tenant.as_bytes()));
//! let per_shard = key::value(|job: &Job| job.shard);
//!
//! let space = KeySpace::new();
//! let job = Job { tenant: "acme".into(), shard: None };
//! assert!(space.id(&per_tenant, &job).is_ok());
//! assert_eq!(space.id(&(per_tenant, per_shard), &job), Err(NoKey::Missing));
//! ```

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip::SipHasher13;

#[cfg(feature = "http")]
pub use crate::http::key::{
    ClientIpKey, HeaderKey, MethodKey, PathKey, client_ip, header, method, path,
};

pub mod cost;
#[cfg(test)]
mod tests;

/// What is stored of a key: a keyed 64-bit hash.
///
/// Equal keys in one [`KeySpace`] give equal ids; ids of two spaces have nothing in common. Two
/// different keys share an id with a probability of about n²/2⁶⁵ among n keys.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

impl KeyId {
    /// The bits of the id.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The id of these bits.
    pub(crate) const fn new(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({:016x})", self.0)
    }
}

/// Why a request has no [`KeyId`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NoKey {
    /// The request does not carry this key.
    #[error("the request has no key")]
    Missing,
    /// The key is longer than the [`KeySpace`] allows. Nothing of it was stored.
    #[error("the key of the request is too long")]
    TooLong,
}

/// The domain of one keyed layer's ids: a random hash key, and the longest key it accepts.
///
/// Clones share the hash key, so they give the same ids.
#[derive(Clone)]
pub struct KeySpace {
    seed: (u64, u64),
    max_len: usize,
}

impl KeySpace {
    /// The longest key unless [`with_max_len`](Self::with_max_len) says otherwise: 1 KiB.
    pub const DEFAULT_MAX_LEN: usize = 1024;

    /// A space with 128 fresh random bits as its hash key.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seed: rand::random(),
            max_len: Self::DEFAULT_MAX_LEN,
        }
    }

    /// Sets the longest key in bytes, all parts of a tuple together. Default 1,024; any value is
    /// valid, and 0 accepts only empty keys.
    #[must_use]
    pub const fn with_max_len(mut self, bytes: usize) -> Self {
        self.max_len = bytes;
        self
    }

    /// The id of `request` by the extractor `key`. Allocates nothing unless the extractor does.
    ///
    /// # Errors
    /// [`NoKey::Missing`] if the extractor finds no key, [`NoKey::TooLong`] if the key is over
    /// the limit of this space.
    #[inline]
    pub fn id<K, Req>(&self, key: &K, request: &Req) -> Result<KeyId, NoKey>
    where
        K: Key<Req> + ?Sized,
        Req: ?Sized,
    {
        let mut hasher = KeyHasher {
            sip: SipHasher13::new_with_keys(self.seed.0, self.seed.1),
            left: self.max_len,
        };
        key.key(request, &mut hasher)?;
        Ok(KeyId(hasher.sip.finish()))
    }
}

impl Default for KeySpace {
    /// [`KeySpace::new`]: each default space has its own random hash key.
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeySpace {
    // The seed stays out: with it, collisions can be chosen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySpace")
            .field("max_len", &self.max_len)
            .finish_non_exhaustive()
    }
}

/// Takes the parts of a key, one call per part; parts cannot run into each other.
pub struct KeyHasher {
    sip: SipHasher13,
    left: usize,
}

impl KeyHasher {
    /// Adds `part` to the key.
    ///
    /// # Errors
    /// [`NoKey::TooLong`] if the whole key is now over the limit of its [`KeySpace`].
    #[inline]
    pub fn bytes(&mut self, part: &[u8]) -> Result<(), NoKey> {
        self.part(|framed| framed.write(part))
    }

    /// Adds what `part` feeds to a hasher to the key.
    ///
    /// # Errors
    /// [`NoKey::TooLong`] if the whole key is now over the limit of its [`KeySpace`].
    #[inline]
    pub fn value<T: Hash + ?Sized>(&mut self, part: &T) -> Result<(), NoKey> {
        self.part(|framed| part.hash(framed))
    }

    #[inline]
    fn part(&mut self, write: impl FnOnce(&mut Framed<'_>)) -> Result<(), NoKey> {
        let mut framed = Framed {
            hasher: self,
            len: 0,
            over: false,
        };
        write(&mut framed);
        let Framed { len, over, .. } = framed;
        if over {
            return Err(NoKey::TooLong);
        }
        // The length goes last, as it is not known before: read from its end, the sequence of
        // parts is unambiguous. One byte for a short part, as SipHash has room for that after a
        // part of whole words; frames do not count towards the limit.
        match u8::try_from(len) {
            Ok(len) if len != LONG => self.sip.write_u8(len),
            _ => {
                self.sip.write_u64(len);
                self.sip.write_u8(LONG);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// In place of a length: eight bytes of it stand before this one.
const LONG: u8 = u8::MAX;

/// One part on its way in: counts its bytes and stops hashing at the limit.
struct Framed<'a> {
    hasher: &'a mut KeyHasher,
    len: u64,
    over: bool,
}

impl Framed<'_> {
    #[inline]
    fn count(&mut self, bytes: usize, write: impl FnOnce(&mut SipHasher13)) {
        match self.hasher.left.checked_sub(bytes) {
            Some(left) if !self.over => {
                self.hasher.left = left;
                self.len = self.len.saturating_add(bytes as u64);
                write(&mut self.hasher.sip);
            }
            _ => self.over = true,
        }
    }
}

impl Hasher for Framed<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.count(bytes.len(), |sip| sip.write(bytes));
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.count(8, |sip| sip.write_u64(number));
    }

    fn finish(&self) -> u64 {
        self.hasher.sip.finish()
    }
}

/// Reads the key of a request.
///
/// The [module](self) lists the ready-made ones. An extractor runs once per request, on the admit
/// path: it should neither block nor allocate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot read a key from `{Req}`",
    label = "not a key extractor for this request type",
    note = "wrap a closure: `key::bytes(|r: &{Req}| Some(..bytes borrowed from r..))` or `key::value(|r: &{Req}| Some(..anything that is Hash..))`",
    note = "`key::header`, `key::path`, `key::method` and `key::client_ip` read `http::Request<B>` only"
)]
pub trait Key<Req: ?Sized> {
    /// Feeds the key of `request` to `hasher`.
    ///
    /// # Errors
    /// [`NoKey::Missing`] if the request has no such key; [`NoKey::TooLong`] comes from the
    /// hasher and is passed on.
    fn key(&self, request: &Req, hasher: &mut KeyHasher) -> Result<(), NoKey>;
}

impl<Req: ?Sized, K: Key<Req> + ?Sized> Key<Req> for Arc<K> {
    fn key(&self, request: &Req, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        (**self).key(request, hasher)
    }
}

impl<Req: ?Sized, A: Key<Req>, B: Key<Req>> Key<Req> for (A, B) {
    #[inline]
    fn key(&self, request: &Req, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        self.0.key(request, hasher)?;
        self.1.key(request, hasher)
    }
}

impl<Req: ?Sized, A: Key<Req>, B: Key<Req>, C: Key<Req>> Key<Req> for (A, B, C) {
    #[inline]
    fn key(&self, request: &Req, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        self.0.key(request, hasher)?;
        self.1.key(request, hasher)?;
        self.2.key(request, hasher)
    }
}

/// One key for all requests.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Global;

impl<Req: ?Sized> Key<Req> for Global {
    #[inline]
    fn key(&self, _: &Req, _: &mut KeyHasher) -> Result<(), NoKey> {
        Ok(())
    }
}

/// A key that a closure borrows from the request; see [`bytes()`].
#[derive(Copy, Clone)]
pub struct Bytes<F>(F);

/// The key is what `f` borrows from the request; `None` is [`NoKey::Missing`].
pub const fn bytes<Req, F>(f: F) -> Bytes<F>
where
    F: Fn(&Req) -> Option<&[u8]>,
    Req: ?Sized,
{
    Bytes(f)
}

impl<Req, F> Key<Req> for Bytes<F>
where
    F: Fn(&Req) -> Option<&[u8]>,
    Req: ?Sized,
{
    #[inline]
    fn key(&self, request: &Req, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        hasher.bytes((self.0)(request).ok_or(NoKey::Missing)?)
    }
}

impl<F> fmt::Debug for Bytes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes").finish_non_exhaustive()
    }
}

/// A key that a closure computes; see [`value`].
#[derive(Copy, Clone)]
pub struct Value<F>(F);

/// The key is what `f` returns, by its `Hash`; `None` is [`NoKey::Missing`].
pub const fn value<Req, T, F>(f: F) -> Value<F>
where
    F: Fn(&Req) -> Option<T>,
    T: Hash,
    Req: ?Sized,
{
    Value(f)
}

impl<Req, T, F> Key<Req> for Value<F>
where
    F: Fn(&Req) -> Option<T>,
    T: Hash,
    Req: ?Sized,
{
    #[inline]
    fn key(&self, request: &Req, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        hasher.value(&(self.0)(request).ok_or(NoKey::Missing)?)
    }
}

impl<F> fmt::Debug for Value<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").finish_non_exhaustive()
    }
}
