//! The rules of HTTP.

use std::fmt;

use http::{Request, Response, StatusCode};

use super::{Again, Judged, Refusals, Rules, Seen};
use crate::classify::{self, Classify, Outcome};
use crate::error::{AsRejection, RejectionKind};
use crate::http::attempt::Sign;
use crate::http::repeat::{is_keyed, may_repeat};
use crate::http::retry_after;

/// The rules of HTTP (RFC 9110, section 9.2.2; RFC 6585; RFC 8470).
///
/// | end | idempotent, or with an `Idempotency-Key` | other requests |
/// |---|---|---|
/// | an error that is known to come [before the request was sent](Self::unprocessed), a [connect timeout](RejectionKind::ConnectTimeout) | again | again |
/// | 425, 429 | again, after `Retry-After` | the same: it was not processed |
/// | 408, 503 | again, after `Retry-After` | no |
/// | 502, 504, timeouts, other errors | again | **no** |
/// | 500 | [on request](Self::also) | no |
/// | 409 with `Retry-After`, for a keyed request | again, after it | – |
/// | refusals of layers inside | [on request](Self::also_refused) | the same |
/// | everything else | no | no |
///
/// A response with `x-should-retry: false` is never tried again, nor by tiers
/// outside.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Http<U = Unknown> {
    unprocessed: U,
    refusals: Refusals,
    also: Statuses,
}

/// Statuses from 500 to 599.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Statuses(u128);

impl Statuses {
    fn bit(status: StatusCode) -> u128 {
        match status.as_u16().checked_sub(500) {
            Some(place @ 0..100) => 1 << place,
            _ => 0,
        }
    }
}

/// Whether an error shows that the server has not seen the request.
pub trait Unprocessed<Err> {
    /// Whether this one does.
    fn is_unprocessed(&self, error: &Err) -> bool;
}

/// It is not known of any error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unknown;

impl<Err> Unprocessed<Err> for Unknown {
    fn is_unprocessed(&self, _: &Err) -> bool {
        false
    }
}

impl<Err, F: Fn(&Err) -> bool> Unprocessed<Err> for F {
    fn is_unprocessed(&self, error: &Err) -> bool {
        self(error)
    }
}

impl Http {
    /// The rules as in the table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<U> Http<U> {
    /// Errors for which this is true are tried again whatever the method: the
    /// server has not seen the request. Clients can tell it: hyper-util's and
    /// reqwest's errors by `is_connect()`, those of HTTP/2 by the reset reason
    /// `REFUSED_STREAM` or a `GOAWAY` below the stream. A connect timeout of this
    /// crate that a client has wrapped in an error of its own is found by
    /// [`find_rejection`](crate::error::find_rejection).
    #[must_use]
    pub fn unprocessed<Err, F: Fn(&Err) -> bool>(self, unprocessed: F) -> Http<F> {
        Http {
            unprocessed,
            refusals: self.refusals,
            also: self.also,
        }
    }

    /// Also this status from 500 to 599, for idempotent and keyed requests: 500 is
    /// as likely a request that fails each time as a passing trouble.
    #[must_use]
    pub fn also(mut self, status: StatusCode) -> Self {
        self.also.0 |= Statuses::bit(status);
        self
    }

    /// Also refusals of this kind by layers inside, whatever the method: the
    /// server was not reached.
    #[must_use]
    pub fn also_refused(mut self, kind: RejectionKind) -> Self {
        self.refusals = self.refusals.and(kind);
        self
    }

    fn of_response<B>(&self, seen: SeenRequest, response: &Response<B>) -> Again {
        let headers = response.headers();
        let after = || retry_after(headers);
        let later = || Again::later(after());
        let status = response.status();
        let again = match status {
            StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => later(),
            StatusCode::REQUEST_TIMEOUT | StatusCode::SERVICE_UNAVAILABLE if seen.repeatable => {
                later()
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if seen.repeatable => later(),
            StatusCode::CONFLICT if seen.keyed => {
                after().map_or(Again::No, |after| Again::later(Some(after)))
            }
            _ if seen.repeatable && self.also.0 & Statuses::bit(status) != 0 => later(),
            _ => Again::No,
        };
        match status.is_client_error() || status.is_server_error() {
            true if Sign::ShouldRetry.is_in(headers) => Again::Never,
            _ => again,
        }
    }
}

/// What these rules know of a request.
#[derive(Debug, Clone, Copy)]
#[expect(unnameable_types)] // nobody else makes one
pub struct SeenRequest {
    repeatable: bool,
    keyed: bool,
}

impl<B, T, Err, U> Rules<Request<B>, Response<T>, Err> for Http<U>
where
    Err: AsRejection,
    U: Unprocessed<Err>,
{
    type Seen = SeenRequest;

    #[inline]
    fn see(&self, request: &Request<B>) -> SeenRequest {
        SeenRequest {
            repeatable: may_repeat(request),
            keyed: is_keyed(request),
        }
    }

    #[inline]
    fn judge(&self, seen: &SeenRequest, result: Result<&Response<T>, &Err>) -> Judged {
        let again = |yes| if yes { Again::Yes } else { Again::No };
        let outcome = classify::Http.classify(result).on_head();
        Judged {
            outcome,
            again: match result {
                Ok(_) if outcome == Outcome::Success => Again::No,
                Ok(response) => self.of_response(*seen, response),
                Err(error) => match Seen::of(error) {
                    Seen::Own => again(seen.repeatable || self.unprocessed.is_unprocessed(error)),
                    Seen::Late => again(seen.repeatable),
                    Seen::Unsent => Again::Yes,
                    Seen::Refused(rejection) => self.refusals.judge(rejection),
                },
            },
        }
    }
}

impl<U> fmt::Debug for Http<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("refusals", &self.refusals)
            .field("also", &self.also)
            .finish_non_exhaustive()
    }
}
