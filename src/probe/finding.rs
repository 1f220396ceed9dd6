//! What a probe has found.

use std::borrow::Cow;
use std::fmt::Display;

use super::Status;

/// Output beyond this many bytes is cut: what is told of a check stays small.
const LONGEST_OUTPUT: usize = 512;

/// What a probe has found.
///
/// ```
/// use tower_keep::probe::{Finding, Status};
///
/// assert_eq!(Finding::from(()).status(), Status::Pass);
/// let failed: Finding = Err::<(), _>("connection refused").into();
/// assert_eq!(failed.status(), Status::Fail);
/// assert_eq!(failed.output(), "connection refused");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Finding {
    status: Status,
    output: Cow<'static, str>,
    observed: Option<Observed>,
}

/// A number that a probe has measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed {
    /// What was measured, as in draft-inadarei-api-health-check-06: `"utilization"`,
    /// `"responseTime"`, `"connections"`, `"uptime"`, or your own word without a colon.
    pub measurement: &'static str,
    /// How much.
    pub value: u64,
    /// Of what: `"bytes"`, `"percent"`.
    pub unit: &'static str,
}

impl Finding {
    /// As it should be.
    pub const fn pass() -> Self {
        Self {
            status: Status::Pass,
            output: Cow::Borrowed(""),
            observed: None,
        }
    }

    /// It does its work, and somebody should look at it. More than 512 bytes of
    /// output are cut.
    pub fn warn(output: impl Into<Cow<'static, str>>) -> Self {
        Self::told(Status::Warn, output.into())
    }

    /// It does not do its work. More than 512 bytes of output are cut.
    pub fn fail(output: impl Into<Cow<'static, str>>) -> Self {
        Self::told(Status::Fail, output.into())
    }

    fn told(status: Status, mut output: Cow<'static, str>) -> Self {
        if output.len() > LONGEST_OUTPUT {
            let mut text = output.into_owned();
            let end = (0..=LONGEST_OUTPUT).rfind(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            output = Cow::Owned(text);
        }
        Self {
            status,
            output,
            observed: None,
        }
    }

    /// The same with a number that was measured.
    pub fn with_observed(
        mut self,
        measurement: &'static str,
        value: u64,
        unit: &'static str,
    ) -> Self {
        self.observed = Some(Observed {
            measurement,
            value,
            unit,
        });
        self
    }

    /// How well it is.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// What there is to say about it: empty if all is well. It may name what nobody
    /// outside should know.
    #[must_use]
    pub fn output(&self) -> &str {
        &self.output
    }

    #[cfg(feature = "health")]
    #[allow(dead_code)] // until health is there
    pub(crate) fn into_output(self) -> Cow<'static, str> {
        self.output
    }

    /// What was measured.
    #[must_use]
    pub const fn observed(&self) -> Option<Observed> {
        self.observed
    }
}

impl From<()> for Finding {
    fn from((): ()) -> Self {
        Self::pass()
    }
}

impl From<Status> for Finding {
    fn from(status: Status) -> Self {
        Self {
            status,
            ..Self::pass()
        }
    }
}

/// An error is a failure, and its text the output.
impl<T: Into<Self>, E: Display> From<Result<T, E>> for Finding {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(found) => found.into(),
            Err(error) => Self::fail(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_output_is_cut_between_characters() {
        let text = format!("x{}", "ä".repeat(LONGEST_OUTPUT));
        let finding = Finding::fail(text.clone());
        assert!(text.starts_with(finding.output()));
        assert_eq!(finding.output().len(), LONGEST_OUTPUT - 1);
        assert_eq!(Finding::warn("short").output(), "short");
    }
}
