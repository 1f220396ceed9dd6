//! How a call ended, in the words that every pattern understands.
//!
//! A [`Classify`] turns a result into an [`Outcome`]. [`ErrorsOnly`] is the
//! default.
#![cfg_attr(
    feature = "http",
    doc = "For HTTP there are [`Http`] and [`Grpc`], which knows that gRPC puts its status
into the headers *or the trailers*."
)]

#[cfg(feature = "http")]
mod grpc;
#[cfg(feature = "http")]
mod http;

use std::time::Duration;

#[cfg(feature = "http")]
pub use self::grpc::Grpc;
#[cfg(feature = "http")]
pub use self::http::{BodyEnd, ClassifyEnd, Http};
use crate::error::{AsRejection, Rejection, RejectionKind};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// As it should.
    Success,
    /// The service failed.
    Failure(Failure),
    /// It says nothing about the service: a caller's mistake, or a refusal
    /// before the service was reached.
    Neutral,
    /// The caller went away before the end.
    Cancelled,
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Worth another try: a broken connection, a gateway error.
    Transient,
    /// The service has too much to do.
    Overload {
        /// When it asks to be called again.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    Timeout,
    /// It will fail again.
    Permanent,
    /// The service panicked.
    Panic,
}

impl Outcome {
    /// The name in metrics and headers: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Neutral => "neutral",
            Self::Cancelled => "cancelled",
            Self::Failure(Failure::Transient) => "transient",
            Self::Failure(Failure::Overload { .. }) => "overload",
            Self::Failure(Failure::Timeout) => "timeout",
            Self::Failure(Failure::Permanent) => "permanent",
            Self::Failure(Failure::Panic) => "panic",
        }
    }
}

/// Why a call did not end as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    outcome: Outcome,
    rejection: Option<Rejection>,
}

impl Cause {
    /// What was judged so, and the error it was if it was one.
    pub(crate) fn new<Err: AsRejection>(outcome: Outcome, error: Option<&Err>) -> Self {
        Self {
            outcome,
            rejection: error.and_then(AsRejection::as_rejection),
        }
    }

    /// How the call ended, in the words of its classifier.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The refusal, if it was one.
    #[must_use]
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// The label of the refusal, else that of the outcome: a closed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.rejection {
            Some(rejection) => rejection.kind().label(),
            None => self.outcome.label(),
        }
    }
}

/// What a classifier says when it sees the result, before the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// This is how it ended.
    Now(Outcome),
    /// The end of the body tells. Who does not wait for it takes a success.
    AtEnd,
}

impl Verdict {
    /// The outcome for those who decide on the head.
    #[must_use]
    pub fn on_head(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::AtEnd => Outcome::Success,
        }
    }
}

/// Judges how calls end. One trait for every pattern.
///
/// A classifier that panics is counted, and the outcome is
/// [`Outcome::Neutral`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge calls that end with `{Res}` or with the error `{Err}`",
    label = "not a classifier for this response and this error",
    note = "`classify::Http` and `classify::Grpc` judge `http::Response<B>`; `classify::ErrorsOnly` any response"
)]
pub trait Classify<Res, Err> {
    /// Judges the response's head, or the error.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

/// Every response is a success and every error a transient failure, except that
/// a refusal from before the service was reached is neutral, and giving up on
/// it, or on connecting to it, a timeout. What chaos injects is a transient
/// failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ErrorsOnly;

impl<Res, Err: AsRejection> Classify<Res, Err> for ErrorsOnly {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        Verdict::Now(match result {
            Ok(_) => Outcome::Success,
            Err(error) => of_error(error),
        })
    }
}

/// The outcome of an error, for classifiers that look only at responses.
pub fn of_error<Err: AsRejection>(error: &Err) -> Outcome {
    match error.as_rejection() {
        // It stands for a failure of the service.
        Some(rejection) if rejection.kind() == RejectionKind::Injected => {
            Outcome::Failure(Failure::Transient)
        }
        Some(rejection) if rejection.reached_inner() => Outcome::Failure(Failure::Timeout),
        // No request came through, and that is how a service that is gone looks.
        Some(rejection) if rejection.kind() == RejectionKind::ConnectTimeout => {
            Outcome::Failure(Failure::Timeout)
        }
        Some(_) => Outcome::Neutral,
        None => Outcome::Failure(Failure::Transient),
    }
}
