//! Weighted turns and draws.

use proptest::prelude::*;

use crate::balance::pick::schedule::Schedule;
use crate::balance::pick::shares::Shares;

fn turns(schedule: &Schedule, n: u64) -> Vec<u32> {
    (0..n).map(|turn| schedule.at(turn).unwrap()).collect()
}

fn counts(turns: &[u32], n: usize) -> Vec<u32> {
    let mut counts = vec![0; n];
    for turn in turns {
        counts[*turn as usize] += 1;
    }
    counts
}

#[test]
fn turns_are_those_of_nginx() {
    let known: [(&[u32], &[u32]); 4] = [
        (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
        (&[4, 2, 1], &[0, 1, 0, 2, 0, 1, 0]),
        (&[10, 4, 2], &[0, 1, 0, 0, 2, 0, 1, 0]),
        (&[1, 0, 2], &[2, 0, 2]),
    ];
    for (weights, order) in known {
        let schedule = Schedule::new(weights);
        let two = [order, order].concat();
        assert_eq!(turns(&schedule, two.len() as u64), two, "{weights:?}");
    }
}

#[test]
fn nobody_and_nothing() {
    assert_eq!(Schedule::new(&[]).at(7), None);
    assert_eq!(Shares::new(&[]).at(7), None);
    // Where nobody weighs anything, all are the same.
    assert_eq!(turns(&Schedule::new(&[0, 0, 0]), 4), [0, 1, 2, 0]);
    let third = u64::MAX / 3;
    let shares = Shares::new(&[0, 0, 0]);
    let drawn = [0, third + 1, 2 * third + 2, u64::MAX].map(|word| shares.at(word));
    assert_eq!(drawn, [Some(0), Some(1), Some(2), Some(2)]);
}

/// Weights that do not fit into a cycle.
const ODD: [u32; 6] = [1_000_003, 17, 500_009, 1_000_003, 3, 123_457];

#[test]
fn turns_of_odd_weights_are_even() {
    let schedule = Schedule::new(&ODD);
    assert!(matches!(schedule, Schedule::Rotation(_)));
    let all: u32 = ODD.iter().sum();
    let turns = turns(&schedule, 300_000);
    for (index, weight) in (0..).zip(ODD) {
        let share = f64::from(weight) / f64::from(all);
        let (mut count, mut last, mut gaps) = (0_u32, None, std::collections::BTreeSet::new());
        for (turn, _) in turns.iter().enumerate().filter(|(_, who)| **who == index) {
            let expected = share * f64::from(u32::try_from(turn).unwrap());
            assert!(
                (f64::from(count) - expected).abs() < 4.0,
                "{index} at {turn}: {count}"
            );
            count += 1;
            gaps.extend(last.map(|last| turn - last));
            last = Some(turn);
        }
        assert!(gaps.len() <= 3, "{index}: {gaps:?}");
        // A smooth order has no long run and no long gap.
        let longest = gaps.last().copied().unwrap_or(0);
        assert!(
            count < 2 || (longest as f64) < 3.0 / share,
            "{index}: {gaps:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_cycle_is_exact(weights in prop::collection::vec(0..40_u32, 1..30)) {
        let all: u32 = weights.iter().sum();
        prop_assume!(all > 0);
        let schedule = Schedule::new(&weights);
        let twice = turns(&schedule, 2 * u64::from(all));
        prop_assert_eq!(
            counts(&twice, weights.len()),
            weights.iter().map(|weight| 2 * weight).collect::<Vec<_>>()
        );
    }

    /// Whoever a linear search finds.
    #[test]
    fn a_word_falls_into_a_stretch(
        weights in prop::collection::vec(prop_oneof![0..3_u32, 0..1000_u32, any::<u32>()], 1..60),
        words in prop::collection::vec(any::<u64>(), 20),
    ) {
        let shares = Shares::new(&weights);
        let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        prop_assume!(all > 0);
        let mut ends = weights.iter().scan(0_u128, |end, weight| {
            *end += u128::from(*weight);
            Some((*end << 64) / all)
        }).collect::<Vec<_>>();
        // Also around every border.
        let borders = ends.clone().into_iter().flat_map(|end| {
            [-1, 0, 1].map(|by| u64::try_from((end.saturating_add_signed(by)).min(u128::from(u64::MAX))).unwrap())
        });
        *ends.last_mut().unwrap() = 1 << 64;
        for word in words.into_iter().chain(borders) {
            let naive = ends.iter().position(|end| u128::from(word) < *end).unwrap();
            prop_assert_eq!(shares.at(word), Some(u32::try_from(naive).unwrap()), "{}", word);
        }
    }
}
