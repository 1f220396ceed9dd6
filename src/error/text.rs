//! A refusal as text.

use std::error::Error as StdError;
use std::fmt;

use super::Rejection;

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
