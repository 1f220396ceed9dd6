//! What becomes of the n-th request: a function of the policy and the number,
//! and of nothing else.

use std::time::Duration;

use super::policy::Policy;
use crate::kernel::rng::{unit, word};
use crate::policy::Ratio;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The response comes late.
    Latency,
    /// The call fails.
    Error,
    /// The call gets another response, such as a status.
    Abort,
    /// The call gets no answer.
    Hang,
    /// The response's body ends early.
    Cut,
    /// The response's body stops.
    Stall,
    /// The response's body breaks with an error.
    Reset,
}

impl Fault {
    pub(super) const ALL: [Self; 7] = [
        Self::Latency,
        Self::Error,
        Self::Abort,
        Self::Hang,
        Self::Cut,
        Self::Stall,
        Self::Reset,
    ];

    /// The name in headers, events and metrics: a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Error => "error",
            Self::Abort => "abort",
            Self::Hang => "hang",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::Reset => "reset",
        }
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fate {
    pub(super) delay: Option<Duration>,
    /// What it meets in the place of the service: an error, an abort, a hang.
    pub(super) end: Option<Fault>,
    /// What its response's body meets: a cut, a stall, a reset.
    pub(super) body: Option<Fault>,
}

/// Words of the seed's stream for one request, so that each question has its
/// own and a rate that is changed moves no other draw.
const PLACES: u64 = 8;
const END: u64 = 0;
const BODY: u64 = 1;
const WHETHER_LATE: u64 = 2;
const HOW_LATE: u64 = 3;
const HOW_LATE_TOO: u64 = 4;

/// Draws of requests that were asked for a fault are of another stream: they
/// are no part of the count.
const ASKED: u64 = 0xA5ED_A5ED_A5ED_A5ED;

impl Fate {
    /// The fate of the n-th request under the policy's rates.
    pub(super) fn of(policy: &Policy, n: u64) -> Self {
        let first = n.wrapping_mul(PLACES);
        let draw = |place| unit(policy.seed, first.wrapping_add(place));
        let (error, abort, hang) = (policy.error, policy.abort, policy.hang);
        let (cut, stall, reset) = (policy.cut, policy.stall, policy.reset);
        let late = word(policy.seed, first.wrapping_add(WHETHER_LATE)) >> 11;
        let late = !policy.late.is_reached(late, 1 << 53);
        Self {
            delay: late.then(|| policy.latency.sample(draw(HOW_LATE), draw(HOW_LATE_TOO))),
            end: one_of(
                draw(END),
                [
                    (error, Fault::Error),
                    (abort, Fault::Abort),
                    (hang, Fault::Hang),
                ],
            ),
            body: one_of(
                draw(BODY),
                [
                    (cut, Fault::Cut),
                    (stall, Fault::Stall),
                    (reset, Fault::Reset),
                ],
            ),
        }
    }

    /// The fate of the n-th request that was asked for a fault.
    pub(super) fn asked(policy: &Policy, fault: Fault, n: u64) -> Self {
        let mut fate = Self::default();
        match fault {
            Fault::Latency => {
                let always = Policy {
                    seed: policy.seed ^ ASKED,
                    late: Ratio::ONE,
                    ..*policy
                };
                fate.delay = Self::of(&always, n).delay;
            }
            Fault::Error | Fault::Abort | Fault::Hang => fate.end = Some(fault),
            Fault::Cut | Fault::Stall | Fault::Reset => fate.body = Some(fault),
        }
        fate
    }
}

/// The fault in whose share of 0 to 1 the draw falls.
fn one_of(draw: f64, shares: [(Ratio, Fault); 3]) -> Option<Fault> {
    let mut sum = 0.0;
    shares.into_iter().find_map(|(share, fault)| {
        sum += share.fraction();
        (draw < sum).then_some(fault)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chaos::Latency;

    fn ratio(share: f64) -> Ratio {
        Ratio::new(share).unwrap()
    }

    /// A generator that goes through the stream word by word, and questions in
    /// the order they stand in.
    struct Naive(u64);

    impl Naive {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / 9_007_199_254_740_992.0
        }

        fn fate(&mut self, policy: &Policy) -> Fate {
            let [end, body, late, one, two, ..]: [f64; 8] = std::array::from_fn(|_| self.next());
            let (e, a, h) = (
                policy.error.fraction(),
                policy.abort.fraction(),
                policy.hang.fraction(),
            );
            let (c, s, r) = (
                policy.cut.fraction(),
                policy.stall.fraction(),
                policy.reset.fraction(),
            );
            Fate {
                delay: (late < policy.late.fraction()).then(|| policy.latency.sample(one, two)),
                end: if end < e {
                    Some(Fault::Error)
                } else if end < e + a {
                    Some(Fault::Abort)
                } else if end < e + a + h {
                    Some(Fault::Hang)
                } else {
                    None
                },
                body: if body < c {
                    Some(Fault::Cut)
                } else if body < c + s {
                    Some(Fault::Stall)
                } else if body < c + s + r {
                    Some(Fault::Reset)
                } else {
                    None
                },
            }
        }
    }

    prop_compose! {
        fn policies()(
            seed: u64,
            shares in proptest::array::uniform6(0.0..=1.0_f64),
            late in 0.0..=1.0_f64,
            mean in 0..1_000_000_u64,
        ) -> Policy {
            let third = |share: f64| ratio(share / 3.0);
            let [e, a, h, c, s, r] = shares.map(third);
            let mean = Duration::from_nanos(mean);
            let latency = Latency::Exponential { mean, most: mean * 9 };
            Policy::builder()
                .seed(seed)
                .latency(ratio(late), latency)
                .error(e)
                .abort(a)
                .hang(h)
                .cut(c)
                .stall(s)
                .reset(r)
                .build()
                .unwrap()
        }
    }

    proptest! {
        #[test]
        fn a_fate_needs_none_of_those_before_it(policy in policies()) {
            prop_assert_eq!(Policy::from_words(policy.to_words()), policy);
            let mut naive = Naive(policy.seed);
            for n in 0..50 {
                prop_assert_eq!(Fate::of(&policy, n), naive.fate(&policy));
            }
        }

        #[test]
        fn another_rate_moves_no_other_draw(policy in policies(), n: u64) {
            let without = policy.to_builder().error(Ratio::ZERO).abort(Ratio::ZERO);
            let without = without.hang(Ratio::ZERO).build().unwrap();
            let (with, without) = (Fate::of(&policy, n), Fate::of(&without, n));
            prop_assert_eq!((with.delay, with.body), (without.delay, without.body));
            prop_assert_eq!(without.end, None);
        }
    }

    #[test]
    fn the_fates_of_a_seed_stay_the_same_for_ever() {
        let share = ratio(0.2);
        let policy = Policy::builder().seed(42).error(share).abort(share);
        let policy = policy.hang(share).build().unwrap();
        let told: String = (0..32)
            .map(|n| Fate::of(&policy, n).end.map_or("-", Fault::label))
            .map(|label| &label[..1])
            .collect();
        assert_eq!(told, "-aee-hh-aee---a-e-hhee-ehhh-eaa-");
    }

    #[test]
    fn shares_are_met_and_the_extremes_exact() {
        let count = |policy: &Policy, fault| {
            let met = |n| {
                let fate = Fate::of(policy, n);
                fate.end == Some(fault) || fate.body == Some(fault)
            };
            (0..100_000).filter(|n| met(*n)).count()
        };
        let policy = Policy::builder()
            .seed(3)
            .error(ratio(0.3))
            .abort(ratio(0.1))
            .hang(ratio(0.01))
            .cut(ratio(0.5))
            .reset(ratio(0.25))
            .build()
            .unwrap();
        for (fault, share) in [
            (Fault::Error, 30_000),
            (Fault::Abort, 10_000),
            (Fault::Hang, 1_000),
            (Fault::Cut, 50_000),
            (Fault::Stall, 0),
            (Fault::Reset, 25_000),
        ] {
            // Above four standard deviations.
            let found = count(&policy, fault);
            assert!(found.abs_diff(share) < 640, "{fault:?}: {found}");
        }
        let all = Policy::builder().error(Ratio::ONE).build().unwrap();
        assert_eq!(count(&all, Fault::Error), 100_000);
        assert_eq!(count(&Policy::default(), Fault::Error), 0);
        for too_much in [
            Policy::builder().error(ratio(0.6)).hang(ratio(0.5)),
            Policy::builder().cut(Ratio::ONE).stall(ratio(0.1)),
            Policy::builder().longest_hang(Duration::ZERO),
        ] {
            assert!(too_much.build().is_err());
        }
    }
}
