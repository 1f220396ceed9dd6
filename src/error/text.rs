//! A refusal as text.

use std::error::Error as StdError;
use std::fmt;

use super::{Error, Rejection};

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match self.retry_after() {
            Some(wait) => write!(f, ", retry after {wait:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.kind)
            .field("layer", &self.layer())
            .field("retry_after", &self.retry_after())
            .field("reached_inner", &self.reached_inner())
            .finish()
    }
}

impl StdError for Rejection {}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // So that a search through the chain finds the rejection.
            Self::Rejected(rejection) => Some(rejection),
            Self::Inner(error) => error.source(),
        }
    }
}
