//! Single cases of the limiters.

use super::meter::{KINDS, Kind};
use super::model::at;
use crate::kernel::gcra::Quota;
use crate::kernel::meter::{Look, Measure, Meter};
use crate::kernel::tally::Window;
use crate::kernel::warm::Ramp;

/// Cloudflare's example: 42 in the minute before, 18 in the first quarter of this one.
#[test]
fn a_sliding_window_counts_as_cloudflares() {
    let minute = 60_000_000_000;
    let now = 100 * minute + minute / 4;
    for (permits, fits) in [(50, true), (49, false)] {
        let measure = Kind::Sliding.measure(permits, minute);
        let meter = Meter::new(&measure);
        let take = |time, cost| meter.view().take(&measure, at(time), cost);
        take(99 * minute + minute / 2, 42).unwrap();
        take(now, 7).unwrap();
        // 42 × 0.75 + 18 = 49.5
        assert_eq!(take(now, 11).is_ok(), fits, "{permits}");
    }
}

/// A charge reaches below nothing, as far as it may, and is worked off.
#[test]
fn a_charge_is_bounded() {
    let second = 1_000_000_000;
    let now = 1 << 45;
    let window = |sliding| Measure::Window(Window::new(10, second, sliding, 15).unwrap());
    let ramp = Measure::Warm(Ramp::new(10, second, 10, 1, 15).unwrap());
    let quota = Quota::new;
    let nanos = std::time::Duration::from_nanos;
    let bucket = Measure::Bucket(quota(10, nanos(second), 10, nanos(second * 3 / 2)).unwrap());
    for (measure, seconds) in [
        (window(false), 3),
        (window(true), 3),
        (bucket, 3),
        (ramp, 6),
    ] {
        let meter = Meter::new(&measure);
        let meter = meter.view();
        meter.charge(&measure, at(now), 4, 15);
        assert!(meter.left(&measure, at(now)).0 <= 6, "{measure:?}");
        for _ in 0..100 {
            meter.charge(&measure, at(now), 9_999, 15);
        }
        let Look::Late(wait) = meter.look(&measure, at(now), 10) else {
            panic!("{measure:?}");
        };
        assert!(wait > second, "{measure:?}: {wait}");
        assert!(wait <= seconds * second, "{measure:?}: {wait}");
        assert_eq!(meter.look(&measure, at(now + wait), 10), Look::Free);
    }
}

/// Fault 20: a clock that goes back a little mints nothing; one that was wrong by hours
/// does not close a limit for as long.
#[test]
fn fault_020_no_kind_waits_for_a_clock_that_was_wrong() {
    let second = 1_000_000_000;
    let hour = 3_600 * second;
    let start = 1 << 58;
    let ramp = Measure::Warm(Ramp::new(5, second, 5, second, 0).unwrap());
    let kinds = KINDS.map(|kind| kind.measure(5, second));
    for measure in kinds.into_iter().chain([ramp]) {
        for (back, minted) in [(second / 2, 0), (second * 1_000, 0), (hour * 9_999, 5)] {
            let meter = Meter::new(&measure);
            let meter = meter.view();
            let drain = |now| {
                let take = || meter.take(&measure, at(now), 1).ok();
                std::iter::from_fn(take).count()
            };
            assert!(drain(start) > 0);
            let now = start - back;
            assert!(drain(now) <= minted, "{measure:?} after {back}");
            // Soon it is in order again.
            let later = now + 2 * hour;
            drain(later);
            assert!(drain(later + 10 * second) > 0, "{measure:?} after {back}");
        }
    }
}

/// Only what is like new is retired, and it can be revived.
#[test]
fn only_what_is_idle_is_retired() {
    let second = 1_000_000_000;
    let now = 1 << 45;
    let ramp = Measure::Warm(Ramp::new(5, second, 5, second, 0).unwrap());
    let kinds = KINDS.map(|kind| kind.measure(5, second));
    for measure in kinds.into_iter().chain([ramp]) {
        let meter = Meter::new(&measure);
        let meter = meter.view();
        meter.take(&measure, at(now), 1).unwrap();
        assert_eq!(meter.retire(&measure, at(now)), None, "{measure:?}");
        assert_eq!(meter.retire(&measure, at(now + second / 100)), None);
        let later = now + 4 * second;
        let word = meter.retire(&measure, at(later)).unwrap();
        assert_eq!(meter.look(&measure, at(later), 1), Look::Dead);
        assert_eq!(meter.take(&measure, at(later), 1), Err(Look::Dead));
        assert_eq!(meter.retire(&measure, at(later)), None);
        meter.revive(word);
        meter.take(&measure, at(later), 1).unwrap();
        assert_eq!(Measure::from_words(measure.to_words()), Some(measure));
    }
}
