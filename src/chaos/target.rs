//! Which requests are aimed at.

use std::fmt;

use super::fate::Fault;

/// What is to happen to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aim {
    /// Nothing. It is not counted among those whose fate the rates decide.
    Spare,
    /// What the policy's rates say.
    Rates,
    /// This, whatever the rates are.
    At(Fault),
}

/// Tells which requests are aimed at.
///
/// [`Everyone`] is the default; [`only`] takes a closure; for HTTP there is
/// `asked`. Its panic is counted, and spares the request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell whether `{Req}` is to meet a fault",
    note = "wrap a closure: `chaos::only(|request: &{Req}| true)`"
)]
pub trait Target<Req: ?Sized> {
    /// What is to happen to it.
    fn aim(&self, request: &Req) -> Aim;
}

/// All requests, by the policy's rates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everyone;

impl<Req: ?Sized> Target<Req> for Everyone {
    fn aim(&self, _: &Req) -> Aim {
        Aim::Rates
    }
}

/// The requests that a closure picks: made by [`only`].
#[derive(Clone, Copy)]
pub struct Only<F>(F);

/// The requests that `f` picks, by the policy's rates.
pub const fn only<Req: ?Sized, F: Fn(&Req) -> bool>(f: F) -> Only<F> {
    Only(f)
}

impl<Req: ?Sized, F: Fn(&Req) -> bool> Target<Req> for Only<F> {
    fn aim(&self, request: &Req) -> Aim {
        match (self.0)(request) {
            true => Aim::Rates,
            false => Aim::Spare,
        }
    }
}

impl<F> fmt::Debug for Only<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Only")
    }
}

#[cfg(feature = "http")]
pub use self::by_header::{Asked, asked};

#[cfg(feature = "http")]
mod by_header {
    use std::fmt;

    use http::{HeaderName, Request};

    use super::{Aim, Everyone, Target};
    use crate::chaos::Fault;

    /// The requests that ask for it: made by [`asked`].
    #[derive(Clone)]
    pub struct Asked<F, T = Everyone> {
        header: HeaderName,
        authorise: F,
        otherwise: T,
    }

    /// A request meets the fault that its header names ([`Fault::label`]), if
    /// `authorise` allows it: whoever may set the header may take the service
    /// down for himself, and with `hang` or `stall` hold its memory. All other
    /// requests meet the policy's rates, unless
    /// [`otherwise`](Asked::otherwise) says more.
    ///
    /// It works while the layer is running; with all rates at 0, nobody else meets
    /// a fault. How long and after how many bytes, the policy says, never the
    /// request.
    pub const fn asked<B, F>(header: HeaderName, authorise: F) -> Asked<F>
    where
        F: Fn(&Request<B>) -> bool,
    {
        Asked {
            header,
            authorise,
            otherwise: Everyone,
        }
    }

    impl<F> Asked<F> {
        /// Whether this target is to decide on the requests that ask for nothing,
        /// or may not.
        #[must_use]
        pub fn otherwise<T>(self, target: T) -> Asked<F, T> {
            Asked {
                header: self.header,
                authorise: self.authorise,
                otherwise: target,
            }
        }
    }

    impl<B, F, T> Target<Request<B>> for Asked<F, T>
    where
        F: Fn(&Request<B>) -> bool,
        T: Target<Request<B>>,
    {
        fn aim(&self, request: &Request<B>) -> Aim {
            let mut values = request.headers().get_all(&self.header).iter();
            let fault = match (values.next(), values.next()) {
                (Some(value), None) => Fault::ALL
                    .into_iter()
                    .find(|fault| fault.label().as_bytes() == value.as_bytes()),
                _ => None,
            };
            match fault {
                Some(fault) if (self.authorise)(request) => Aim::At(fault),
                _ => self.otherwise.aim(request),
            }
        }
    }

    impl<F, T: fmt::Debug> fmt::Debug for Asked<F, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Asked")
                .field("header", &self.header)
                .field("otherwise", &self.otherwise)
                .finish_non_exhaustive()
        }
    }
}
