//! What a refusal says to people and programs: `application/problem+json` (RFC 9457).
//!
//! ```
//! use http::StatusCode;
//! use tower_keep::http::problem::Problem;
//!
//! let body = Problem::new(StatusCode::TOO_MANY_REQUESTS)
//!     .with_detail("throttle: the quota is used up")
//!     .violating(&["daily"])
//!     .to_bytes();
//! assert_eq!(
//!     body,
//!     r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,"detail":"throttle: the quota is used up","violated-policies":["daily"]}"#
//! );
//! ```

use std::fmt::Write;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// The content type of a problem document.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem document, before it is written.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Problem<'a> {
    status: StatusCode,
    kind: &'a str,
    title: &'a str,
    detail: Option<&'a str>,
    violated: &'a [&'a str],
}

impl<'a> Problem<'a> {
    /// The problem that `status` stands for.
    ///
    /// Its type and title are those of the problem types that
    /// draft-ietf-httpapi-ratelimit-headers-10 registers: `quota-exceeded` for 429,
    /// `temporary-reduced-capacity` for 503. For any other status the type is `about:blank` and
    /// the title the status phrase (RFC 9457 §4.2.1), or `Unknown` if the status has none.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        let (kind, title) = match status {
            StatusCode::TOO_MANY_REQUESTS => (
                "https://iana.org/assignments/http-problem-types#quota-exceeded",
                "Quota Exceeded",
            ),
            StatusCode::SERVICE_UNAVAILABLE => (
                "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
                "Temporary Reduced Capacity",
            ),
            _ => (
                "about:blank",
                status.canonical_reason().unwrap_or("Unknown"),
            ),
        };
        Self {
            status,
            kind,
            title,
            detail: None,
            violated: &[],
        }
    }

    /// Sets the type, a URI reference, and the title that goes with it.
    #[must_use]
    pub const fn with_type(mut self, uri: &'a str, title: &'a str) -> Self {
        self.kind = uri;
        self.title = title;
        self
    }

    /// Sets what happened this time. Default: not written. Clients read it: it should not tell
    /// anything about the inside.
    #[must_use]
    pub const fn with_detail(mut self, detail: &'a str) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Sets the names of the policies whose quota was exceeded (`violated-policies`). Default
    /// none, and then it is not written.
    #[must_use]
    pub const fn violating(mut self, policies: &'a [&'a str]) -> Self {
        self.violated = policies;
        self
    }

    /// The document as JSON (RFC 8259), ASCII control characters, DEL and C1 escaped.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        // The usual document fits: one allocation.
        let mut out = String::with_capacity(256);
        out.push_str("{\"type\":");
        write_json(&mut out, self.kind);
        out.push_str(",\"title\":");
        write_json(&mut out, self.title);
        out.push_str(",\"status\":");
        out.push_str(self.status.as_str());
        if let Some(detail) = self.detail {
            out.push_str(",\"detail\":");
            write_json(&mut out, detail);
        }
        for (at, policy) in self.violated.iter().enumerate() {
            out.push_str(if at == 0 {
                ",\"violated-policies\":["
            } else {
                ","
            });
            write_json(&mut out, policy);
        }
        out.push_str(if self.violated.is_empty() { "}" } else { "]}" });
        out.into()
    }
}

/// A JSON string.
pub(crate) fn write_json(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            // All control characters are below U+0100. Writing to a `String` never fails.
            _ if char.is_control() => drop(write!(out, "\\u{:04x}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(problem: Problem<'_>) -> Value {
        serde_json::from_slice(&problem.to_bytes()).unwrap()
    }

    #[test]
    fn types_follow_the_status() {
        const IANA: &str = "https://iana.org/assignments/http-problem-types";
        for (status, kind, title) in [
            (429, format!("{IANA}#quota-exceeded"), "Quota Exceeded"),
            (
                503,
                format!("{IANA}#temporary-reduced-capacity"),
                "Temporary Reduced Capacity",
            ),
            (504, "about:blank".into(), "Gateway Timeout"),
            (409, "about:blank".into(), "Conflict"),
            (422, "about:blank".into(), "Unprocessable Entity"),
            (599, "about:blank".into(), "Unknown"),
        ] {
            let problem = Problem::new(StatusCode::from_u16(status).unwrap());
            let expected = json!({ "type": kind, "title": title, "status": status });
            assert_eq!(parsed(problem), expected);
        }
        let own = Problem::new(StatusCode::CONFLICT).with_type("/problems/own", "Own");
        assert_eq!(
            parsed(own),
            json!({ "type": "/problems/own", "title": "Own", "status": 409 })
        );
    }

    #[test]
    fn every_control_character_is_escaped() {
        let all: String = ('\0'..='\u{200}')
            .chain(['\u{2028}', '\u{1F600}'])
            .collect();
        let problem = Problem::new(StatusCode::CONFLICT).with_detail(&all);
        let body = problem.to_bytes();
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            !text.contains(char::is_control),
            "a control character went through"
        );
        assert_eq!(parsed(problem)["detail"], Value::String(all.clone()));
    }

    proptest! {
        #[test]
        fn fault_060_any_text_survives(
            kind in any::<String>(),
            title in any::<String>(),
            detail in any::<String>(),
            violated in prop::collection::vec(any::<String>(), 0..4),
        ) {
            let names: Vec<&str> = violated.iter().map(String::as_str).collect();
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS)
                .with_type(&kind, &title)
                .with_detail(&detail)
                .violating(&names);
            let mut expected =
                json!({ "type": kind, "title": title, "status": 429, "detail": detail });
            if !violated.is_empty() {
                expected["violated-policies"] = json!(violated);
            }
            prop_assert_eq!(parsed(problem), expected);
            let body = problem.to_bytes();
            prop_assert!(!std::str::from_utf8(&body).unwrap().contains(char::is_control));
        }
    }
}
