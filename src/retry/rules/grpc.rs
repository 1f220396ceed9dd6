//! The rules of gRPC.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use super::{Again, Judged, Refusals, Rules, Seen};
use crate::classify::{self, Classify};
use crate::error::{AsRejection, RejectionKind};
use crate::http::attempt::{PUSHBACK, Sign, is_failure};

/// The rules of gRPC (proposal A6, "gRPC Retry Design").
///
/// Calls that end `UNAVAILABLE` (14) are tried again, and those that end with a
/// code that you [list](Self::also). gRPC's methods tell nothing about what they
/// do: list a code only if the service's calls may come twice when they end with
/// it. A connection that fails, or takes too long to come about, counts as
/// `UNAVAILABLE`, a timeout of a layer inside as `DEADLINE_EXCEEDED` (4), and HTTP's
/// 429, 502, 503, 504 from a proxy as `UNAVAILABLE`, as the protocol maps them.
///
/// `grpc-retry-pushback-ms` is obeyed: a time to wait, zero for at once, or, negative or
/// unreadable, a *no* to all tiers, whatever the status is. As the proposal has it, a response whose status
/// is not in its head is committed: it is never tried again, whatever its
/// trailers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grpc {
    codes: u32,
    refusals: Refusals,
}

const DEADLINE_EXCEEDED: i32 = 4;
const UNAVAILABLE: i32 = 14;

impl Default for Grpc {
    fn default() -> Self {
        let none = Self {
            codes: 0,
            refusals: Refusals::default(),
        };
        none.also(UNAVAILABLE)
    }
}

impl Grpc {
    /// `UNAVAILABLE` is tried again.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also this code: a number from 1 to 16, or tonic's `Code`.
    #[must_use]
    pub fn also(mut self, code: impl Into<i32>) -> Self {
        self.codes |= Self::bit(code.into());
        self
    }

    /// Also refusals of this kind by layers inside.
    #[must_use]
    pub fn also_refused(mut self, kind: RejectionKind) -> Self {
        self.refusals = self.refusals.and(kind);
        self
    }

    fn bit(code: i32) -> u32 {
        match code {
            1..=16 => 1 << code,
            _ => 0,
        }
    }

    fn of_code(&self, code: i32, headers: &HeaderMap) -> Again {
        match self.codes & Self::bit(code) {
            0 => Again::No,
            _ => pushback(headers).map_or(Again::Yes, Again::After),
        }
    }

    fn of_response<B>(&self, response: &Response<B>) -> Again {
        let headers = response.headers();
        if !is_failure(response) {
            return Again::No;
        }
        if Sign::Pushback.is_in(headers) {
            return Again::Never;
        }
        match response.status() {
            StatusCode::OK => {
                let code = headers
                    .get("grpc-status")
                    .and_then(|code| code.to_str().ok());
                let code = code.and_then(|code| code.parse().ok());
                self.of_code(code.unwrap_or(0), headers)
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => self.of_code(UNAVAILABLE, headers),
            _ => Again::No,
        }
    }
}

fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(&PUSHBACK)?.to_str().ok()?;
    value.parse().ok().map(Duration::from_millis)
}

impl<Req, B, Err: AsRejection> Rules<Req, Response<B>, Err> for Grpc {
    type Seen = ();

    #[inline]
    fn see(&self, _: &Req) {}

    #[inline]
    fn judge(&self, (): &(), result: Result<&Response<B>, &Err>) -> Judged {
        let none = HeaderMap::new();
        Judged {
            outcome: classify::Grpc.classify(result).on_head(),
            again: match result {
                Ok(response) => self.of_response(response),
                Err(error) => match Seen::of(error) {
                    Seen::Own | Seen::Unsent => self.of_code(UNAVAILABLE, &none),
                    Seen::Late => self.of_code(DEADLINE_EXCEEDED, &none),
                    Seen::Refused(rejection) => self.refusals.judge(rejection),
                },
            },
        }
    }
}
