//! What a proxy must do to header fields (RFC 9110 section 7.6, RFC 7239).
//!
//! A field that describes one connection is a lie on the next one, and sometimes an attack: what
//! `Connection` lists, and the fields known to be hop-by-hop, never cross the gateway.

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use axum::http::request::Parts;
use axum::http::{Uri, Version};
use std::net::{IpAddr, SocketAddr};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether `text` is a token of RFC 9110.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// The members of a comma-separated field, over all of its lines.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    members(headers, name).any(|found| found.eq_ignore_ascii_case(member))
}

/// Removes everything that belongs to the connection the message came on.
///
/// `Trailer` stays: it announces fields of the content, which the gateway passes on.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = members(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        // A sender must not list these: without them a body would end elsewhere, or a loop go on.
        .filter(|name| ![HOST, CONTENT_LENGTH, VIA].contains(name))
        .collect();
    for name in listed {
        headers.remove(name);
    }
    // With both, the length is not the body's and must not be forwarded (RFC 9112 section 6.3).
    if headers.remove(TRANSFER_ENCODING).is_some() {
        headers.remove(CONTENT_LENGTH);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

/// The protocol a client asks to switch to, if it really asks.
///
/// `h2c` is not one: it would have to be spoken by the gateway itself, which needs no upgrade.
pub(crate) fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    if parts.version != Version::HTTP_11 || !lists(&parts.headers, &CONNECTION, "upgrade") {
        return None;
    }
    let value = parts.headers.get(UPGRADE)?;
    let asks_h2c = members(&parts.headers, &UPGRADE).any(|name| name.eq_ignore_ascii_case("h2c"));
    (!asks_h2c).then(|| value.clone())
}

pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    append(headers, CONNECTION, "upgrade");
    headers.insert(UPGRADE, protocol);
}

/// The host a request is for: the target's own, else `Host`. `Err` says why there is none.
pub(crate) fn host(parts: &Parts) -> Result<Option<String>, &'static str> {
    let mut values = parts.headers.get_all(HOST).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err("more than one Host field");
    }
    if let Some(authority) = parts.uri.authority() {
        return Ok(Some(authority.as_str().to_owned()));
    }
    match first.map(HeaderValue::to_str) {
        Some(Ok(host)) if !host.contains(['/', '@', '"', '\\', ' ', ',']) => {
            Ok((!host.is_empty()).then(|| host.to_owned()))
        }
        Some(_) => Err("the Host field is not a host"),
        None if parts.version == Version::HTTP_11 => Err("HTTP/1.1 needs a Host field"),
        None => Ok(None),
    }
}

/// Adds a member to a comma-separated field, after those of the proxies before.
fn append(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let mut value: Vec<u8> = Vec::new();
    for line in headers.get_all(&name) {
        value.extend_from_slice(line.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(name, value);
    }
}

fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

/// Tells the upstream who asked, how, and for which host.
pub(crate) fn forwarded(
    headers: &mut HeaderMap,
    peer: Option<SocketAddr>,
    host: Option<&str>,
    name: &str,
) {
    let ip = peer.map(|peer| peer.ip().to_canonical());
    let mut member = format!("for={}", ip.map_or_else(|| "unknown".to_owned(), node));
    if let Some(host) = host {
        if is_token(host) {
            member.push_str(&format!(";host={host}"));
        } else {
            member.push_str(&format!(";host=\"{host}\""));
        }
        append(headers, X_FORWARDED_HOST, host);
    }
    member.push_str(&format!(";proto=http;by=_{}", obfuscated(name)));
    append(headers, FORWARDED, &member);
    if let Some(ip) = ip {
        append(headers, X_FORWARDED_FOR, &ip.to_string());
    }
    append(headers, X_FORWARDED_PROTO, "http");
}

/// `name` in the smaller alphabet of an obfuscated identifier (RFC 7239 section 6.3).
fn obfuscated(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '.' | '_' | '-' => c,
            c if c.is_ascii_alphanumeric() => c,
            _ => '_',
        })
        .collect()
}

pub(crate) fn via(headers: &mut HeaderMap, version: Version, name: &str) {
    let version = match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    append(headers, VIA, &format!("{version} {name}"));
}

/// Whether this very gateway has seen the request before.
pub(crate) fn is_loop(headers: &HeaderMap, name: &str) -> bool {
    members(headers, &VIA).any(|member| member.split_whitespace().nth(1) == Some(name))
}

/// The id to follow a request by: the client's when it is usable, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=@".contains(b))
    };
    if let Some(kept) = headers.get(REQUEST_ID).filter(usable) {
        return kept.clone();
    }
    HeaderValue::try_from(format!("{:032x}", rand::random::<u128>()))
        .unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Makes the header of a request fit for an upstream that speaks `version`.
pub(crate) fn adapt_request(headers: &mut HeaderMap, trailers: bool, from: Version, to: Version) {
    // The client writes the host of the target itself.
    headers.remove(HOST);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if to != Version::HTTP_2 {
            append(headers, CONNECTION, "te");
        }
    }
    // HTTP/2 may split a cookie in crumbs; HTTP/1 must have it whole (RFC 9113 section 8.2.3).
    if from == Version::HTTP_2
        && to != Version::HTTP_2
        && headers.get_all(COOKIE).iter().count() > 1
    {
        let crumbs: Vec<&[u8]> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(COOKIE, whole);
        }
    }
}

pub(crate) fn wants_trailers(headers: &HeaderMap) -> bool {
    lists(headers, &TE, "trailers")
}

/// Whether a request target is the server as a whole (`OPTIONS *`).
pub(crate) fn is_asterisk(uri: &Uri) -> bool {
    uri.path() == "*"
}
