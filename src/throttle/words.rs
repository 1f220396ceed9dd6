//! The policy as words that change together, for the way in.

use super::policy::{Headers, MissingKey, Policy, WhenFull};
use crate::clock::nanos;
use crate::kernel::gcra::Quota;
use crate::kernel::live::Live;

/// The quota; the rules for headers, missing keys and full tables, and the
/// permits; the longest wait and the period in nanoseconds.
pub(super) type Words = Live<8>;

/// Which of the words is which.
const RULES: usize = 5;
pub(super) const MAX_WAIT: usize = 6;
pub(super) const PERIOD: usize = 7;

/// What the policy says beside the quota, as `pack` wrote it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules(u64);

pub(super) fn pack(quota: Quota, policy: &Policy) -> [u64; 8] {
    let [a, b, c, d, e] = quota.to_words();
    let headers = match policy.headers {
        Headers::Never => 0,
        Headers::OnRefusal => 1,
        Headers::Always => 2,
    };
    let missing = u64::from(policy.missing_key == MissingKey::Refuse);
    let full = u64::from(policy.when_full == WhenFull::Refuse);
    let rules = headers | missing << 8 | full << 16 | u64::from(policy.permits) << 32;
    let (wait, per) = (nanos(policy.max_wait), nanos(policy.per));
    [a, b, c, d, e, rules, wait, per]
}

/// The quota and the rules in force.
#[inline]
pub(super) fn in_force(words: &Words) -> (Quota, Rules) {
    let [a, b, c, d, e, rules] = words.load_first();
    (Quota::from_words([a, b, c, d, e]), Rules(rules))
}

impl Rules {
    /// Those in force.
    #[inline]
    pub(super) fn of(words: &Words) -> Self {
        Self(words.word::<RULES>())
    }

    #[inline]
    pub(super) fn headers(self) -> Headers {
        match self.0 & 0xff {
            0 => Headers::Never,
            1 => Headers::OnRefusal,
            _ => Headers::Always,
        }
    }

    #[cfg(feature = "http")]
    #[allow(clippy::cast_possible_truncation)] // the upper half
    pub(super) fn permits(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn missing_key(self) -> MissingKey {
        match self.0 >> 8 & 1 {
            0 => MissingKey::Share,
            _ => MissingKey::Refuse,
        }
    }

    pub(super) fn when_full(self) -> WhenFull {
        match self.0 >> 16 & 1 {
            0 => WhenFull::Share,
            _ => WhenFull::Refuse,
        }
    }
}
