//! How much a request counts.

use std::fmt;

/// How many units of a quota a request takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell the cost of `{Req}`",
    label = "not a cost for this request type",
    note = "use `cost::One`, or wrap a closure: `cost::by(|r: &{Req}| 1)`"
)]
pub trait Cost<Req: ?Sized> {
    /// The units that `request` takes: 1 is an ordinary request, 0 is free.
    fn cost(&self, request: &Req) -> u32;
}

/// Every request costs one unit.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct One;

impl<Req: ?Sized> Cost<Req> for One {
    #[inline]
    fn cost(&self, _: &Req) -> u32 {
        1
    }
}

/// A closure as a cost; see [`by`].
#[derive(Copy, Clone)]
pub struct By<F>(F);

/// The cost is what `f` says.
pub const fn by<Req, F>(f: F) -> By<F>
where
    F: Fn(&Req) -> u32,
    Req: ?Sized,
{
    By(f)
}

impl<Req, F> Cost<Req> for By<F>
where
    F: Fn(&Req) -> u32,
    Req: ?Sized,
{
    #[inline]
    fn cost(&self, request: &Req) -> u32 {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("By").finish_non_exhaustive()
    }
}
