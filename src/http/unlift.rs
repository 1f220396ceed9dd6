//! How an error of a stack is taken apart: into refusals, and the rest.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use http::Response;

#[cfg(doc)]
use super::respond::respond_or;
use crate::error::{AsRejection, Error, Rejection};

/// What an error of the stack is.
#[derive(Debug)]
pub enum Split<A, E> {
    /// A refusal of a layer.
    Rejected(Rejection),
    /// Something that has an answer already.
    Answered(A),
    /// The service's own error, which goes on.
    Failed(E),
}

/// Tells refusals from other errors: [`Pass`] or [`Other`].
#[diagnostic::on_unimplemented(
    message = "`respond` cannot tell what to answer to the error `{E}` of this stack",
    note = "for a stack that holds other people's layers: `tower_keep::respond_or(stack, |error| response)`"
)]
pub trait Unlift<E, B> {
    /// The error that is left.
    type Error;
    /// What answers other errors.
    type Answer;
    /// Takes an error apart.
    fn unlift(&self, error: E) -> Split<Self::Answer, Self::Error>;
    /// An answer as a response.
    fn response(answer: Self::Answer) -> Response<B>;
}

/// The service's own errors stay errors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass;

impl<E, B> Unlift<Error<E>, B> for Pass {
    type Error = E;
    type Answer = Infallible;
    fn unlift(&self, error: Error<E>) -> Split<Infallible, E> {
        match error {
            Error::Rejected(rejection) => Split::Rejected(rejection),
            Error::Inner(error) => Split::Failed(error),
        }
    }
    fn response(answer: Infallible) -> Response<B> {
        match answer {}
    }
}

/// Other errors become responses with a body `B`: made by [`respond_or`].
pub struct Other<F, B>(F, PhantomData<fn() -> B>);

impl<F, B> Other<F, B> {
    pub(super) fn new<E>(f: F) -> Self
    where
        F: Fn(E) -> Response<B>,
    {
        Self(f, PhantomData)
    }
}

impl<F: Clone, B> Clone for Other<F, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<F, B> fmt::Debug for Other<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Other")
    }
}

impl<E: AsRejection, B, F: Fn(E) -> Response<B>> Unlift<E, B> for Other<F, B> {
    type Error = Infallible;
    type Answer = Response<B>;
    fn unlift(&self, error: E) -> Split<Response<B>, Infallible> {
        match error.as_rejection() {
            Some(rejection) => Split::Rejected(rejection),
            None => Split::Answered((self.0)(error)),
        }
    }
    fn response(answer: Response<B>) -> Response<B> {
        answer
    }
}
