//! What a failed call gets.

use std::fmt;

use super::fate::Fault;

/// Makes what a call gets that meets [`Fault::Error`], [`Fault::Abort`] or, in
/// the end, [`Fault::Hang`].
///
/// [`Rejected`] is the default; [`by`] takes a closure; for HTTP there is
/// `status`. Its panic is counted, and the call gets the default.
pub trait Faults<Req: ?Sized, Res, Err> {
    /// The result; `None`:
    /// [`Injected`](crate::RejectionKind::Injected).
    fn fail(&self, fault: Fault, request: &Req) -> Option<Result<Res, Err>>;
}

/// All of them get [`Injected`](crate::RejectionKind::Injected).
#[derive(Debug, Clone, Copy, Default)]
pub struct Rejected;

impl<Req: ?Sized, Res, Err> Faults<Req, Res, Err> for Rejected {
    fn fail(&self, _: Fault, _: &Req) -> Option<Result<Res, Err>> {
        None
    }
}

/// What a closure makes: made by [`by`].
#[derive(Clone, Copy)]
pub struct By<F>(F);

/// What `f` makes of the fault and the request: an error of the service's own,
/// such as a connection that was reset, or a response.
pub const fn by<Req: ?Sized, Res, Err, F>(f: F) -> By<F>
where
    F: Fn(Fault, &Req) -> Option<Result<Res, Err>>,
{
    By(f)
}

impl<Req: ?Sized, Res, Err, F> Faults<Req, Res, Err> for By<F>
where
    F: Fn(Fault, &Req) -> Option<Result<Res, Err>>,
{
    fn fail(&self, fault: Fault, request: &Req) -> Option<Result<Res, Err>> {
        (self.0)(fault, request)
    }
}

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("By")
    }
}

#[cfg(feature = "http")]
pub use self::by_status::{Status, status};

#[cfg(feature = "http")]
mod by_status {
    use http::{Request, Response, StatusCode};

    use super::{Fault, Faults};

    /// A status for aborted calls: made by [`status`].
    #[derive(Debug, Clone, Copy)]
    pub struct Status(StatusCode);

    /// What is aborted gets a response of this status and without content.
    #[must_use]
    pub const fn status(code: StatusCode) -> Status {
        Status(code)
    }

    impl<Q, B: Default, Err> Faults<Request<Q>, Response<B>, Err> for Status {
        fn fail(&self, fault: Fault, _: &Request<Q>) -> Option<Result<Response<B>, Err>> {
            (fault == Fault::Abort).then(|| {
                let mut response = Response::new(B::default());
                *response.status_mut() = self.0;
                Ok(response)
            })
        }
    }
}
