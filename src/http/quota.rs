//! What a refusal says about when to come back: `RateLimit-Policy`, `RateLimit`, `Retry-After`.
//!
//! The first two follow draft-ietf-httpapi-ratelimit-headers-10, as structured fields (RFC 9651).
//! The functions are pure. They never write a malformed header: names are escaped, numbers
//! capped.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_keep::http::quota::{self, Quota, Remaining};
//!
//! let burst = Quota::new("burst", 100).per(Duration::from_secs(60));
//! let daily = Quota::new("daily", 1000).per(Duration::from_secs(86_400));
//! let value = quota::rate_limit_policy([burst, daily]).unwrap();
//! assert_eq!(value, r#""burst";q=100;w=60,"daily";q=1000;w=86400"#);
//!
//! let left = Remaining::new("default", 50).until_more(Duration::from_millis(29_100));
//! assert_eq!(quota::rate_limit([left]).unwrap(), r#""default";r=50;t=30"#);
//!
//! let wait = quota::retry_after(Duration::from_millis(1), Duration::ZERO);
//! assert_eq!(wait, "1");
//! ```

use std::{fmt::Write, time::Duration};

use http::{HeaderName, HeaderValue};

#[cfg(test)]
mod tests;

/// The `RateLimit-Policy` header: the quotas that apply.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The `RateLimit` header: what is left of them.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The largest integer of a structured field (RFC 9651 §3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

/// What a quota counts.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QuotaUnit {
    /// Requests. The default; it is not written.
    #[default]
    Requests,
    /// Bytes of content.
    ContentBytes,
    /// Requests at the same time.
    ConcurrentRequests,
}

/// A quota, as an item of `RateLimit-Policy`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Quota<'a> {
    name: &'a str,
    units: u64,
    window: Option<Duration>,
    unit: QuotaUnit,
}

impl<'a> Quota<'a> {
    /// A quota of `units` under a policy's `name`.
    ///
    /// Each character of the name that a structured field cannot hold (all but ASCII 0x20 to
    /// 0x7E) is written as `?`. Units over 999,999,999,999,999 are written as that.
    #[must_use]
    pub const fn new(name: &'a str, units: u64) -> Self {
        Self {
            name,
            units,
            window: None,
            unit: QuotaUnit::Requests,
        }
    }

    /// Sets the window in which the quota is granted, written in whole seconds, rounded up, at
    /// least 1. Default: not written.
    #[must_use]
    pub const fn per(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// Sets what is counted. Default: requests.
    #[must_use]
    pub const fn of(mut self, unit: QuotaUnit) -> Self {
        self.unit = unit;
        self
    }

    fn write(&self, out: &mut String) {
        write_string(out, self.name);
        write_integer(out, "q", self.units);
        match self.unit {
            QuotaUnit::Requests => {}
            QuotaUnit::ContentBytes => out.push_str(";qu=\"content-bytes\""),
            QuotaUnit::ConcurrentRequests => out.push_str(";qu=\"concurrent-requests\""),
        }
        if let Some(window) = self.window {
            write_integer(out, "w", whole_seconds(window).max(1));
        }
    }
}

/// What is left of a quota, as an item of `RateLimit`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Remaining<'a> {
    name: &'a str,
    units: u64,
    until_more: Option<Duration>,
}

impl<'a> Remaining<'a> {
    /// `units` left under a policy's `name`, which is written as in [`Quota::new`].
    #[must_use]
    pub const fn new(name: &'a str, units: u64) -> Self {
        Self {
            name,
            units,
            until_more: None,
        }
    }

    /// Sets the time until more units are there, written in whole seconds, rounded up. Default:
    /// not written.
    ///
    /// With 0 units left it is at least 1: "nothing left, come back at once" makes clients spin.
    #[must_use]
    pub const fn until_more(mut self, wait: Duration) -> Self {
        self.until_more = Some(wait);
        self
    }

    fn write(&self, out: &mut String) {
        write_string(out, self.name);
        write_integer(out, "r", self.units);
        if let Some(wait) = self.until_more {
            write_integer(
                out,
                "t",
                whole_seconds(wait).max(u64::from(self.units == 0)),
            );
        }
    }
}

/// The value of `RateLimit-Policy`; `None` without an item, as an empty list is no header.
#[must_use]
pub fn rate_limit_policy<'a>(quotas: impl IntoIterator<Item = Quota<'a>>) -> Option<HeaderValue> {
    list(quotas, Quota::write)
}

/// The value of `RateLimit`; `None` without an item, as an empty list is no header.
#[must_use]
pub fn rate_limit<'a>(left: impl IntoIterator<Item = Remaining<'a>>) -> Option<HeaderValue> {
    list(left, Remaining::write)
}

/// The value of `Retry-After` (RFC 9110 §10.2.3): `wait` plus `extra`, in whole seconds, rounded
/// up, at least 1 and at most 999,999,999,999,999.
///
/// `extra` spreads the clients who were refused at one instant: the caller draws it, and takes
/// zero where that does not matter. It comes on top, so that nobody returns before `wait` is over.
#[must_use]
pub fn retry_after(wait: Duration, extra: Duration) -> HeaderValue {
    HeaderValue::from(whole_seconds(wait.saturating_add(extra)).clamp(1, MAX_INTEGER))
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}

fn list<T>(items: impl IntoIterator<Item = T>, write: fn(&T, &mut String)) -> Option<HeaderValue> {
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push(',');
        }
        write(&item, &mut out);
    }
    if out.is_empty() {
        return None;
    }
    // Cannot fail, as only 0x20 to 0x7E was written; if it did, no header beats a broken one.
    HeaderValue::try_from(out).ok()
}

/// A string of a structured field (RFC 9651 §3.3.3).
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

fn write_integer(out: &mut String, name: &str, value: u64) {
    // Writing to a `String` never fails.
    let _ = write!(out, ";{name}={}", value.min(MAX_INTEGER));
}
