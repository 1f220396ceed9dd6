//! The command line.
//!
//! Without arguments the example demonstrates; with an upstream it works. The interface is a
//! promise: flags are added, never changed.

use crate::config::parse_duration;
use crate::routes::Upstream;
use crate::scenario::{DEFAULT_SEED, Kind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const HELP: &str = "\
A reverse proxy guarded by tower-keep

Without arguments: starts three upstream servers on loopback (one healthy, one slow, one that
fails and then goes down), sends them the same load first through the bare proxy and then through
the guarded one, and prints what became of it.

Usage:
  gateway [--json] [--seed N] [--config FILE]      compare bare and guarded
  gateway --upstream [PREFIX=]URL... [options]     serve your own upstreams

Options:
  --json                    print the comparison as one JSON object
  --seed N                  the seed of the arrivals and service times (default 20260101)
  --upstream [PREFIX=]URL   a server to forward to, for the paths under PREFIX (default /);
                            http://HOST:PORT, or h2://HOST:PORT for HTTP/2 with prior knowledge.
                            May be repeated; upstreams of the same prefix take turns. A URL with
                            a path puts that path in the place of the prefix
  --listen ADDR             where to listen (default 127.0.0.1:8080)
  --drain-timeout DURATION  how long a shutdown waits for what is in flight (default 10s)
  --health-listen ADDR      where to answer /livez, /readyz, /startupz and /healthz (default: nowhere)
  --drain-delay DURATION    how long a shutdown goes on serving while /readyz fails, for whoever
                            sends requests to notice (default 5s with --health-listen, else 0s)
  --config FILE             policies and settings from a TOML file; flags win over it
  --help                    print this help

Ctrl-C or SIGTERM ends a gateway gracefully: /readyz fails, the drain delay passes, then it stops
accepting and finishes what is in flight.
A second one ends it at once.";

/// The options of a user.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) json: bool,
    pub(crate) seed: Option<u64>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) drain_timeout: Option<Duration>,
    pub(crate) drain_delay: Option<Duration>,
    pub(crate) health_listen: Option<SocketAddr>,
    pub(crate) config: Option<PathBuf>,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    /// Demonstrate or serve, which depends on the upstreams of the file too.
    User(Options),
    /// The parts of the demonstration, each a process of its own.
    Upstream {
        kind: Kind,
        port: u16,
        seed: u64,
    },
    Gateway {
        guarded: bool,
        options: Options,
    },
    Load {
        target: String,
        seed: u64,
    },
}

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut options = Options::default();
    let (mut role, mut kind, mut mode, mut target, mut port) = (None, None, None, None, 0);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let (flag, mut inline) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => {
                (flag.to_owned(), Some(value.to_owned()))
            }
            _ => (argument, None),
        };
        let mut value = || {
            inline
                .take()
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--json" => options.json = true,
            "--seed" => options.seed = Some(number(&flag, &value()?)?),
            "--upstream" => {
                let upstream = Upstream::parse_argument(&value()?);
                let upstream = upstream.map_err(|reason| format!("--upstream: {reason}"))?;
                options.upstreams.push(upstream);
            }
            "--listen" => options.listen = Some(address(&flag, &value()?)?),
            "--health-listen" => options.health_listen = Some(address(&flag, &value()?)?),
            "--drain-timeout" => options.drain_timeout = Some(duration(&flag, &value()?)?),
            "--drain-delay" => options.drain_delay = Some(duration(&flag, &value()?)?),
            "--config" => options.config = Some(PathBuf::from(value()?)),
            "--role" => role = Some(value()?),
            "--kind" => kind = Kind::from_name(&value()?),
            "--mode" => mode = Some(value()?),
            "--target" => target = Some(value()?),
            "--port" => port = number(&flag, &value()?)?,
            other if other.starts_with('-') => return Err(format!("unknown flag `{other}`")),
            other => return Err(format!("unexpected argument `{other}`")),
        }
        if inline.is_some() {
            return Err(format!("{flag} takes no value"));
        }
    }
    let seed = options.seed.unwrap_or(DEFAULT_SEED);
    match (role.as_deref(), kind, target) {
        (None, None, None) if mode.is_none() && port == 0 => Ok(Command::User(options)),
        (Some("upstream"), Some(kind), None) => Ok(Command::Upstream { kind, port, seed }),
        (Some("gateway"), None, None) => Ok(Command::Gateway {
            guarded: mode.as_deref() == Some("guarded"),
            options,
        }),
        (Some("load"), None, Some(target)) => Ok(Command::Load { target, seed }),
        _ => Err("the parts of the demonstration are not to be started by hand".to_owned()),
    }
}

fn address(flag: &str, text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("{flag}: `{text}` is not an address such as 127.0.0.1:8080"))
}

fn duration(flag: &str, text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|reason| format!("{flag}: {reason}"))
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{flag}: `{text}` is not a number in range"))
}
