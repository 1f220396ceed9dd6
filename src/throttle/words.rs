//! The policy as words that change together, for the way in.

use std::time::Duration;

use super::limit::OverTotal;
pub(super) use super::policy::PLACES;
use super::policy::{Headers, MissingKey, Policy, WhenFull};
use crate::clock::nanos;
use crate::kernel::gcra::Quota;
use crate::kernel::live::Live;
use crate::kernel::meter::Measure;

/// The quota of the plain bucket; the rules for headers, missing keys and full tables,
/// and the permits; the longest wait and the period in nanoseconds; and the
/// [`Plan`].
pub(super) type Words = Live<LENGTH>;
pub(super) const LENGTH: usize = HEAD + PLAN;
/// Words before the plan.
const HEAD: usize = 8;
/// Words of a limit: what it measures (with the permits in the upper half of the
/// first), and its period.
const LIMIT: usize = 7;
const PLAN: usize = PLACES * LIMIT;

/// Which of the words is which.
const RULES: usize = 5;
pub(super) const MAX_WAIT: usize = 6;
pub(super) const PERIOD: usize = 7;

/// Bits of the rules.
const SEVERAL: u64 = 1 << 2;
const LEASED: u64 = 1 << 3;
/// From this bit on, one for each limit that exists.
const LIMITS: usize = 9;
/// If none of these is set, the plain bucket decides, and nobody is told.
const ODD: u64 = 2 | SEVERAL | LEASED;

/// What the policy says beside the quota, as `pack` wrote it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules(u64);

/// What asks the plain bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Requests, and nothing else does.
    Plain,
    /// Threads, for slices.
    Leased,
    /// Whoever asks all limits: it alone does not do.
    Several,
}

/// What the limits measure, as `pack` wrote it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan([[u64; LIMIT]; PLACES]);

/// The limit of all keys together.
pub(super) const TOTAL: usize = PLACES - 1;

impl Plan {
    pub(super) fn of(words: &Words) -> Self {
        words.load_with(|words| {
            let there = words.get(RULES) >> LIMITS;
            let mut limits = [[0; LIMIT]; PLACES];
            for (at, limit) in limits.iter_mut().enumerate() {
                if there >> at & 1 != 0 {
                    let first = HEAD + at * LIMIT;
                    *limit = std::array::from_fn(|word| words.get(first + word));
                }
            }
            Self(limits)
        })
    }

    /// That of a key which has its own, with the total limit of the other; `None` if it
    /// has none any more.
    pub(super) fn own(words: &Words, all: &Self) -> Option<Self> {
        let mut own = Self::of(words);
        own.measure(0)?;
        own.0[TOTAL] = all.0[TOTAL];
        Some(own)
    }

    pub(super) fn measure(&self, at: usize) -> Option<Measure> {
        let [kind, a, b, c, d, e, _] = self.0[at];
        Measure::from_words([kind, a, b, c, d, e])
    }

    /// The limits, and which they are.
    pub(super) fn measures(&self) -> impl Iterator<Item = (usize, Measure)> + '_ {
        (0..PLACES).filter_map(|at| Some((at, self.measure(at)?)))
    }

    /// Requests per window, and the window in nanoseconds.
    #[cfg(feature = "http")]
    pub(super) fn rate(&self, at: usize) -> (u64, u64) {
        (self.0[at][0] >> 32, self.0[at][LIMIT - 1])
    }
}

pub(super) fn pack(quota: Quota, policy: &Policy, patience: Duration, way: Way) -> [u64; LENGTH] {
    let [a, b, c, d, e] = quota.to_words();
    let headers = match policy.headers {
        Headers::Never => 0,
        Headers::OnRefusal => 1,
        Headers::Always => 2,
    };
    let missing = u64::from(policy.missing_key == MissingKey::Refuse);
    let full = u64::from(policy.when_full == WhenFull::Refuse);
    let shared = u64::from(policy.over_total == OverTotal::Quota);
    let way = match way {
        Way::Plain => 0,
        Way::Leased => LEASED,
        Way::Several => SEVERAL,
    };
    let rules = headers | way | missing << 8 | full << 16 | shared << 24;
    let rules = rules | u64::from(policy.permits) << 32;
    let (wait, per) = (nanos(policy.max_wait), nanos(policy.per));
    let mut words = [0; LENGTH];
    words[..HEAD].copy_from_slice(&[a, b, c, d, e, rules, wait, per]);
    // The policy was built, so they can be.
    let measures = policy.measures(patience).unwrap_or_default();
    let (head, plan) = words.split_at_mut(HEAD);
    for (at, (place, limit)) in plan.chunks_mut(LIMIT).zip(measures).enumerate() {
        if let Some((limit, measure)) = limit {
            // One bucket, however it is asked.
            let measure = match (at, measure) {
                (0, Measure::Bucket(_)) => Measure::Bucket(quota),
                (_, measure) => measure.in_force_like(&quota),
            };
            place[..6].copy_from_slice(&measure.to_words());
            place[0] |= u64::from(limit.permits) << 32;
            place[6] = nanos(limit.per);
            head[RULES] |= 1 << (LIMITS + at);
        }
    }
    words
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
        match self.0 & 3 {
            0 => Headers::Never,
            1 => Headers::OnRefusal,
            _ => Headers::Always,
        }
    }

    /// Whether there is a policy at all.
    pub(super) fn exists(self) -> bool {
        self.0 >> 32 != 0
    }

    /// Whether the plain bucket decides, and nobody is told.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 & ODD == 0
    }

    /// Whether the plain bucket does not do.
    pub(super) fn is_several(self) -> bool {
        self.0 & SEVERAL != 0
    }

    /// Whether threads may hold slices of the plain bucket.
    #[inline]
    pub(super) fn is_leased(self) -> bool {
        self.0 & LEASED != 0
    }

    pub(super) fn over_total(self) -> OverTotal {
        match self.0 >> 24 & 1 {
            0 => OverTotal::Overload,
            _ => OverTotal::Quota,
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
