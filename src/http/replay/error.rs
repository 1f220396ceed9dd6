//! What a reading can fail with.

use std::error::Error as StdError;
use std::fmt;

/// Why a body could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError<E> {
    /// The body itself failed.
    Inner(E),
    /// It failed for another reader before.
    Broken,
    /// It is longer than what is kept, and an older reader has gone on with it.
    TooLong,
    /// Another attempt has taken this one's place.
    Replaced,
}

impl<E: fmt::Display> fmt::Display for ReplayError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Broken => f.write_str("request body: it failed in an earlier attempt"),
            Self::TooLong => f.write_str("request body: too long for another attempt"),
            Self::Replaced => f.write_str("request body: another attempt took over"),
        }
    }
}

impl<E: StdError + 'static> StdError for ReplayError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Inner(error) => error.source(),
            Self::Broken | Self::TooLong | Self::Replaced => None,
        }
    }
}
