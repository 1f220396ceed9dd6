//! Outcomes of gRPC responses.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use super::{BodyEnd, Classify, ClassifyEnd, Failure, Http, Outcome, Verdict, of_error};
use crate::error::AsRejection;

/// Judges by `grpc-status`, in the headers (a *trailers-only* response) or in
/// the trailers ("gRPC over HTTP/2", section Responses). A complete body without
/// one is a failure, as the protocol says.
///
/// | code | outcome |
/// |---|---|
/// | 0 | success |
/// | 1 CANCELLED | cancelled |
/// | 4 DEADLINE_EXCEEDED | failure: timeout |
/// | 8 RESOURCE_EXHAUSTED | failure: overload, with `grpc-retry-pushback-ms` |
/// | 14 UNAVAILABLE, 2 UNKNOWN, 10 ABORTED, 13 INTERNAL | failure: transient |
/// | 12 UNIMPLEMENTED, 15 DATA_LOSS | failure: permanent |
/// | 3, 5, 6, 7, 9, 11, 16 | neutral: the caller's mistake |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grpc;

impl<B, Err: AsRejection> Classify<Response<B>, Err> for Grpc {
    fn classify(&self, result: Result<&Response<B>, &Err>) -> Verdict {
        let response = match result {
            Ok(response) => response,
            Err(error) => return Verdict::Now(of_error(error)),
        };
        if response.status() != StatusCode::OK {
            // Not from a gRPC server: from a proxy on the way.
            return Classify::<Response<B>, Err>::classify(&Http, Ok(response));
        }
        match of_headers(response.headers()) {
            Some(outcome) => Verdict::Now(outcome),
            None => Verdict::AtEnd,
        }
    }
}

impl ClassifyEnd for Grpc {
    fn classify_end(&self, end: BodyEnd<'_>) -> Outcome {
        match end {
            BodyEnd::Complete(trailers) => trailers
                .and_then(of_headers)
                .unwrap_or(Outcome::Failure(Failure::Transient)),
            BodyEnd::Error => Outcome::Failure(Failure::Transient),
            BodyEnd::Dropped => Outcome::Cancelled,
        }
    }
}

fn of_headers(headers: &HeaderMap) -> Option<Outcome> {
    let code = headers.get("grpc-status")?.to_str().ok();
    Some(match code.and_then(|code| code.parse::<u8>().ok()) {
        Some(0) => Outcome::Success,
        Some(1) => Outcome::Cancelled,
        Some(3 | 5 | 6 | 7 | 9 | 11 | 16) => Outcome::Neutral,
        Some(4) => Outcome::Failure(Failure::Timeout),
        Some(8) => Outcome::Failure(Failure::Overload {
            retry_after: pushback(headers),
        }),
        Some(12 | 15) => Outcome::Failure(Failure::Permanent),
        _ => Outcome::Failure(Failure::Transient),
    })
}

/// Negative or unreadable: do not retry, which is not a time to wait.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-retry-pushback-ms")?.to_str().ok()?;
    value.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn trailers(code: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert("grpc-status", code.parse().unwrap());
        map
    }

    #[test]
    fn the_status_may_come_in_the_headers_or_in_the_trailers() {
        let classify = |r: &Response<()>| Classify::<_, Error<()>>::classify(&Grpc, Ok(r));
        let mut response = Response::new(());
        assert_eq!(classify(&response), Verdict::AtEnd);
        *response.headers_mut() = trailers("14");
        assert_eq!(
            classify(&response),
            Verdict::Now(Outcome::Failure(Failure::Transient))
        );
        let end = |code| Grpc.classify_end(BodyEnd::Complete(Some(&trailers(code))));
        assert_eq!(end("0"), Outcome::Success);
        assert_eq!(end("5"), Outcome::Neutral);
        assert_eq!(end("4"), Outcome::Failure(Failure::Timeout));
        assert_eq!(end("nonsense"), Outcome::Failure(Failure::Transient));
        assert_eq!(
            Grpc.classify_end(BodyEnd::Complete(None)),
            Outcome::Failure(Failure::Transient)
        );
        let mut full = trailers("8");
        full.insert("grpc-retry-pushback-ms", "250".parse().unwrap());
        assert_eq!(
            Grpc.classify_end(BodyEnd::Complete(Some(&full))),
            Outcome::Failure(Failure::Overload {
                retry_after: Some(Duration::from_millis(250))
            })
        );
    }
}
