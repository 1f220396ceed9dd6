//! The short ways against the long ones.

use std::time::Duration;

use proptest::prelude::*;

use super::model::{Rate, at, nanos, rates};
use crate::kernel::gcra::{Answer, Decision, Gcra, Quota};
use crate::kernel::quota::divided;

proptest! {
    /// One bucket is asked the short way where that answers, its twin is not: they agree,
    /// whatever the clock does and whenever the quota changes.
    #[test]
    fn the_short_way_agrees_with_the_long_one(
        rates in [rates(), rates()],
        start in (0..62u32).prop_flat_map(|bits| 0..=1u64 << bits),
        steps in prop::collection::vec((0..12u32, any::<u32>(), any::<u64>()), 1..120),
    ) {
        let quotas = rates.map(Rate::quota);
        let (short, long) = (Gcra::new(), Gcra::new());
        let (mut now, mut which, mut known) = (start, 0, false);
        for (step, cost, far) in steps {
            let (rate, quota) = (rates[which], quotas[which]);
            let interval = rate.period / u64::from(rate.permits);
            match step {
                0..=2 => now = now.saturating_add(far % (interval * 3 + 2)),
                3 => now = now.saturating_sub(far % (interval * 3 + 2)),
                4 => now = far >> (far % 64),
                5 if far % 4 == 0 => (which, known) = (1 - which, false),
                6 if far % 8 == 0 => {
                    let retired = long.try_retire(&quota, at(now));
                    prop_assert_eq!(short.try_retire(&quota, at(now)), retired);
                    known = true;
                }
                _ => {}
            }
            let quota = quotas[which];
            let cost = 1 + cost % if far % 7 == 0 { rate.burst } else { rate.burst.min(3) };
            let before = long.level(&quota, at(now));
            let answer = long.admit(&quota, at(now), cost, Duration::ZERO);
            match short.ask(&quota, at(now), cost) {
                Answer::Admit => prop_assert!(matches!(answer, Decision::Admit(_)), "{answer:?}"),
                Answer::Late(by) => prop_assert!(
                    matches!(answer, Decision::Wait { wait, .. } if wait == nanos(by)),
                    "late by {by}: {answer:?}"
                ),
                Answer::Unsure => {
                    let again = short.admit(&quota, at(now), cost, Duration::ZERO);
                    prop_assert_eq!(again, answer);
                    // A new quota, one that never or no longer applies, a clock that went back.
                    let odd = !known || matches!(answer, Decision::Never | Decision::Dead);
                    prop_assert!(odd || long.level(&quota, at(now)) != before, "no answer");
                }
            }
            known = true;
            prop_assert_eq!(short.level(&quota, at(now)), long.level(&quota, at(now)));
        }
    }

    /// The time of a word, without a long division where none is needed.
    #[test]
    fn a_time_is_the_same_without_a_division(
        rate in rates(),
        units in prop_oneof![any::<u64>(), Just(u64::MAX), (0..64u32).prop_map(|bits| 1 << bits)],
    ) {
        let (quota, units) = (rate.quota(), units & !1);
        prop_assert_eq!(quota.time(units).as_nanos(), divided(units, quota.scale));
    }
}

/// Neither mark is a time, not even at the end of it, and a retired bucket stays retired.
#[test]
fn a_mark_is_no_answer() {
    let quota = Quota::new(1, nanos(1), 1, Duration::ZERO).unwrap();
    let gcra = Gcra::new();
    assert!(gcra.level(&quota, at(4)).is_some());
    assert!(gcra.try_retire(&quota, at(5)));
    for now in [0, 5, u64::MAX / 2, u64::MAX - 3, u64::MAX] {
        assert_eq!(gcra.ask(&quota, at(now), 1), Answer::Unsure, "at {now}");
        assert_eq!(gcra.level(&quota, at(now)), None);
    }
}
