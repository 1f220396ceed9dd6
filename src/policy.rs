//! What policies have in common: they are valid once they exist.
//!
//! Every pattern has a `Policy`, made by a builder whose `build` is the only
//! step that can fail, with a [`PolicyError`] that names the field and the
//! range. Constructors of layers take a `Policy` and cannot fail, and so does
//! the live update by a handle.

use std::time::Duration;

/// A policy that cannot be: which field, why, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {given} is not allowed; {allowed}")]
pub struct PolicyError {
    field: &'static str,
    given: String,
    allowed: &'static str,
}

impl PolicyError {
    pub(crate) fn new(
        field: &'static str,
        given: impl std::fmt::Display,
        allowed: &'static str,
    ) -> Self {
        Self {
            field,
            given: given.to_string(),
            allowed,
        }
    }

    /// The field, as the builder's method is called.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The range that is allowed, in words.
    #[must_use]
    pub fn allowed(&self) -> &'static str {
        self.allowed
    }
}

/// A share: finite, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "f64", into = "f64"))]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// All.
    pub const ONE: Self = Self(1.0);

    /// This share of the whole.
    ///
    /// # Errors
    /// If it is below 0, above 1, or no number.
    pub fn new(share: f64) -> Result<Self, PolicyError> {
        if (0.0..=1.0).contains(&share) {
            // Not -0, which is another word.
            return Ok(Self(share.abs()));
        }
        Err(PolicyError::new("ratio", share, "allowed are 0 to 1"))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = PolicyError;

    fn try_from(share: f64) -> Result<Self, PolicyError> {
        Self::new(share)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

/// The longest time that a policy may name: ten years. What is meant to last
/// for ever is better left out.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A time that must be above zero.
pub(crate) fn positive(
    field: &'static str,
    value: Option<Duration>,
) -> Result<Option<Duration>, PolicyError> {
    match value {
        Some(v) if v.is_zero() || v > LONGEST => Err(PolicyError::new(
            field,
            format_args!("{v:?}"),
            "allowed are 1 ns to 10 years, or none",
        )),
        value => Ok(value),
    }
}

/// What an operator may order a layer to do, whatever its policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Override {
    /// Nothing: the policy decides.
    #[default]
    None,
    /// Let everything through, and count what would have been refused.
    Bypass,
    /// Refuse everything.
    Close,
}

impl Override {
    pub(crate) fn to_word(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Bypass => 1,
            Self::Close => 2,
        }
    }

    pub(crate) fn from_word(word: u32) -> Self {
        match word {
            1 => Self::Bypass,
            2 => Self::Close,
            _ => Self::None,
        }
    }
}

/// Durations in configuration files: `"250ms"`, `"1m 30s"`.
#[cfg(feature = "serde")]
pub(crate) mod durations {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(crate) fn option<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let duration = humantime::parse_duration(&text).map_err(|error| {
            serde::de::Error::custom(format_args!(
                "{text:?} is not a duration such as \"250ms\": {error}"
            ))
        })?;
        Ok(Some(duration))
    }

    pub(crate) fn required<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        option(deserializer)?.ok_or_else(|| serde::de::Error::custom("a duration is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_share() {
        for share in [0.0, -0.0, f64::MIN_POSITIVE, 0.5, 1.0] {
            let ratio = Ratio::new(share).unwrap();
            assert_eq!(ratio.get().to_bits(), share.abs().to_bits());
        }
        for share in [
            -f64::MIN_POSITIVE,
            1.0 + f64::EPSILON,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            let error = Ratio::new(share).unwrap_err();
            assert_eq!(
                (error.field(), error.allowed()),
                ("ratio", "allowed are 0 to 1")
            );
        }
    }
}
