//! The notification protocol of systemd's service manager: `sd_notify(3)` and
//! `sd_watchdog_enabled(3)`.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Tells systemd how the service stands. Clones are the same socket.
///
/// Each message is one datagram, sent without waiting: where nobody takes it, it is an
/// error, and nothing hangs.
#[derive(Clone)]
pub struct Systemd(Arc<Inner>);

struct Inner {
    socket: UnixDatagram,
    to: SocketAddr,
    timeout: Option<Duration>,
}

impl Systemd {
    /// As the environment of this process says; `None` if systemd does not want to be
    /// told.
    ///
    /// # Errors
    /// If `NOTIFY_SOCKET` names a kind of socket that is not known here (`vsock:`), or
    /// no socket can be made.
    pub fn from_env() -> io::Result<Option<Self>> {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// As [`from_env`](Self::from_env), of other variables: `NOTIFY_SOCKET`,
    /// `WATCHDOG_USEC`, `WATCHDOG_PID`.
    ///
    /// # Errors
    /// As there.
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Self>> {
        let Some(socket) = var("NOTIFY_SOCKET") else {
            return Ok(None);
        };
        let to = address(socket.as_bytes())?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let text = |name| var(name).and_then(|value| value.into_string().ok());
        let micros = text("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        let ours = text("WATCHDOG_PID").is_none_or(|text| text.parse() == Ok(std::process::id()));
        let timeout = micros.filter(|micros| *micros > 0 && ours);
        Ok(Some(Self(Arc::new(Inner {
            socket,
            to,
            timeout: timeout.map(Duration::from_micros),
        }))))
    }

    /// Within which time systemd wants to hear `WATCHDOG=1`; `None` if it does not. It
    /// is told at half of it.
    #[must_use]
    pub fn watchdog_timeout(&self) -> Option<Duration> {
        self.0.timeout
    }

    /// The service has started: `READY=1`.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    /// The service is about to end: `STOPPING=1`. Nothing should be told after it.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }

    /// How the service is doing, for people: `STATUS=`. Of several lines only the first
    /// is told.
    ///
    /// # Errors
    /// If nobody takes it.
    pub fn status(&self, status: &str) -> io::Result<()> {
        let line = status.lines().next().unwrap_or_default();
        self.send(&format!("STATUS={line}"))
    }

    /// The service is alive: `WATCHDOG=1`. Only a watchdog knows.
    pub(super) fn alive(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Inner { socket, to, .. } = &*self.0;
        socket.send_to_addr(message.as_bytes(), to).map(drop)
    }
}

fn address(socket: &[u8]) -> io::Result<SocketAddr> {
    match socket {
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket)),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        [b'@', name @ ..] => {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "NOTIFY_SOCKET is neither a path nor an abstract socket",
        )),
    }
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Systemd")
            .field("to", &self.0.to)
            .field("watchdog_timeout", &self.0.timeout)
            .finish()
    }
}
