//! Levels of priority, and panic.

use proptest::prelude::*;

use crate::balance::level::{Fitness, Portion, spread};
use crate::policy::Ratio;

fn of(levels: &[(usize, usize)]) -> Vec<(u32, bool)> {
    let levels: Vec<_> = levels
        .iter()
        .map(|&(fit, all)| Fitness { fit, all })
        .collect();
    let portions = spread(&levels, 140, Ratio::percent(50));
    portions
        .iter()
        .map(|portion| (portion.percent, portion.panics))
        .collect()
}

#[test]
fn levels_are_spread_as_envoys() {
    let known: [(&[(usize, usize)], &[(u32, bool)]); 10] = [
        (&[(100, 100), (100, 100)], &[(100, false), (0, false)]),
        (&[(72, 100), (72, 100)], &[(100, false), (0, false)]),
        (&[(71, 100), (71, 100)], &[(99, false), (1, false)]),
        (&[(50, 100), (50, 100)], &[(70, false), (30, false)]),
        (&[(50, 100), (0, 100)], &[(100, false), (0, true)]),
        (&[(25, 100), (100, 100)], &[(35, false), (65, false)]),
        (&[(25, 100), (25, 100)], &[(50, true), (50, true)]),
        // Both can take less than they are asked to.
        (&[(5, 100), (65, 100)], &[(8, true), (92, false)]),
        // Nobody is fit: all of the first there is.
        (&[(0, 0), (0, 4)], &[(0, false), (100, true)]),
        (&[(0, 4), (0, 4)], &[(100, true), (0, true)]),
    ];
    for (levels, expected) in known {
        assert_eq!(of(levels), expected, "{levels:?}");
    }
}

#[test]
fn a_level_alone_panics_below_half() {
    assert_eq!(of(&[(50, 100)]), [(100, false)]);
    assert_eq!(of(&[(49, 100)]), [(100, true)]);
    assert_eq!(of(&[(3, 4)]), [(100, false)]);
    assert_eq!(of(&[]), []);
    assert_eq!(of(&[(0, 0)]), [(0, false)]);
}

proptest! {
    #[test]
    fn everything_goes_somewhere(
        levels in prop::collection::vec((0..50_usize, 0..50_usize), 1..6),
        factor in 100..300_u32,
    ) {
        let levels: Vec<_> = levels
            .into_iter()
            .map(|(fit, more)| Fitness { fit, all: fit + more })
            .collect();
        let portions = spread(&levels, factor, Ratio::percent(50));
        let all: u32 = portions.iter().map(|portion| portion.percent).sum();
        let anybody = levels.iter().any(|level| level.all > 0);
        prop_assert_eq!(all, if anybody { 100 } else { 0 });
        let nothing = Portion { percent: 0, panics: false };
        for (level, portion) in levels.iter().zip(&portions) {
            prop_assert!(level.all > 0 || *portion == nothing);
        }
    }
}
