//! Keys of HTTP requests; re-exported by [`crate::key`].

use std::net::IpAddr;

use http::{HeaderName, Request};

use super::client_ip::ClientIp;
use crate::key::{Key, KeyHasher, NoKey};

/// The key is the value of a header; see [`header`].
#[derive(Clone, Debug)]
pub struct HeaderKey(HeaderName);

/// The key is the value of the header `name`, any bytes. Without the header, or with an empty
/// one, the request has no key.
///
/// Of several lines the first counts, as it does for `HeaderMap::get`: a caller who adds lines
/// behind the one that identifies him does not get a new key.
#[must_use]
pub const fn header(name: HeaderName) -> HeaderKey {
    HeaderKey(name)
}

impl<B> Key<Request<B>> for HeaderKey {
    #[inline]
    fn key(&self, request: &Request<B>, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        match request.headers().get(&self.0) {
            Some(value) if !value.is_empty() => hasher.bytes(value.as_bytes()),
            _ => Err(NoKey::Missing),
        }
    }
}

/// The key is the path; see [`path`].
#[derive(Copy, Clone, Debug, Default)]
pub struct PathKey;

/// The key is the path of the URI as it was sent, without the query.
///
/// Callers choose paths freely: use it where the router has already refused unknown ones, or a
/// caller gets as many keys as he can invent paths.
#[must_use]
pub const fn path() -> PathKey {
    PathKey
}

impl<B> Key<Request<B>> for PathKey {
    #[inline]
    fn key(&self, request: &Request<B>, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        hasher.bytes(request.uri().path().as_bytes())
    }
}

/// The key is the method; see [`method`].
#[derive(Copy, Clone, Debug, Default)]
pub struct MethodKey;

/// The key is the method. On its own it is of little use; it goes into tuples.
#[must_use]
pub const fn method() -> MethodKey {
    MethodKey
}

impl<B> Key<Request<B>> for MethodKey {
    #[inline]
    fn key(&self, request: &Request<B>, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        hasher.bytes(request.method().as_str().as_bytes())
    }
}

/// The key is the client's address; see [`client_ip`].
#[derive(Clone, Debug)]
pub struct ClientIpKey(ClientIp);

/// The key is the client's address as `ip` finds it, IPv6 addresses grouped by its prefix.
/// Without a peer address the request has no key; by default a throttle then counts it for one
/// bucket that all such requests share. If *all* requests share it, the server does not tell the
/// peer's address: see [`ClientIp`].
#[must_use]
pub const fn client_ip(ip: ClientIp) -> ClientIpKey {
    ClientIpKey(ip)
}

impl<B> Key<Request<B>> for ClientIpKey {
    #[inline]
    fn key(&self, request: &Request<B>, hasher: &mut KeyHasher) -> Result<(), NoKey> {
        match self.0.group(self.0.of(request).ok_or(NoKey::Missing)?) {
            IpAddr::V4(ip) => hasher.bytes(&ip.octets()),
            IpAddr::V6(ip) => hasher.bytes(&ip.octets()),
        }
    }
}
