//! What policies have in common: they are valid once they exist.
//!
//! Every pattern has a `Policy`, made by a builder whose `build` is the only
//! step that can fail, with a [`PolicyError`] that names the field and the
//! range. Constructors of layers take a `Policy` and cannot fail, and so does
//! the live update by a handle.
//!
//! # Policies in files
//! With the feature `serde`, policies are read from whatever serde reads: each one's
//! page shows it in TOML with all its keys. The keys are the names of the builder's
//! methods, in `snake_case`; what has a default may be left out; a key that is not
//! known is an error, as is all that `build` refuses.
//!
//! - A duration is a text: numbers with units, one (`"250ms"`), or several with spaces
//!   (`"1m 30s"`) or without (`"1h30m"`). The units are `ns`, `us`, `ms`, `s`, `m`,
//!   `h`, `d` and longer ones, each in a few spellings, such as `sec` and `minutes`. A
//!   number without a unit is an error.
//! - A [`Ratio`] is a number from 0 to 1: `0.05` is five in a hundred.
//! - What is one of a few is a word in `kebab-case`.

use std::time::Duration;

/// An invalid policy: which field, why, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}; {allowed}")]
pub struct PolicyError {
    field: &'static str,
    fault: String,
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
            fault: format!("{given} is not allowed"),
            allowed,
        }
    }

    /// A field without a default was not given.
    #[cfg(any(
        feature = "bulkhead",
        feature = "throttle",
        feature = "circuit-breaker"
    ))]
    pub(crate) fn missing(field: &'static str, allowed: &'static str) -> Self {
        let fault = "is missing".to_owned();
        Self {
            field,
            fault,
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

/// A share of a whole: 0 to 1, in steps of a billionth; by default nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(into = "f64"))]
pub struct Ratio(u32);

/// In a file, it is the key that says what it is a share of, and not this type.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Ratio {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fraction = f64::deserialize(deserializer)?;
        Self::new(fraction).map_err(|error| {
            let allowed = error.allowed();
            serde::de::Error::custom(format_args!("{fraction} is not allowed; {allowed}"))
        })
    }
}

impl Ratio {
    const WHOLE: u32 = 1_000_000_000;

    /// Nothing of it.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const ONE: Self = Self(Self::WHOLE);

    /// So many hundredths: 0 to 100, and **more counts as 100**, so that it can be
    /// used for constants. For a number from elsewhere take [`new`](Self::new), which
    /// refuses what is above the whole.
    #[must_use]
    pub const fn percent(hundredths: u32) -> Self {
        match hundredths {
            0..=100 => Self(hundredths * (Self::WHOLE / 100)),
            _ => Self::ONE,
        }
    }

    /// A share as a fraction, rounded to a billionth.
    ///
    /// # Errors
    /// If it is not a number from 0 to 1.
    pub fn new(fraction: f64) -> Result<Self, PolicyError> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(PolicyError::new("ratio", fraction, "allowed are 0 to 1"));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range
        let billionths = (fraction * f64::from(Self::WHOLE)).round() as u32;
        Ok(Self(billionths))
    }

    /// The share as a fraction.
    #[must_use]
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// This share of a number, rounded down.
    #[allow(clippy::cast_possible_truncation)] // no more than `whole`
    pub(crate) fn of(self, whole: u64) -> u64 {
        (u128::from(whole) * u128::from(self.0) / u128::from(Self::WHOLE)) as u64
    }

    /// Whether `part` of `whole` is at least this share: exact, and always true
    /// of a share of nothing.
    pub(crate) fn is_reached(self, part: u64, whole: u64) -> bool {
        u128::from(part) * u128::from(Self::WHOLE) >= u128::from(whole) * u128::from(self.0)
    }
}

impl TryFrom<f64> for Ratio {
    type Error = PolicyError;

    fn try_from(fraction: f64) -> Result<Self, PolicyError> {
        Self::new(fraction)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> Self {
        ratio.fraction()
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

/// Durations in configuration files: `"250ms"`, `"1m 30s"`, `"1h30m"`.
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
