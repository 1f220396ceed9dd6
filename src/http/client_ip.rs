//! The client's address behind proxies: [`ClientIp`].
//!
//! A proxy appends the address it was called from to `X-Forwarded-For` (or to `Forwarded`, RFC
//! 7239). Whatever stood there before came from the caller, who may write what he likes: so the
//! leftmost entry names the client only by his own word. [`ClientIp`] reads from the right, from
//! the socket outwards, and only as far as somebody trusted wrote the entry.
//!
//! ```
//! use tower_keep::http::client_ip::{ClientIp, PeerAddr};
//!
//! let mut request = http::Request::new(());
//! request.extensions_mut().insert(PeerAddr("10.0.0.2:4711".parse()?));
//! let forwarded = "198.51.100.66, 203.0.113.7".parse()?;
//! request.headers_mut().insert("x-forwarded-for", forwarded);
//!
//! let client = |ip: ClientIp| ip.of(&request).map(|ip| ip.to_string());
//! assert_eq!(client(ClientIp::peer()).as_deref(), Some("10.0.0.2"));
//! // One load balancer in front: it appended the rightmost entry; the other one is hearsay.
//! assert_eq!(client(ClientIp::trusted_hops(1)).as_deref(), Some("203.0.113.7"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The peer's address
//!
//! The address of the socket is no part of a request: the server has to put it there, as a
//! [`PeerAddr`] extension. A server that has its own extension is read by a closure; for axum's
//! `into_make_service_with_connect_info::<SocketAddr>()`:
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use axum::extract::ConnectInfo;
//! use tower_keep::http::client_ip::ClientIp;
//!
//! let client = ClientIp::trusted_hops(1)
//!     .read_peer_with(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
//! ```

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::{Extensions, HeaderMap, HeaderName, Request, header};
use ipnet::IpNet;

mod forwarded;
#[cfg(test)]
mod tests;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The peer's socket address, as an extension that the server sets on each request.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(
    /// The remote end of the connection.
    pub SocketAddr,
);

/// Where proxies write the address that called them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: client, proxy1`: addresses, with or without a port. The default.
    #[default]
    XForwardedFor,
    /// `Forwarded: for="[2001:db8::1]:80";proto=https` (RFC 7239).
    Forwarded,
}

/// Whose entries count.
#[derive(Clone, Debug)]
enum Trust {
    Hops(usize),
    Networks(Arc<[IpNet]>),
}

type ReadPeer = dyn Fn(&Extensions) -> Option<SocketAddr> + Send + Sync;

/// Reads a client's address behind proxies, by trusted hops or trusted networks.
///
/// Lines of the header are read as one list, in order. Ports are dropped, IPv4-mapped IPv6
/// addresses become IPv4. An entry that is no address (malformed, or hidden as RFC 7239 allows:
/// `unknown`, `_secret`) ends the walk at the last good address before it. Nothing is allocated,
/// no input panics.
///
/// `Clone` shares the networks and the closure.
#[derive(Clone)]
pub struct ClientIp {
    trust: Trust,
    header: ForwardedHeader,
    ipv6_prefix: u8,
    read_peer: Option<Arc<ReadPeer>>,
}

impl ClientIp {
    /// How many bits of an IPv6 address make a key, by default: 64, what one subscriber gets.
    pub const DEFAULT_IPV6_PREFIX: u8 = 64;

    /// The socket's address only: for a server that clients reach directly.
    #[must_use]
    pub const fn peer() -> Self {
        Self::trusted_hops(0)
    }

    /// Behind exactly `hops` proxies that append to the header: the entry that the outermost of
    /// them wrote, the `hops`-th from the right. 0 is [`peer`](Self::peer), 1 the rightmost.
    ///
    /// If there are fewer entries, the leftmost one: the request came in behind the outermost
    /// proxy (a health check, a neighbour), so all entries there are were written by trusted
    /// ones. Without any entry, the socket's address. This holds only if nobody else can reach
    /// the server past its proxies; where somebody can, use
    /// [`trusted_networks`](Self::trusted_networks).
    #[must_use]
    pub const fn trusted_hops(hops: usize) -> Self {
        Self {
            trust: Trust::Hops(hops),
            header: ForwardedHeader::XForwardedFor,
            ipv6_prefix: Self::DEFAULT_IPV6_PREFIX,
            read_peer: None,
        }
    }

    /// Behind proxies in these networks: the first address, from the socket outwards, that is in
    /// none of them; or the outermost, if all are. The header of a peer outside of them is
    /// ignored.
    #[must_use]
    pub fn trusted_networks(networks: impl IntoIterator<Item = IpNet>) -> Self {
        // Addresses are compared in their canonical form.
        let canonical = |net: IpNet| match (net.addr().to_canonical(), net.prefix_len()) {
            (IpAddr::V4(ip), bits) if net.addr().is_ipv6() && bits >= 96 => {
                IpNet::new(ip.into(), bits.saturating_sub(96)).unwrap_or(net)
            }
            _ => net,
        };
        Self {
            trust: Trust::Networks(networks.into_iter().map(canonical).collect()),
            ..Self::peer()
        }
    }

    /// Sets the header to read. Default [`ForwardedHeader::XForwardedFor`]. Choose the one that
    /// your proxies write: the other is the caller's to forge.
    #[must_use]
    pub const fn with_header(mut self, header: ForwardedHeader) -> Self {
        self.header = header;
        self
    }

    /// Sets how many bits of an IPv6 address make a key: 0 to 128 (more counts as 128), default
    /// 64. One subscriber has 2⁶⁴ addresses or more at hand, so single ones bound nobody. IPv4
    /// addresses are keys as they are.
    #[must_use]
    pub const fn with_ipv6_prefix(mut self, bits: u8) -> Self {
        self.ipv6_prefix = if bits > 128 { 128 } else { bits };
        self
    }

    /// Sets how to find the peer's address in a request's extensions. Default: [`PeerAddr`].
    #[must_use]
    pub fn read_peer_with<F>(mut self, read: F) -> Self
    where
        F: Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static,
    {
        self.read_peer = Some(Arc::new(read));
        self
    }

    /// The address of the client who sent `request`; `None` if the peer's address is unknown.
    #[must_use]
    pub fn of<B>(&self, request: &Request<B>) -> Option<IpAddr> {
        let peer = match &self.read_peer {
            Some(read) => read(request.extensions())?,
            None => request.extensions().get::<PeerAddr>()?.0,
        };
        Some(self.behind(peer.ip(), request.headers()))
    }

    /// The address of the client, given the peer's address and the headers it sent.
    #[must_use]
    pub fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        match self.header {
            ForwardedHeader::XForwardedFor => {
                let lines = headers.get_all(X_FORWARDED_FOR);
                let entries = lines.iter().rev().flat_map(|line| {
                    let entries = line.as_bytes().rsplit(|&byte| byte == b',');
                    entries
                        .map(<[u8]>::trim_ascii)
                        .filter(|entry| !entry.is_empty())
                });
                self.walk(peer, entries.map(address))
            }
            ForwardedHeader::Forwarded => {
                let lines = headers.get_all(header::FORWARDED);
                let elements = lines
                    .iter()
                    .rev()
                    .flat_map(|line| forwarded::elements(line.as_bytes()));
                self.walk(peer, elements.map(forwarded::client))
            }
        }
    }

    /// The part of `ip` that makes a key: IPv6 without the bits behind the prefix.
    #[must_use]
    pub fn group(&self, ip: IpAddr) -> IpAddr {
        match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let behind = u32::from(128_u8.saturating_sub(self.ipv6_prefix));
                let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
            ip @ IpAddr::V4(_) => ip,
        }
    }

    /// From the peer outwards over `entries`, which come from the right.
    fn walk(&self, peer: IpAddr, entries: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut good = entries.map_while(|entry| entry);
        match &self.trust {
            Trust::Hops(hops) => good.take(*hops).last().unwrap_or(peer),
            Trust::Networks(networks) => {
                let trusted = |ip: IpAddr| networks.iter().any(|net| net.contains(&ip));
                let mut client = peer;
                while trusted(client) {
                    match good.next() {
                        Some(outer) => client = outer,
                        None => break,
                    }
                }
                client
            }
        }
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIp")
            .field("trust", &self.trust)
            .field("header", &self.header)
            .field("ipv6_prefix", &self.ipv6_prefix)
            .finish_non_exhaustive()
    }
}

/// The address in `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let ip: IpAddr = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
                return None;
            }
            ip.parse::<Ipv6Addr>().ok()?.into()
        }
        // Exactly one colon is a port; more of them are an IPv6 address.
        None => match text.split_once(':') {
            Some((ip, port)) if !port.contains(':') => {
                if !is_port(port) {
                    return None;
                }
                IpAddr::V4(ip.parse().ok()?)
            }
            _ => text.parse().ok()?,
        },
    };
    Some(ip.to_canonical())
}

/// A port, or a hidden one (RFC 7239 §6: `_` and letters, digits, `.`, `_`, `-`).
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(hidden) => {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !hidden.is_empty() && hidden.bytes().all(allowed)
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
    }
}
