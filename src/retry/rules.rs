//! Which requests may be sent again, and after which ends.

#[cfg(feature = "http")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(test)]
#[cfg(feature = "http")]
mod tests;

use std::fmt;
use std::time::Duration;

#[cfg(feature = "http")]
pub use self::grpc::Grpc;
#[cfg(feature = "http")]
pub use self::http::{Http, Unknown, Unprocessed};
use crate::classify::{Classify, ErrorsOnly, Failure, Outcome, of_error};
use crate::error::{AsRejection, Rejection, RejectionKind};

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Again {
    /// No: it went well, or would end the same way.
    No,
    /// No, and nobody else should: the server said so.
    Never,
    /// Yes, after the policy's delay.
    Yes,
    /// Yes, but not before this time has passed, and then the policy's delay. Zero
    /// is at once, without the policy's delay: many who come back so come together.
    After(Duration),
}

impl Again {
    /// Yes, after this time if it was named. Zero is no wish for haste: it names
    /// nothing.
    fn later(after: Option<Duration>) -> Self {
        after
            .filter(|after| !after.is_zero())
            .map_or(Self::Yes, Self::After)
    }
}

/// How an attempt ended, and whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// How it ended, for counts, events and the budget.
    pub outcome: Outcome,
    /// Whether to try again, if nothing else is against it.
    pub again: Again,
}

/// Says which requests may be sent again, and after which ends.
///
/// Ready-made: `Http`, `Grpc`, [`Idempotent`], [`when`]. Rules that panic are
/// counted, and the request is not sent again.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no rules for a service of `{Req}` that answers `Result<{Res}, {Err}>`",
    label = "these are not rules for this service",
    note = "`retry::Http` and `retry::Grpc` are for HTTP requests and responses; `retry::Idempotent` for any whose error is `AsRejection`",
    note = "by a function: `retry::when(|result: Result<&Response, &Error>| Again::Yes)`"
)]
pub trait Rules<Req, Res, Err> {
    /// What they must know of the request when an attempt has ended.
    type Seen;

    /// Looks at a request before its first attempt.
    fn see(&self, request: &Req) -> Self::Seen;

    /// Judges the end of an attempt.
    fn judge(&self, seen: &Self::Seen, result: Result<&Res, &Err>) -> Judged;
}

/// The layers' refusals that are worth another try, which none is unless asked
/// for: a circuit is open because trying does not help, and a bulkhead is full
/// because too many try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Refusals(u32);

impl Refusals {
    fn and(self, kind: RejectionKind) -> Self {
        Self(self.0 | 1 << (kind as u32))
    }

    fn judge(self, rejection: Rejection) -> Again {
        match self.0 & 1 << (rejection.kind() as u32) {
            0 => Again::No,
            _ => Again::later(rejection.retry_after()),
        }
    }
}

/// An error as these rules see it.
enum Seen {
    /// No layer's: the service's own.
    Own,
    /// The service has taken too long.
    Late,
    /// No connection came about in time: nothing was sent.
    Unsent,
    /// It was not reached.
    Refused(Rejection),
}

impl Seen {
    fn of<Err: AsRejection>(error: &Err) -> Self {
        match error.as_rejection() {
            None => Self::Own,
            Some(rejection) => match rejection.kind() {
                // It stands for a failure of the service.
                RejectionKind::Injected => Self::Own,
                RejectionKind::ConnectTimeout => Self::Unsent,
                _ if rejection.reached_inner() => Self::Late,
                _ => Self::Refused(rejection),
            },
        }
    }
}

/// Every request may be repeated: failures that may pass are, by their
/// [`Classify`]; errors and timeouts by default.
///
/// Only for services none of whose requests does harm when it comes twice. HTTP
/// has rules of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idempotent<C = ErrorsOnly> {
    classify: C,
    refusals: Refusals,
}

impl Idempotent {
    /// Errors and timeouts are tried again.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<C> Idempotent<C> {
    /// Ends that this calls transient, overload (after the time it names) or
    /// timeout are tried again.
    #[must_use]
    pub fn by(classify: C) -> Self {
        Self {
            classify,
            refusals: Refusals::default(),
        }
    }

    /// Also refusals of this kind by layers inside.
    #[must_use]
    pub fn also_refused(mut self, kind: RejectionKind) -> Self {
        self.refusals = self.refusals.and(kind);
        self
    }
}

impl<Req, Res, Err, C> Rules<Req, Res, Err> for Idempotent<C>
where
    Err: AsRejection,
    C: Classify<Res, Err>,
{
    type Seen = ();

    #[inline]
    fn see(&self, _: &Req) {}

    #[inline]
    fn judge(&self, (): &(), result: Result<&Res, &Err>) -> Judged {
        let outcome = self.classify.classify(result).on_head();
        let again = match (outcome, result.err().map(Seen::of)) {
            (Outcome::Success, _) => Again::No,
            (_, Some(Seen::Refused(rejection))) => self.refusals.judge(rejection),
            (Outcome::Failure(failure), _) => of_failure(failure),
            _ => Again::No,
        };
        Judged { outcome, again }
    }
}

fn of_failure(failure: Failure) -> Again {
    match failure {
        Failure::Transient | Failure::Timeout => Again::Yes,
        Failure::Overload { retry_after } => Again::later(retry_after),
        Failure::Permanent | Failure::Panic => Again::No,
    }
}

/// Rules by a function; see [`when`].
#[derive(Clone, Copy)]
pub struct When<F>(F);

impl<F> fmt::Debug for When<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("When")
    }
}

/// Tries again when this function says so. A response that it would try again is a
/// transient failure, any other a success; errors are what
/// [`ErrorsOnly`] takes them for.
pub fn when<Res, Err, F>(judge: F) -> When<F>
where
    F: Fn(Result<&Res, &Err>) -> Again,
{
    When(judge)
}

impl<Req, Res, Err, F> Rules<Req, Res, Err> for When<F>
where
    Err: AsRejection,
    F: Fn(Result<&Res, &Err>) -> Again,
{
    type Seen = ();

    fn see(&self, _: &Req) {}

    fn judge(&self, (): &(), result: Result<&Res, &Err>) -> Judged {
        let again = (self.0)(result);
        let outcome = match (result, again) {
            (Ok(_), Again::No) => Outcome::Success,
            (Ok(_), _) => Outcome::Failure(Failure::Transient),
            (Err(error), _) => of_error(error),
        };
        Judged { outcome, again }
    }
}
