//! The ring of histograms against a list of all durations.

use std::time::Duration;

use proptest::prelude::*;

use crate::clock::Tick;
use crate::kernel::recent::Recent;

const WINDOW: Duration = Duration::from_secs(8);
/// Nanoseconds of a slice.
const SLICE: u64 = 2_000_000_000;

proptest! {
    /// It holds what came in this quarter of the window and in the three before.
    #[test]
    fn the_ring_holds_the_window(
        steps in prop::collection::vec((prop_oneof![0_u64..SLICE, 0..6 * SLICE], 1_u64..1 << 40), 1..80),
        per_mille in 1_u32..=1000,
    ) {
        let recent = Recent::default();
        let mut now = SLICE;
        let mut all: Vec<(u64, u64)> = Vec::new();
        for (pause, took) in steps {
            now += pause;
            let before = all.len() as u64;
            let due = recent.is_due(Tick::from_nanos(now));
            let did = recent.turn(Tick::from_nanos(now), WINDOW, || [before, 0]);
            prop_assert_eq!(due, did);
            recent.record(Duration::from_nanos(took));
            all.push((now, took));
            let (count, quantile) = recent.quantile(per_mille);
            let held = all.iter().filter(|(at, _)| at / SLICE + 3 >= now / SLICE).count() as u64;
            prop_assert_eq!(count, held);
            prop_assert_eq!(recent.outcomes([before + 1, 0]), [held, 0]);
            // Its own calls are the latest `count`.
            let mut values: Vec<u64> = all[all.len() - usize::try_from(count).unwrap()..].iter().map(|(_, t)| *t).collect();
            values.sort_unstable();
            let rank = (values.len() * per_mille as usize).div_ceil(1000).max(1);
            let exact = u128::from(values[rank - 1]);
            let got = quantile.unwrap().as_nanos();
            prop_assert!(got >= exact && got <= exact + exact / 8 + 1, "{got} for {exact}");
        }
    }
}

#[test]
fn a_clock_that_goes_back_does_not_stop_it() {
    let recent = Recent::default();
    let turn = |now| {
        let now = Tick::from_nanos(now);
        let due = recent.is_due(now);
        assert_eq!(recent.turn(now, WINDOW, || [0, 0]), due, "at {now:?}");
        due
    };
    assert!(turn(1_000 * SLICE));
    recent.record(Duration::from_secs(1));
    // By less than two slices, it waits.
    assert!(!turn(999 * SLICE));
    assert!(turn(SLICE));
    for n in 2..=5 {
        assert!(turn(n * SLICE));
    }
    assert_eq!(recent.quantile(500), (0, None));
}
