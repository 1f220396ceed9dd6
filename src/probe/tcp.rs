//! Whether something accepts connections.

use std::fmt;

use http::uri::Authority;
use tokio::net::TcpStream;

use super::{Finding, Probe, Probing, Reach};
use crate::policy::PolicyError;

/// Connects, and closes the connection: what Kubernetes calls a TCP probe.
///
/// ```
/// use tower_keep::probe::Tcp;
///
/// let database = Tcp::new("db.internal:5432")?;
/// assert!(Tcp::new("db.internal").is_err());
/// # let _ = database;
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
///
/// # Cancel safety
/// Dropped, it closes the connection. A name that is being looked up keeps a thread
/// of the runtime's pool until the system gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    target: Target,
}

impl Tcp {
    /// Asks a host and port: `"10.0.0.1:80"`, `"[::1]:80"`, `"db.internal:5432"`. A
    /// name is looked up by every run.
    ///
    /// # Errors
    /// If it is no host with a port.
    pub fn new(address: impl fmt::Display) -> Result<Self, PolicyError> {
        Target::parse("address", &address.to_string()).map(|target| Self { target })
    }
}

impl Probe for Tcp {
    fn probe(&self) -> Probing<'_> {
        Box::pin(async { Finding::from(self.target.connect().await.map(drop)) })
    }

    fn reach(&self) -> Reach {
        Reach::Outside
    }
}

/// A host with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn parse(field: &'static str, text: &str) -> Result<Self, PolicyError> {
        let authority = text.parse::<Authority>().ok();
        let target = authority.and_then(|authority| Self::of(&authority, None));
        let allowed = "allowed is a host with a port, such as \"db.internal:5432\"";
        target.ok_or_else(|| PolicyError::new(field, format_args!("{text:?}"), allowed))
    }

    pub(super) fn of(authority: &Authority, port: Option<u16>) -> Option<Self> {
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().or(port).filter(|port| *port != 0)?;
        let plain = !host.is_empty() && !authority.as_str().contains('@');
        plain.then_some(Self { host, port })
    }

    pub(super) async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect((&*self.host, self.port)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports() {
        for (text, host, port) in [
            ("10.0.0.1:80", "10.0.0.1", 80),
            ("[::1]:8080", "::1", 8080),
            ("db.internal:5432", "db.internal", 5432),
        ] {
            let target = Tcp::new(text).unwrap().target;
            assert_eq!((&*target.host, target.port), (host, port));
        }
        for bad in [
            "",
            "db",
            ":80",
            "db:0",
            "db:65536",
            "db:x",
            "a@db:80",
            "http://db:80",
        ] {
            let error = Tcp::new(bad).unwrap_err();
            assert_eq!(error.field(), "address", "{bad}");
        }
    }
}
