//! What a fallback answers.

use crate::classify::{Cause, Failure, Outcome};
use crate::error::RejectionKind;
use crate::policy::PolicyError;

/// Whether one kind of failure is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rule {
    /// The fallback answers in its place.
    Answer,
    /// The caller gets it as it is.
    Pass,
}

/// What a fallback answers: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// refused = "answer"       # or "pass", here and below
/// timeout = "answer"
/// overload = "answer"
/// transient = "answer"
/// permanent = "pass"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    refused: Rule,
    timeout: Rule,
    overload: Rule,
    transient: Rule,
    permanent: Rule,
}

impl Default for Policy {
    /// Everything but what will fail again.
    fn default() -> Self {
        Self {
            refused: Rule::Answer,
            timeout: Rule::Answer,
            overload: Rule::Answer,
            transient: Rule::Answer,
            permanent: Rule::Pass,
        }
    }
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        Self::default().to_builder()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            refused: self.refused,
            timeout: self.timeout,
            overload: self.overload,
            transient: self.transient,
            permanent: self.permanent,
        }
    }

    /// Whether a call that ended so gets another answer.
    pub(super) fn answers(self, cause: Cause) -> bool {
        let rule = match (cause.outcome(), cause.rejection()) {
            (Outcome::Neutral, Some(rejection)) => match rejection.kind() {
                // The caller's mistake: it would get another answer for ever.
                RejectionKind::BadKey
                | RejectionKind::CostAboveBurst
                | RejectionKind::KeyRequired
                | RejectionKind::KeyInvalid
                | RejectionKind::KeyReused
                | RejectionKind::BodyTooLarge => Rule::Pass,
                _ => self.refused,
            },
            (Outcome::Failure(Failure::Timeout), _) => self.timeout,
            (Outcome::Failure(Failure::Overload { .. }), _) => self.overload,
            (Outcome::Failure(Failure::Transient), _) => self.transient,
            (Outcome::Failure(Failure::Permanent), _) => self.permanent,
            _ => Rule::Pass,
        };
        rule == Rule::Answer
    }

    fn rules(self) -> [Rule; 5] {
        [
            self.refused,
            self.timeout,
            self.overload,
            self.transient,
            self.permanent,
        ]
    }

    /// One bit for each rule.
    pub(super) fn to_word(self) -> u32 {
        self.rules()
            .into_iter()
            .rev()
            .fold(0, |word, rule| word << 1 | u32::from(rule == Rule::Answer))
    }

    pub(super) fn from_word(word: u32) -> Self {
        let rule = |bit: u32| match word >> bit & 1 {
            1 => Rule::Answer,
            _ => Rule::Pass,
        };
        Self {
            refused: rule(0),
            timeout: rule(1),
            overload: rule(2),
            transient: rule(3),
            permanent: rule(4),
        }
    }
}

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    refused: Rule,
    timeout: Rule,
    overload: Rule,
    transient: Rule,
    permanent: Rule,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Policy::builder()
    }
}

impl PolicyBuilder {
    /// Refusals of a layer inside, before the service was called: by default
    /// answered. Requests without a key or above the burst pass all the same:
    /// these are the caller's mistakes.
    pub fn refused(mut self, rule: Rule) -> Self {
        self.refused = rule;
        self
    }

    /// No answer in time: by default answered. The work may have been done.
    pub fn timeout(mut self, rule: Rule) -> Self {
        self.timeout = rule;
        self
    }

    /// The service said that it has too much to do: by default answered.
    pub fn overload(mut self, rule: Rule) -> Self {
        self.overload = rule;
        self
    }

    /// Other failures that another try may not meet: by default answered.
    pub fn transient(mut self, rule: Rule) -> Self {
        self.transient = rule;
        self
    }

    /// Failures that every try will meet: by default not answered, since that
    /// would hide a defect for good. Only a classifier can tell which they are.
    pub fn permanent(mut self, rule: Rule) -> Self {
        self.permanent = rule;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// If nothing is answered.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let policy = Policy {
            refused: self.refused,
            timeout: self.timeout,
            overload: self.overload,
            transient: self.transient,
            permanent: self.permanent,
        };
        if policy.to_word() == 0 {
            return Err(PolicyError::new(
                "refused to permanent",
                "pass for all of them",
                "at least one must be answered; to switch a fallback off, bypass it by its handle",
            ));
        }
        Ok(policy)
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{LayerId, Rejection};

    #[test]
    fn every_policy_survives_its_word() {
        for word in 0..32 {
            let policy = Policy::from_word(word);
            assert_eq!(policy.to_word(), word);
            let built = policy.to_builder().build();
            assert_eq!(built.is_ok(), word != 0, "{policy:?}");
            assert_eq!(built.unwrap_or(policy), policy);
        }
    }

    #[test]
    fn each_cause_has_its_rule() {
        let failure = |failure| Cause::new::<Rejection>(Outcome::Failure(failure), None);
        let refused = |kind| {
            let rejection = Rejection::before(kind, LayerId(1));
            Cause::new(Outcome::Neutral, Some(&rejection))
        };
        let overload = Failure::Overload { retry_after: None };
        let causes = [
            refused(RejectionKind::Full),
            failure(Failure::Timeout),
            failure(overload),
            failure(Failure::Transient),
            failure(Failure::Permanent),
        ];
        for (bit, cause) in causes.into_iter().enumerate() {
            for word in 0..32 {
                let answers = Policy::from_word(word).answers(cause);
                assert_eq!(answers, word >> bit & 1 == 1, "{cause:?}");
            }
        }
        let all = Policy::from_word(31);
        for cause in [
            refused(RejectionKind::BadKey),
            refused(RejectionKind::CostAboveBurst),
            failure(Failure::Panic),
            Cause::new::<Rejection>(Outcome::Neutral, None),
            Cause::new::<Rejection>(Outcome::Cancelled, None),
            Cause::new::<Rejection>(Outcome::Success, None),
        ] {
            assert!(!all.answers(cause), "{cause:?}");
        }
    }
}
