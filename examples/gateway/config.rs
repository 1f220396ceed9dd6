//! Policies from a file: what may be tuned without a new build.
//!
//! A gateway that starts with half of what its operator wrote is worse than one that does not
//! start. So unknown keys are errors, and every error names the file, the line, the key and the
//! reason.

use axum::body::Bytes;
use axum::http::HeaderValue;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Everything a configuration file can say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policies {
    pub(crate) gateway: Gateway,
    /// For each upstream.
    pub(crate) timeout: Option<tower_keep::timeout::Policy>,
    /// For each upstream on its own, and requests that are idempotent and have no body.
    pub(crate) hedge: Option<tower_keep::hedge::Policy>,
    /// For each upstream on its own.
    pub(crate) circuit_breaker: Option<tower_keep::circuit_breaker::Policy>,
    /// Of requests that HTTP allows to send again, to each upstream.
    pub(crate) retry: Option<tower_keep::retry::Policy>,
    /// While the circuit of an upstream is open.
    pub(crate) fallback: Option<Fallback>,
    /// For each upstream on its own.
    pub(crate) bulkhead: Option<tower_keep::bulkhead::Policy>,
    /// For each client address.
    pub(crate) throttle: Option<tower_keep::throttle::Policy>,
}

/// What `GET` and other safe requests are told in place of an upstream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fallback {
    #[serde(deserialize_with = "header_value")]
    pub(crate) content_type: HeaderValue,
    #[serde(deserialize_with = "bytes")]
    pub(crate) body: Bytes,
}

fn header_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderValue, D::Error> {
    let text = String::deserialize(deserializer)?;
    HeaderValue::try_from(&text)
        .map_err(|_| serde::de::Error::custom(format!("{text:?} cannot be a header's value")))
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    String::deserialize(deserializer).map(Bytes::from)
}

/// The proxy itself, with or without layers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gateway {
    pub(crate) listen: Option<SocketAddr>,
    /// How long a shutdown waits for the work in flight.
    #[serde(deserialize_with = "duration")]
    pub(crate) drain_timeout: Duration,
    /// Where health is told; nowhere if it is absent.
    pub(crate) health_listen: Option<SocketAddr>,
    /// How long a shutdown goes on serving while readiness fails.
    #[serde(deserialize_with = "some_duration")]
    pub(crate) drain_delay: Option<Duration>,
    /// How long a connection to an upstream may take to open.
    #[serde(deserialize_with = "duration")]
    pub(crate) connect_timeout: Duration,
    /// How long an upstream may be silent: no part of the request taken, no response begun.
    #[serde(deserialize_with = "duration")]
    pub(crate) response_timeout: Duration,
    /// How many exchanges with upstreams the whole gateway holds at once; more wait in a line.
    pub(crate) max_in_flight: usize,
    /// The name in `Via` and `Forwarded`; made at the start when it is absent.
    pub(crate) name: Option<String>,
    #[serde(rename = "upstream")]
    pub(crate) upstreams: Vec<UpstreamEntry>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            listen: None,
            drain_timeout: Duration::from_secs(10),
            health_listen: None,
            drain_delay: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            max_in_flight: 1024,
            name: None,
            upstreams: Vec::new(),
        }
    }
}

/// One `[[gateway.upstream]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamEntry {
    #[serde(default = "root")]
    pub(crate) prefix: String,
    pub(crate) url: String,
}

fn root() -> String {
    "/".to_owned()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// Reads a duration such as `250ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a duration such as \"250ms\" ({error})"))
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    file: String,
    line: Option<usize>,
    key: Option<String>,
    reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl Policies {
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&file, &text),
            Err(error) => Err(ConfigError {
                file,
                line: None,
                key: None,
                reason: format!("cannot be read: {error}"),
            }),
        }
    }

    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let policies: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map(|span| span.start);
            ConfigError {
                file: file.to_owned(),
                line: at.map(|at| text.get(..at).unwrap_or(text).matches('\n').count() + 1),
                key: at.and_then(|at| key_at(text, at)),
                reason: error.message().to_owned(),
            }
        })?;
        let invalid = |key: &str, reason: String| ConfigError {
            file: file.to_owned(),
            line: None,
            key: Some(key.to_owned()),
            reason,
        };
        if policies.gateway.max_in_flight == 0 {
            return Err(invalid(
                "gateway.max_in_flight",
                "must be at least 1, or no request could ever pass".to_owned(),
            ));
        }
        if policies.gateway.max_in_flight > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(invalid(
                "gateway.max_in_flight",
                format!("must be at most {}", tokio::sync::Semaphore::MAX_PERMITS),
            ));
        }
        if let Some(name) = &policies.gateway.name
            && !crate::headers::is_token(name)
        {
            return Err(invalid(
                "gateway.name",
                format!("`{name}` is not a token, as `Via` needs one"),
            ));
        }
        for (index, entry) in policies.gateway.upstreams.iter().enumerate() {
            crate::routes::Upstream::parse(&entry.prefix, &entry.url)
                .map_err(|reason| invalid(&format!("gateway.upstream[{index}]"), reason))?;
        }
        Ok(policies)
    }
}

/// The key that holds the byte at `at`, with its section before it.
fn key_at(text: &str, at: usize) -> Option<String> {
    let line_start = text.get(..at)?.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(line_start..)?.lines().next()?.trim();
    if line.starts_with('[') {
        return Some(line.trim_matches(['[', ']']).to_owned());
    }
    let key = line.split('=').next()?.trim();
    if key.is_empty() {
        return None;
    }
    let section = text
        .get(..line_start)?
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| line.starts_with('[') && line.ends_with(']'))
        .map(|line| line.trim_matches(['[', ']']));
    Some(section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}")))
}
