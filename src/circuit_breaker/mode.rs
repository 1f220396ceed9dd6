//! What an operator wants of a breaker.

use crate::policy::Override;

/// What an operator wants of a breaker, whatever its policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Mode {
    /// The policy decides.
    #[default]
    Normal,
    /// It decides, counts and tells, and lets through what it would refuse:
    /// [`Override::Bypass`].
    Dark,
    /// It refuses everything: [`Override::Close`].
    ForcedOpen,
    /// It lets everything through and counts the ends, and does not open. A circuit
    /// that was open is closed by its next call, or by the next end of one.
    ForcedClosed,
    /// It lets everything through and looks at nothing; the circuits stay as they
    /// are.
    Disabled,
}

impl Mode {
    /// The first three are the same as for all layers.
    pub(super) fn to_word(self) -> u32 {
        match self {
            Self::Normal => Override::None.to_word(),
            Self::Dark => Override::Bypass.to_word(),
            Self::ForcedOpen => Override::Close.to_word(),
            Self::ForcedClosed => 3,
            Self::Disabled => 4,
        }
    }

    pub(super) fn from_word(word: u32) -> Self {
        let all = [
            Self::Dark,
            Self::ForcedOpen,
            Self::ForcedClosed,
            Self::Disabled,
        ];
        let found = all.into_iter().find(|mode| mode.to_word() == word);
        found.unwrap_or(Self::Normal)
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Dark => "dark",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Disabled => "disabled",
        }
    }
}
