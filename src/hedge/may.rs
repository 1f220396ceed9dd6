//! Which requests may be made twice.

use std::fmt;

/// Says which requests may be made twice. If it panics, that is counted, and the
/// request is not hedged.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell whether `{Req}` may be made twice",
    note = "`hedge::idempotent()` is for `http::Request`; else `hedge::every()`, or `hedge::when(|request| ..)`"
)]
pub trait MayHedge<Req> {
    /// Whether another attempt at this request does no harm, even if both are
    /// done to their end.
    fn may_hedge(&self, request: &Req) -> bool;
}

/// All of them: made by [`every`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Every(());

/// Every request may be made twice: for services of which each call only reads.
#[must_use]
pub const fn every() -> Every {
    Every(())
}

impl<Req> MayHedge<Req> for Every {
    #[inline]
    fn may_hedge(&self, _: &Req) -> bool {
        true
    }
}

/// Those of which a function says so: made by [`when`].
#[derive(Clone, Copy)]
pub struct When<F>(F);

/// The requests of which `f` says so.
pub const fn when<Req, F: Fn(&Req) -> bool>(f: F) -> When<F> {
    When(f)
}

impl<Req, F: Fn(&Req) -> bool> MayHedge<Req> for When<F> {
    #[inline]
    fn may_hedge(&self, request: &Req) -> bool {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for When<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("When")
    }
}

/// Those that are idempotent by HTTP: made by [`idempotent`].
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Idempotent(());

/// Requests whose method is idempotent, and those with an `Idempotency-Key`
/// ([`may_repeat`](crate::http::may_repeat)).
#[cfg(feature = "http")]
#[must_use]
pub const fn idempotent() -> Idempotent {
    Idempotent(())
}

#[cfg(feature = "http")]
impl<B> MayHedge<http::Request<B>> for Idempotent {
    #[inline]
    fn may_hedge(&self, request: &http::Request<B>) -> bool {
        crate::http::may_repeat(request)
    }
}
