//! What health checks tell.

use crate::probe::Status;

/// What is believed of a check, or of a group of them, has changed: told once for
/// each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Checked<'a> {
    /// Which change it is, counted from 1 over all checks and groups: two of them may
    /// be told in either order, and the numbers say what came first.
    pub number: u64,
    /// Of what.
    pub subject: Subject<'a>,
    /// What was believed; `None` before the first answer of a check.
    pub from: Option<Status>,
    /// What is believed from now on.
    pub to: Status,
}

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Subject<'a> {
    /// Of one check, by its name.
    Check(&'a str),
    /// Of a group: `"liveness"`, `"readiness"`, `"startup"`.
    Group(&'static str),
}

impl<'a> Subject<'a> {
    /// The kind, a closed set, and the name.
    #[must_use]
    pub const fn label(self) -> (&'static str, &'a str) {
        match self {
            Self::Check(name) => ("check", name),
            Self::Group(name) => ("group", name),
        }
    }
}
