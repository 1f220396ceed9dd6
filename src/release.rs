//! When an admission ends: with the response's head, or with its body.
//!
//! It is a type parameter and not a setting, because it changes the type of the
//! response: `Bulkhead<S, Shed, OnBodyEnd>` wraps the body.

use crate::classify::{Outcome, Verdict};
#[cfg(feature = "http")]
use crate::{classify::ClassifyEnd, http::body::TrackedBody};

/// The admission ends when the response's head arrives, or the call fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnHead;

/// The admission ends with the response's body: at its end, at its error, or
/// when it is dropped.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, Default)]
pub struct OnBodyEnd;

/// An admission that can be told how its call ended. Dropped untold, the call
/// was cancelled.
pub trait Admission: sealed::Admission {
    /// Ends it. Later calls change nothing.
    fn finish(&mut self, outcome: Outcome);

    /// Ends it with what `judge` says; [`Outcome::Neutral`] if that panics.
    fn finish_with(&mut self, judge: impl FnOnce() -> Outcome);
}

/// Passes an admission on to whatever ends it: implemented by [`OnHead`] and
/// `OnBodyEnd` only.
#[diagnostic::on_unimplemented(
    message = "the response `{Res}` has no end that an admission could wait for",
    label = "not a response with a body",
    note = "`until_body_end()` is for `http::Response<B>` with a body `B: http_body::Body`, and a classifier with `ClassifyEnd`"
)]
pub trait Release<Res, P, C>: sealed::Release {
    /// The response that comes out.
    type Response;

    /// Ends the admission, or hides it in the response; nothing of it is left
    /// where it was.
    fn release(response: Res, admitted: &mut Option<(P, C)>, verdict: Verdict) -> Self::Response;
}

// That nobody else can name them is their purpose.
#[expect(unnameable_types)]
pub(crate) mod sealed {
    pub trait Admission {}
    pub trait Release {}
}

impl sealed::Release for OnHead {}

impl<Res, P: Admission, C> Release<Res, P, C> for OnHead {
    type Response = Res;

    #[inline]
    fn release(response: Res, admitted: &mut Option<(P, C)>, verdict: Verdict) -> Res {
        // In place: to move the permit first would copy it.
        if let Some((permit, _)) = admitted {
            permit.finish(verdict.on_head());
        }
        *admitted = None;
        response
    }
}

#[cfg(feature = "http")]
impl sealed::Release for OnBodyEnd {}

#[cfg(feature = "http")]
impl<B, P, C> Release<http::Response<B>, P, C> for OnBodyEnd
where
    B: http_body::Body,
    P: Admission,
    C: ClassifyEnd,
{
    type Response = http::Response<TrackedBody<B, P, C>>;

    fn release(
        response: http::Response<B>,
        admitted: &mut Option<(P, C)>,
        verdict: Verdict,
    ) -> Self::Response {
        let admitted = admitted.take();
        response.map(|body| TrackedBody::new(body, admitted, verdict))
    }
}
