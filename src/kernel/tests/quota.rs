//! Faults 22, 24 and 25: the full product of extreme numbers.

use std::time::Duration;

use super::Random;
use super::model::{at, nanos};
use crate::kernel::gcra::{Decision, Gcra, Quota, QuotaError};

const YEAR: u64 = 31_557_600_000_000_000;

/// As the documentation of [`Quota::new`] has it.
fn expected(permits: u32, period: Duration, burst: u32) -> Option<QuotaError> {
    let period = period.as_nanos();
    if permits == 0 || period == 0 || burst == 0 {
        return Some(QuotaError::Zero);
    }
    if u128::from(permits) > period {
        return Some(QuotaError::TooFast);
    }
    let most = 36 * u128::from(YEAR);
    let fill = period.saturating_mul(burst.into()) / u128::from(permits);
    (period > most || fill > most).then_some(QuotaError::TooSlow)
}

/// A thousand operations at all times, forward and back: each is clean.
fn operate(quota: Quota, random: &mut Random) {
    let gcra = Gcra::new();
    let other = Quota::new(3, nanos(1_000_003), 7, nanos(500)).unwrap();
    for n in 0..1000 {
        let now = at(match random.below(4) {
            0 => random.below(u32::MAX).into(),
            1 => u64::MAX - u64::from(random.below(8)),
            2 => u64::MAX >> random.below(64),
            _ => (1 << 63) + u64::from(random.below(u32::MAX)),
        });
        let cost = random.below(u32::MAX) >> random.below(32);
        let patience = [
            Duration::ZERO,
            Duration::MAX,
            nanos(1),
            Duration::from_secs(3),
        ][random.below(4) as usize];
        // Now and then the quota changes.
        let quota = if n % 100 < 90 { quota } else { other };
        match gcra.admit(&quota, now, cost, patience) {
            Decision::Admit(level) => {
                assert!(cost.max(1) <= quota.burst());
                assert!(quota.remaining(level, now) <= quota.burst() - cost.max(1));
                let _ = quota.reset(level, now);
            }
            Decision::Wait {
                reserved, level, ..
            } => {
                let _ = (quota.remaining(level, now), quota.reset(level, now));
                if let (Some(reserved), 0) = (reserved, random.below(2)) {
                    gcra.cancel(reserved);
                }
            }
            Decision::Never => assert!(cost > quota.burst()),
            Decision::Dead => panic!("nobody retired it"),
        }
        assert!(gcra.level(&quota, now).is_some());
    }
    let _ = gcra.try_retire(&quota, at(u64::MAX));
    assert_eq!(Quota::from_words(quota.to_words()), quota);
}

#[test]
fn fault_024_extremes_are_refused_or_work() {
    let counts = [0, 1, 2, 3, 1_000_000_000, u32::MAX - 1, u32::MAX];
    let periods = [
        Duration::ZERO,
        nanos(1),
        nanos(2),
        nanos(3),
        nanos(u32::MAX.into()),
        Duration::from_secs(1),
        Duration::from_secs(86_400),
        nanos(YEAR),
        nanos(35 * YEAR),
        nanos(37 * YEAR),
        nanos(u64::MAX - 3),
        nanos(u64::MAX),
        Duration::MAX,
    ];
    let patiences = [
        Duration::ZERO,
        nanos(1),
        Duration::from_secs(1),
        nanos(u64::MAX),
        Duration::MAX,
    ];
    let mut random = Random::new(24);
    let (mut good, mut bad) = (0, 0);
    for permits in counts {
        for period in periods {
            for burst in counts {
                for patience in patiences {
                    let quota = Quota::new(permits, period, burst, patience);
                    let error = expected(permits, period, burst);
                    assert_eq!(quota.err(), error, "{permits} {period:?} {burst}");
                    if let Ok(quota) = quota {
                        operate(quota, &mut random);
                        good += 1;
                    } else {
                        bad += 1;
                    }
                }
            }
        }
    }
    assert!(good > 300 && bad > 1000, "{good} {bad}");
}

/// Fault 22: at the end of time a bucket still keeps its burst.
#[test]
fn fault_022_the_end_of_time() {
    for (permits, period, burst) in [(1, 1, 3), (10, 1_000_000_000, 5), (3, 7, 4_000_000_000)] {
        let quota = Quota::new(permits, nanos(period), burst, Duration::ZERO).unwrap();
        for end in [u64::MAX, u64::MAX - 3, u64::MAX / 2 + 1] {
            let gcra = Gcra::new();
            let mut granted = 0u64;
            for _ in 0..20 {
                let cost = (burst / 4).max(1);
                if let Decision::Admit(_) = gcra.admit(&quota, at(end), cost, Duration::MAX) {
                    granted += u64::from(cost);
                }
            }
            let burst = u64::from(burst);
            assert!(
                granted <= burst && granted + burst / 4 >= burst,
                "{granted} of {burst} at {end}, {permits} {period}"
            );
        }
    }
}
