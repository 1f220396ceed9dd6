//! Clocks that go back, and quotas that change.

use std::time::Duration;

use proptest::prelude::*;

use super::model::{Model, Rate, at, nanos, rates};
use crate::kernel::gcra::{Decision, Gcra, Quota};

const SECOND: u64 = 1_000_000_000;

/// Takes one after the other at `now` until there is none.
fn drain(gcra: &Gcra, quota: &Quota, now: u64) -> u64 {
    let mut granted = 0;
    let mut cost = quota.burst();
    while cost > 0 {
        match gcra.admit(quota, at(now), cost, Duration::ZERO) {
            Decision::Admit(_) => granted += u64::from(cost),
            Decision::Wait { .. } => cost /= 2,
            other => panic!("{other:?}"),
        }
    }
    granted
}

proptest! {
    /// Fault 20: nothing is minted, and the bucket is in order a fill time later.
    #[test]
    fn fault_020_clock_backward(
        rate in rates(),
        start in (1u64 << 40)..(1 << 59),
        back in prop_oneof![0..2 * SECOND, (0..60u32).prop_flat_map(|bits| 0..=1u64 << bits)],
        steps in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let (gcra, quota) = (Gcra::new(), rate.quota());
        prop_assert_eq!(drain(&gcra, &quota, start), u64::from(rate.burst));
        let start = start.saturating_sub(back);
        let fill = u64::try_from(rate.full().div_ceil(u128::from(rate.permits))).unwrap();
        prop_assume!(fill < 1 << 59);
        let mut now = start;
        let mut granted = 0u128;
        for step in steps {
            granted += u128::from(drain(&gcra, &quota, now));
            let may = rate.fine(now - start + rate.slack()) / u128::from(rate.period);
            prop_assert!(granted <= may, "{granted} instead of {may} after going back");
            now += step % (fill / 10 + 2);
        }
        // It noticed above, at the latest now; less than about a second may be another thread's
        // delay, so it is waited for.
        drain(&gcra, &quota, now);
        // Less than an hour and a quarter is waited for: the clock may catch up.
        now += fill + rate.patience + (1 << 42) + SECOND;
        let granted = drain(&gcra, &quota, now);
        prop_assert_eq!(granted, u64::from(rate.burst), "not in order again");
    }

    /// A new quota keeps what a bucket has, as a number of requests, and mints nothing.
    #[test]
    fn a_new_quota_mints_nothing(
        old in rates(),
        new in rates(),
        start in (0..60u32).prop_flat_map(|bits| 0..=1u64 << bits),
        steps in prop::collection::vec((any::<u32>(), any::<u64>()), 0..20),
    ) {
        let (old, new) = (Rate { patience: 0, ..old }, Rate { patience: 0, ..new });
        let gcra = Gcra::new();
        let mut model = Model { rate: old, tat: 0 };
        let mut now = start;
        for &(cost, step) in &steps {
            model.ask(&gcra, now, 1 + cost % old.burst, 0);
            now += step % (old.period / u64::from(old.permits) + 2);
        }
        // What is there: `(old.full() - lacks) / old.period` requests, of which the new model has
        // as many as it can hold. A bucket that nobody has drawn from is full.
        let lacks = model.tat.saturating_sub(old.fine(now));
        let misses = |lacks: u128, rounded: u128| {
            if steps.is_empty() {
                return 0;
            }
            let has = wide(old.full().saturating_sub(lacks), new.period, old.period) + rounded;
            new.full().saturating_sub(has)
        };
        let least = misses(lacks.saturating_sub(old.fine(old.slack())), 1);
        let quota = new.quota();
        let granted = u128::from(drain(&gcra, &quota, now));
        let may = (new.full() + new.fine(new.slack()) - least) / u128::from(new.period);
        prop_assert!(granted <= may, "{granted} instead of {may}");
        // Rounded by a nanosecond of either rate at most.
        let most = misses(lacks + u128::from(old.permits), 0) + u128::from(new.permits) * 2;
        let must = new.full().saturating_sub(most) / u128::from(new.period);
        prop_assert!(granted >= must, "{granted} instead of {must}");
        // From here on the new rate counts.
        let base = new.fine(now) + least + granted * u128::from(new.period);
        let mut grants = Vec::new();
        let model = Model { rate: new, tat: base };
        for (cost, step) in steps {
            let cost = 1 + cost % new.burst;
            if let Decision::Admit(_) = gcra.admit(&quota, at(now), cost, Duration::ZERO) {
                if grants.is_empty() {
                    prop_assert!(model.due(now, cost) <= now + new.slack());
                }
                grants.push((now, cost));
            }
            now += step % (new.period / u64::from(new.permits) + 2);
        }
        prop_assert_eq!(new.check(grants, new.slack()), Ok(()));
    }
}

/// `a * b / c`, rounded down; `a` may be longer than a word.
fn wide(a: u128, b: u64, c: u64) -> u128 {
    let (b, c) = (u128::from(b), u128::from(c));
    (a / c) * b + (a % c) * b / c
}

/// Forty requests are left before and after, whatever the rate and the burst.
#[test]
fn what_is_left_is_kept() {
    let quota = |permits, burst| Quota::new(permits, nanos(SECOND), burst, Duration::ZERO).unwrap();
    for (before, after) in [(10, 1000), (1000, 10), (30, 8), (8, 30)] {
        let gcra = Gcra::new();
        let now = at((1 << 50) + 7);
        let Decision::Admit(_) = gcra.admit(&quota(before, 50), now, 10, Duration::ZERO) else {
            panic!("a fresh bucket is full");
        };
        let after = quota(after, 60);
        let level = gcra.level(&after, now).unwrap();
        assert_eq!(after.remaining(level, now), 40);
    }
    // There and back, again and again.
    let (wide, tight) = (quota(100, 100), quota(7, 10));
    let gcra = Gcra::new();
    assert_eq!(drain(&gcra, &wide, 1 << 50), 100);
    for _ in 0..3 {
        assert_eq!(drain(&gcra, &tight, 1 << 50), 0);
        assert_eq!(drain(&gcra, &wide, 1 << 50), 0);
    }
}

/// A lower burst at the same rate: the bucket is empty, not deep in debt.
#[test]
fn a_lower_burst_is_no_debt() {
    let quota = |burst| Quota::new(1, nanos(SECOND), burst, Duration::ZERO).unwrap();
    let gcra = Gcra::new();
    let now = 1 << 50;
    assert_eq!(drain(&gcra, &quota(100), now), 100);
    gcra.change(&quota(100), &quota(5), at(now), || {});
    let Decision::Wait { wait, .. } = gcra.admit(&quota(5), at(now), 1, Duration::ZERO) else {
        panic!("the bucket is empty");
    };
    assert_eq!(wait, nanos(SECOND));
    assert_eq!(drain(&gcra, &quota(5), now + SECOND), 1);
    // Nor does a higher one give what was not there.
    gcra.change(&quota(5), &quota(100), at(now + SECOND), || {});
    assert_eq!(drain(&gcra, &quota(100), now + 3 * SECOND), 2);
}

/// A place that was reserved before the change is still there after it.
#[test]
fn a_reservation_outlives_a_change() {
    let quota = |burst| Quota::new(1, nanos(SECOND), burst, nanos(9 * SECOND)).unwrap();
    let gcra = Gcra::new();
    let now = at(1 << 50);
    for wait in 1..=3 {
        while let Decision::Admit(_) = gcra.admit(&quota(10), now, 1, Duration::ZERO) {}
        let Decision::Wait { wait: told, .. } = gcra.admit(&quota(10), now, 1, nanos(9 * SECOND))
        else {
            panic!("it may wait");
        };
        assert_eq!(told, nanos(wait * SECOND));
    }
    gcra.change(&quota(10), &quota(2), now, || {});
    let Decision::Wait { wait, .. } = gcra.admit(&quota(2), now, 1, Duration::ZERO) else {
        panic!("three are before it");
    };
    assert_eq!(wait, nanos(4 * SECOND));
}

/// A bucket that nobody used for centuries holds one burst.
#[test]
fn fault_019_centuries_of_idle() {
    let quota = Quota::new(1000, nanos(SECOND), 5, Duration::from_secs(1)).unwrap();
    let gcra = Gcra::new();
    let century = 3_155_760_000 * SECOND;
    for now in [0, SECOND, century, 2 * century, u64::MAX / 2 - 9 * SECOND] {
        assert_eq!(drain(&gcra, &quota, now), 5, "at {now}");
    }
}
