//! Outcomes of HTTP responses.

use http::{HeaderMap, Response, StatusCode};

use super::{Classify, ErrorsOnly, Failure, Outcome, Verdict, of_error};
use crate::error::AsRejection;
use crate::http::retry_after;

/// How a body ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum BodyEnd<'a> {
    /// To its end, with these trailers if there were any.
    Complete(Option<&'a HeaderMap>),
    /// By an error of the body.
    Error,
    /// By its reader, before the end.
    Dropped,
}

/// Judges the end of a body, for guards that wait for it.
pub trait ClassifyEnd {
    /// Judges a body whose head was [`Verdict::AtEnd`]. A body that breaks after
    /// a good head is a failure, and one that its reader drops was cancelled.
    fn classify_end(&self, end: BodyEnd<'_>) -> Outcome {
        match end {
            BodyEnd::Complete(_) => Outcome::Success,
            BodyEnd::Error => Outcome::Failure(Failure::Transient),
            BodyEnd::Dropped => Outcome::Cancelled,
        }
    }
}

impl ClassifyEnd for ErrorsOnly {}

/// Judges by the status code (RFC 9110, section 15).
///
/// | status | outcome |
/// |---|---|
/// | 1xx, 2xx, 3xx | success |
/// | 429, 503 | failure: overload, with [`Retry-After`](retry_after) |
/// | 408, 504 | failure: timeout |
/// | 500, 502 and other 5xx | failure: transient |
/// | 501, 505 | failure: permanent |
/// | other 4xx | neutral: the caller's mistake |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http;

impl ClassifyEnd for Http {}

impl<B, Err: AsRejection> Classify<Response<B>, Err> for Http {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Verdict {
        match result {
            Ok(response) => match of_status(response.status(), response.headers()) {
                // Its body can still break.
                Outcome::Success => Verdict::AtEnd,
                outcome => Verdict::Now(outcome),
            },
            Err(error) => Verdict::Now(of_error(error)),
        }
    }
}

fn of_status(status: StatusCode, headers: &HeaderMap) -> Outcome {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::Failure(Failure::Overload {
                retry_after: retry_after(headers),
            })
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => {
            Outcome::Failure(Failure::Timeout)
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            Outcome::Failure(Failure::Permanent)
        }
        status if status.is_server_error() => Outcome::Failure(Failure::Transient),
        status if status.is_client_error() => Outcome::Neutral,
        _ => Outcome::Success,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header;

    use super::*;
    use crate::Error;

    fn outcome(status: u16, retry_after: Option<&str>) -> Outcome {
        let mut response = Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(header::RETRY_AFTER, value);
        }
        let response = response.body(()).unwrap();
        Classify::<_, Error<()>>::classify(&Http, Ok(&response)).on_head()
    }

    #[test]
    fn statuses_are_judged_by_their_meaning() {
        let overload = |retry_after| Outcome::Failure(Failure::Overload { retry_after });
        for status in [100, 200, 204, 301, 304] {
            assert_eq!(outcome(status, None), Outcome::Success, "{status}");
        }
        for status in [400, 401, 404, 409, 422, 499] {
            assert_eq!(outcome(status, None), Outcome::Neutral, "{status}");
        }
        for status in [500, 502, 507, 599] {
            assert_eq!(
                outcome(status, None),
                Outcome::Failure(Failure::Transient),
                "{status}"
            );
        }
        for status in [408, 504] {
            assert_eq!(outcome(status, None), Outcome::Failure(Failure::Timeout));
        }
        assert_eq!(outcome(501, None), Outcome::Failure(Failure::Permanent));
        assert_eq!(
            outcome(429, Some("7")),
            overload(Some(Duration::from_secs(7)))
        );
        for bad in ["", "-1", "1.5", "+3", "soon"] {
            assert_eq!(outcome(503, Some(bad)), overload(None), "{bad}");
        }
        assert_eq!(
            outcome(503, Some("99999999999999999999999")),
            overload(Some(Duration::from_secs(u64::MAX)))
        );
    }
}
