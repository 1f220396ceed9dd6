//! How well something is.

use std::str::FromStr;

/// How well something is, from best to worst: the greater of two is the worse.
///
/// The words are those of draft-inadarei-api-health-check-06, which are read in any
/// case and with its other names (`ok`, `up`; `error`, `down`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Status {
    /// As it should be.
    #[default]
    Pass,
    /// It does its work, and somebody should look at it.
    Warn,
    /// It does not do its work.
    Fail,
}

impl Status {
    /// The word for it in JSON, metrics and reports: a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// Whether it does its work.
    #[must_use]
    pub const fn works(self) -> bool {
        !matches!(self, Self::Fail)
    }
}

/// The word is none of those that the draft knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither pass, warn nor fail, nor another name of theirs")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        match () {
            () if is(&["pass", "ok", "up"]) => Ok(Self::Pass),
            () if is(&["warn"]) => Ok(Self::Warn),
            () if is(&["fail", "error", "down"]) => Ok(Self::Fail),
            () => Err(UnknownStatus),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_draft_in_any_case() {
        for (word, status) in [
            ("pass", Status::Pass),
            ("OK", Status::Pass),
            ("Up", Status::Pass),
            ("WARN", Status::Warn),
            ("fail", Status::Fail),
            ("Error", Status::Fail),
            ("DOWN", Status::Fail),
        ] {
            assert_eq!(word.parse(), Ok(status), "{word}");
        }
        for word in ["", "passed", "warning", "unknown"] {
            assert_eq!(word.parse::<Status>(), Err(UnknownStatus), "{word}");
        }
        for status in [Status::Pass, Status::Warn, Status::Fail] {
            assert_eq!(status.label().parse(), Ok(status));
        }
    }

    #[test]
    fn the_worse_is_the_greater() {
        assert!(Status::Fail > Status::Warn && Status::Warn > Status::Pass);
        assert!(Status::Pass.works() && Status::Warn.works() && !Status::Fail.works());
    }
}
