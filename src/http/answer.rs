//! The responses that refusals become.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use rand::RngExt;

use super::problem::{PROBLEM_JSON, Problem};
use super::quota::{Quota, Remaining, rate_limit, rate_limit_policy, retry_after};
use super::report::Report;
use crate::error::{Rejection, RejectionKind};

/// gRPC status codes ("gRPC over HTTP/2", Status codes).
const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const ALREADY_EXISTS: u8 = 6;
const FAILED_PRECONDITION: u8 = 9;
const ABORTED: u8 = 10;
const RESOURCE_EXHAUSTED: u8 = 8;
const INTERNAL: u8 = 13;
const UNAVAILABLE: u8 = 14;

/// When to come back if the layer cannot tell: soon, but not at once.
const SOON: Duration = Duration::from_secs(1);

struct Meaning {
    status: StatusCode,
    grpc: u8,
    /// When another try is worth it; `None` if it never is, or only for those
    /// who know that the request may have had an effect.
    retry_after: Option<Duration>,
    /// What a client may know, who need not hear how the inside is made and what
    /// its operators do.
    detail: &'static str,
}

fn meaning(rejection: &Rejection) -> Meaning {
    let soon = Some(rejection.retry_after().unwrap_or(SOON));
    let (status, grpc, retry_after, detail) = match rejection.kind() {
        RejectionKind::Throttled => (
            StatusCode::TOO_MANY_REQUESTS,
            RESOURCE_EXHAUSTED,
            soon,
            "too many requests",
        ),
        // Not 429: that is for too many, and this one never passes, whatever the
        // state of the system.
        RejectionKind::CostAboveBurst => (
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            None,
            "the request costs more than is ever allowed at once",
        ),
        RejectionKind::BadKey => (
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            None,
            "what tells who asks is missing or too long",
        ),
        RejectionKind::KeysExhausted
        | RejectionKind::TotalRate
        | RejectionKind::Full
        | RejectionKind::QueueTimeout
        | RejectionKind::Shed
        | RejectionKind::LimitReached => (
            StatusCode::SERVICE_UNAVAILABLE,
            RESOURCE_EXHAUSTED,
            soon,
            "too many requests at once",
        ),
        RejectionKind::Open
        | RejectionKind::ConnectTimeout
        | RejectionKind::NotReadyInTime
        | RejectionKind::NotReady
        | RejectionKind::NoRuntime
        | RejectionKind::NoEndpoint
        | RejectionKind::Closed => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            soon,
            "not available for the moment",
        ),
        RejectionKind::Timeout
        | RejectionKind::Stuck
        | RejectionKind::DeadlineExceeded
        | RejectionKind::BodyTimeout
        | RejectionKind::BodyIdle
        | RejectionKind::BodyTooSlow => (
            StatusCode::GATEWAY_TIMEOUT,
            DEADLINE_EXCEEDED,
            None,
            "no answer in time",
        ),
        RejectionKind::Injected => (
            StatusCode::INTERNAL_SERVER_ERROR,
            INTERNAL,
            None,
            "internal error",
        ),
        RejectionKind::KeyRequired => (
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            None,
            "the request needs a key of its own in Idempotency-Key",
        ),
        RejectionKind::KeyInvalid => (
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            None,
            "the value of Idempotency-Key is not valid",
        ),
        RejectionKind::BodyBroken => (
            StatusCode::BAD_REQUEST,
            INVALID_ARGUMENT,
            None,
            "the body of the request did not arrive",
        ),
        RejectionKind::BodyTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            INVALID_ARGUMENT,
            None,
            "the body of the request is too large",
        ),
        RejectionKind::KeyReused => (
            StatusCode::UNPROCESSABLE_ENTITY,
            FAILED_PRECONDITION,
            None,
            "the key was used for another request",
        ),
        RejectionKind::InProgress => (
            StatusCode::CONFLICT,
            ABORTED,
            soon,
            "the first request with this key has not ended",
        ),
        RejectionKind::TooEarly => (
            StatusCode::TOO_EARLY,
            ABORTED,
            soon,
            "the first request with this key has not ended",
        ),
        RejectionKind::Accepted => (
            StatusCode::ACCEPTED,
            ABORTED,
            soon,
            "the first request with this key has not ended",
        ),
        RejectionKind::OutcomeUnknown => (
            StatusCode::CONFLICT,
            FAILED_PRECONDITION,
            None,
            "it is not known what became of the first request with this key",
        ),
        RejectionKind::AnswerNotKept => (
            StatusCode::CONFLICT,
            ALREADY_EXISTS,
            None,
            "the request is done, and its answer was not kept",
        ),
        RejectionKind::StoreFailed => (
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            soon,
            "not available for the moment",
        ),
        RejectionKind::StoreFull => (
            StatusCode::SERVICE_UNAVAILABLE,
            RESOURCE_EXHAUSTED,
            soon,
            "too many requests at once",
        ),
    };
    Meaning {
        status,
        grpc,
        retry_after,
        detail,
    }
}

/// Up to a quarter of the wait, and a second.
fn jitter(wait: Duration) -> Duration {
    let most = (wait / 4).saturating_add(Duration::from_secs(1));
    rand::rng().random_range(Duration::ZERO..=most.min(Duration::from_secs(3600)))
}

/// An HTTP answer, with a problem document if its body can have content.
pub(super) fn http(rejection: &Rejection, with_content: bool, report: &Report) -> Response<Bytes> {
    let meaning = meaning(rejection);
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = meaning.status;
    let headers = response.headers_mut();
    if let Some(wait) = meaning.retry_after {
        headers.insert(header::RETRY_AFTER, retry_after(wait, jitter(wait)));
    }
    add_quotas(headers, report.quotas());
    if with_content {
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        let violated: Vec<&str> = report
            .quotas()
            .filter(|quota| quota.refused && quota.layer == rejection.layer())
            .map(|quota| &*quota.name)
            .collect();
        let mut problem = Problem::new(meaning.status).with_detail(meaning.detail);
        if rejection.kind() == RejectionKind::Throttled {
            problem = problem.violating(&violated);
        }
        *response.body_mut() = problem.to_bytes();
    }
    response
}

/// The HTTP response that [`respond`](super::respond) gives for a refusal: for
/// handlers that meet one as an error of a client they call.
///
/// ```
/// use axum::response::Response;
/// use tower_keep::{AsRejection, http::response_to};
///
/// fn answer(error: tower::BoxError) -> Result<Response, tower::BoxError> {
///     match error.as_rejection() {
///         Some(rejection) => Ok(response_to(&rejection)),
///         None => Err(error),
///     }
/// }
/// # let _ = answer;
/// ```
#[must_use]
pub fn response_to<B: From<Bytes>>(rejection: &Rejection) -> Response<B> {
    http(rejection, true, &Report::default()).map(Into::into)
}

/// A trailers-only gRPC answer: status 200, and the gRPC status in the headers.
pub(super) fn grpc(rejection: &Rejection) -> Response<()> {
    let meaning = meaning(rejection);
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert("grpc-status", HeaderValue::from(u16::from(meaning.grpc)));
    // Our texts need none of the percent-encoding that the field may have.
    headers.insert("grpc-message", HeaderValue::from_static(meaning.detail));
    if let Some(wait) = meaning.retry_after {
        let wait = wait.saturating_add(jitter(wait));
        let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from(millis));
    }
    response
}

/// Adds the quotas that throttles reported, if any.
pub(super) fn add_quotas<'a>(
    headers: &mut HeaderMap,
    reported: impl Iterator<Item = &'a super::report::Quota> + Clone,
) {
    let quotas = reported
        .clone()
        .map(|q| Quota::new(&q.name, q.limit).per(q.window));
    let left = reported.map(|q| Remaining::new(&q.name, q.remaining).until_more(q.reset));
    if let (Some(policy), Some(left)) = (rate_limit_policy(quotas), rate_limit(left)) {
        headers.append(HeaderName::from_static("ratelimit-policy"), policy);
        headers.append(HeaderName::from_static("ratelimit"), left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LayerId;

    const KINDS: [(RejectionKind, u16, u8, bool); 35] = [
        (RejectionKind::TotalRate, 503, 8, true),
        (RejectionKind::Throttled, 429, 8, true),
        (RejectionKind::CostAboveBurst, 400, 3, false),
        (RejectionKind::BadKey, 400, 3, false),
        (RejectionKind::KeysExhausted, 503, 8, true),
        (RejectionKind::Full, 503, 8, true),
        (RejectionKind::QueueTimeout, 503, 8, true),
        (RejectionKind::Shed, 503, 8, true),
        (RejectionKind::LimitReached, 503, 8, true),
        (RejectionKind::Open, 503, 14, true),
        (RejectionKind::Timeout, 504, 4, false),
        (RejectionKind::DeadlineExceeded, 504, 4, false),
        (RejectionKind::ConnectTimeout, 503, 14, true),
        (RejectionKind::NotReadyInTime, 503, 14, true),
        (RejectionKind::NotReady, 503, 14, true),
        (RejectionKind::BodyTimeout, 504, 4, false),
        (RejectionKind::BodyIdle, 504, 4, false),
        (RejectionKind::BodyTooSlow, 504, 4, false),
        (RejectionKind::NoRuntime, 503, 14, true),
        (RejectionKind::Closed, 503, 14, true),
        (RejectionKind::NoEndpoint, 503, 14, true),
        (RejectionKind::Injected, 500, 13, false),
        (RejectionKind::Stuck, 504, 4, false),
        (RejectionKind::KeyRequired, 400, 3, false),
        (RejectionKind::KeyInvalid, 400, 3, false),
        (RejectionKind::BodyBroken, 400, 3, false),
        (RejectionKind::BodyTooLarge, 413, 3, false),
        (RejectionKind::KeyReused, 422, 9, false),
        (RejectionKind::InProgress, 409, 10, true),
        (RejectionKind::TooEarly, 425, 10, true),
        (RejectionKind::Accepted, 202, 10, true),
        (RejectionKind::OutcomeUnknown, 409, 9, false),
        (RejectionKind::AnswerNotKept, 409, 6, false),
        (RejectionKind::StoreFailed, 503, 14, true),
        (RejectionKind::StoreFull, 503, 8, true),
    ];

    #[test]
    fn fault_061_every_refusal_has_its_status_and_an_honest_retry_after() {
        for (kind, status, code, retried) in KINDS {
            for wait in [1, 999_999_999, 1_000_000_001, 90_000_000_000] {
                let rejection = Rejection::before(kind, LayerId(1)).with_wait(wait);
                let wait = Duration::from_nanos(wait);
                let answer = http(&rejection, true, &Report::default());
                assert_eq!(answer.status().as_u16(), status, "{kind:?}");
                let seconds = answer
                    .headers()
                    .get(header::RETRY_AFTER)
                    .map(|v| v.to_str().unwrap().parse::<u64>().unwrap());
                assert_eq!(seconds.is_some(), retried, "{kind:?}");
                if let Some(seconds) = seconds {
                    let seconds = Duration::from_secs(seconds);
                    assert!(seconds >= wait && !seconds.is_zero());
                    assert!(seconds <= wait + wait / 4 + Duration::from_secs(2));
                }
                let told = String::from_utf8(answer.body().to_vec()).unwrap();
                let answer = grpc(&rejection);
                let message = answer.headers()["grpc-message"].to_str().unwrap();
                assert!(!message.is_empty() && told.contains(message), "{told}");
                // Neither which layer it was, nor who has given it orders.
                let layer = kind.as_str().split_once(':').map(|(layer, _)| layer);
                for word in layer.into_iter().chain(["operator", "runtime"]) {
                    assert!(!told.contains(word), "{kind:?}: {told}");
                }
                assert_eq!(answer.status(), 200);
                assert_eq!(answer.headers()["grpc-status"], code.to_string());
                let pushback = answer.headers().contains_key("grpc-retry-pushback-ms");
                assert_eq!(pushback, retried);
            }
        }
    }
}
