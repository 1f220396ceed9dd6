//! What a budget allows.

use std::time::Duration;

use crate::classify::{Failure, Outcome};
use crate::kernel::budget::Terms;
use crate::kernel::gcra::Quota;
use crate::policy::{PolicyError, Ratio};

/// What a budget allows: valid by construction.
///
/// In a file `kind` names the rule, with what it needs:
///
/// ```toml
/// a = { kind = "ratio", retries = 1, requests = 10, floor = 1, burst = 100 }
/// b = { kind = "grpc", max-tokens = 10, token-ratio = 0.1 }
/// c = { kind = "aws" }
/// d = { kind = "aws-2-1" }
/// e = { kind = "in-flight", share = 0.2, least = 3 }
/// ```
///
/// `max_tokens` and `token_ratio`, as the builders of other policies have it, are
/// understood too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "file::Any"))]
pub struct Policy {
    pub(super) rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Ratio { terms: Terms, floor: Option<Quota> },
    Tokens(Costs),
    InFlight { share: Ratio, least: u32 },
}

/// The prices of a token bucket, in thousandths of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Costs {
    pub(super) most: u64,
    /// More than this must be left.
    pub(super) reserve: Option<u64>,
    /// Of an attempt after a failure of any other kind.
    attempt: u64,
    after_timeout: u64,
    after_overload: u64,
    /// Every attempt that fails takes this.
    pub(super) failure: u64,
    /// Every success brings this, or else the price of its attempt.
    pub(super) success: u64,
    pub(super) refunds: bool,
}

impl Costs {
    const TOKEN: u64 = 1_000;

    pub(super) fn of(&self, cause: Outcome) -> u64 {
        match cause {
            Outcome::Failure(Failure::Timeout) => self.after_timeout,
            Outcome::Failure(Failure::Overload { .. }) => self.after_overload,
            _ => self.attempt,
        }
    }

    /// How many attempts of the common price would pass now.
    pub(super) fn worth(&self, left: u64) -> u64 {
        match self.reserve {
            Some(reserve) => left.saturating_sub(reserve).div_ceil(Self::TOKEN),
            None => left / self.attempt.max(1),
        }
    }

    fn aws([attempt, after_timeout, after_overload]: [u64; 3]) -> Self {
        Self {
            most: 500 * Self::TOKEN,
            reserve: None,
            attempt: attempt * Self::TOKEN,
            after_timeout: after_timeout * Self::TOKEN,
            after_overload: after_overload * Self::TOKEN,
            failure: 0,
            success: Self::TOKEN,
            refunds: true,
        }
    }
}

impl Default for Policy {
    /// One further attempt for ten requests, and one a second besides.
    fn default() -> Self {
        Self {
            rule: ratio(1, 10, 1, 100),
        }
    }
}

const FLOOR_BURST: u32 = 10;

/// Of numbers that were found good.
fn ratio(retries: u32, requests: u32, floor: u32, burst: u32) -> Rule {
    let burst = u64::from(burst) * u64::from(requests);
    let saved = floor.saturating_mul(FLOOR_BURST);
    Rule::Ratio {
        terms: Terms {
            income: retries.into(),
            cost: requests.into(),
            most: burst,
        },
        floor: Quota::new(floor, Duration::from_secs(1), saved, Duration::ZERO).ok(),
    }
}

impl Policy {
    /// A ratio of further attempts to requests, as a builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// One hedge for twenty calls, and one a second besides: as many as a delay of
    /// the 95th percentile needs.
    #[cfg(feature = "hedge")]
    pub(crate) fn of_hedges() -> Self {
        Self {
            rule: ratio(1, 20, 1, 100),
        }
    }

    /// The token bucket of gRPC's retry throttling (proposal A6): every attempt
    /// that fails takes a token, every success brings `token_ratio` of one, and
    /// none is retried or hedged unless more than half of `max_tokens` are left.
    ///
    /// # Errors
    /// If `max_tokens` is not 1 to 1,000, or `token_ratio` is below a thousandth;
    /// what is finer than a thousandth is cut off.
    pub fn grpc(max_tokens: u32, token_ratio: Ratio) -> Result<Self, PolicyError> {
        if !(1..=1_000).contains(&max_tokens) {
            return Err(PolicyError::new(
                "max_tokens",
                max_tokens,
                "allowed are 1 to 1000",
            ));
        }
        let success = token_ratio.of(Costs::TOKEN);
        if success == 0 {
            let given = token_ratio.fraction();
            return Err(PolicyError::new(
                "token_ratio",
                given,
                "allowed are 0.001 to 1",
            ));
        }
        let most = u64::from(max_tokens) * Costs::TOKEN;
        Ok(Self {
            rule: Rule::Tokens(Costs {
                most,
                reserve: Some(most / 2),
                attempt: 0,
                after_timeout: 0,
                after_overload: 0,
                failure: Costs::TOKEN,
                success,
                refunds: false,
            }),
        })
    }

    /// The quota of AWS's clients in standard mode: 500 tokens, 5 for an attempt,
    /// 10 after a timeout. The success of an attempt brings its price back, that
    /// of a first attempt one token.
    #[must_use]
    pub fn aws() -> Self {
        Self {
            rule: Rule::Tokens(Costs::aws([5, 10, 5])),
        }
    }

    /// The same with the prices of version 2.1, which these clients have had
    /// since 2026 on request: 14 for an attempt, 5 after the server said that it
    /// has too much to do. That is enough for 35.
    #[must_use]
    pub fn aws_2_1() -> Self {
        Self {
            rule: Rule::Tokens(Costs::aws([14, 14, 5])),
        }
    }

    /// No more further attempts *under way* than this share of the requests under
    /// way, but always `least` (Envoy's retry budget, whose defaults are 20 % and
    /// 3). Envoy counts the attempts among the requests; here they are apart, so
    /// that attempts do not make room for attempts.
    ///
    /// # Errors
    /// If both are zero.
    pub fn in_flight(share: Ratio, least: u32) -> Result<Self, PolicyError> {
        if share == Ratio::ZERO && least == 0 {
            return Err(PolicyError::new("share", 0, "above 0, unless `least` is"));
        }
        Ok(Self {
            rule: Rule::InFlight { share, least },
        })
    }
}

/// Makes a [`Policy`] of a ratio (Finagle's `RetryBudget`).
///
/// Finagle forgets what it has saved after ten seconds; here a `burst` bounds
/// it, so that a request reads no clock.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(default, deny_unknown_fields, rename_all = "kebab-case")
)]
#[must_use]
pub struct PolicyBuilder {
    retries: u32,
    requests: u32,
    floor: u32,
    burst: u32,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Self {
            retries: 1,
            requests: 10,
            floor: 1,
            burst: 100,
        }
    }
}

impl PolicyBuilder {
    /// `retries` further attempts for each `requests` requests, to the last one
    /// exact: each 1 to 100,000 (and `retries` 0, where there is a floor), by
    /// default 1 and 10. Google's SRE book bounds its clients so.
    pub fn ratio(mut self, retries: u32, requests: u32) -> Self {
        self.retries = retries;
        self.requests = requests;
        self
    }

    /// Further attempts per second besides, for clients that send so little that
    /// a ratio gives them none: 0 to 10,000, by default 1, and those of up to ten
    /// seconds at once. Finagle's default is 10; a thousand clients with that add
    /// ten thousand a second to what has failed.
    pub fn floor(mut self, per_second: u32) -> Self {
        self.floor = per_second;
        self
    }

    /// How many attempts the ratio can save for later: 1 to 1,000,000, by default
    /// 100. It starts with none.
    pub fn burst(mut self, attempts: u32) -> Self {
        self.burst = attempts;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let check = |field, given: u32, least: u32, most: u32, allowed| {
            if (least..=most).contains(&given) {
                return Ok(());
            }
            Err(PolicyError::new(field, given, allowed))
        };
        check("floor", self.floor, 0, 10_000, "allowed are 0 to 10,000")?;
        let least = u32::from(self.floor == 0);
        check(
            "retries",
            self.retries,
            least,
            100_000,
            "allowed are 1 to 100,000, and 0 where there is a floor",
        )?;
        check(
            "requests",
            self.requests,
            1,
            100_000,
            "allowed are 1 to 100,000",
        )?;
        check(
            "burst",
            self.burst,
            1,
            1_000_000,
            "allowed are 1 to 1,000,000",
        )?;
        Ok(Policy {
            rule: ratio(self.retries, self.requests, self.floor, self.burst),
        })
    }
}

#[cfg(feature = "serde")]
mod file {
    use super::{Policy, PolicyBuilder};
    use crate::policy::{PolicyError, Ratio};

    #[derive(serde::Deserialize)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    pub(super) enum Any {
        Ratio(PolicyBuilder),
        Grpc(Grpc),
        Aws,
        #[serde(rename = "aws-2-1")]
        Aws21,
        InFlight(InFlight),
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    pub(super) struct Grpc {
        #[serde(alias = "max_tokens")]
        max_tokens: u32,
        #[serde(alias = "token_ratio")]
        token_ratio: Ratio,
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct InFlight {
        share: Ratio,
        least: u32,
    }

    impl TryFrom<Any> for Policy {
        type Error = PolicyError;

        fn try_from(any: Any) -> Result<Self, PolicyError> {
            match any {
                Any::Ratio(builder) => builder.build(),
                Any::Grpc(grpc) => Self::grpc(grpc.max_tokens, grpc.token_ratio),
                Any::Aws => Ok(Self::aws()),
                Any::Aws21 => Ok(Self::aws_2_1()),
                Any::InFlight(flight) => Self::in_flight(flight.share, flight.least),
            }
        }
    }
}
