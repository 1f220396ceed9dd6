//! One quota, against exact fractions.

use std::sync::{
    Barrier,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use proptest::prelude::*;

use super::Random;
use super::model::{Model, Rate, at, nanos, rates};
use crate::clock::Tick;
use crate::kernel::gcra::{Decision, Gcra, Quota};

/// Zero, now, a century and anything between.
fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        Just(3_600_000_000_000),
        (0..=60u32).prop_flat_map(|bits| 0..=1u64 << bits),
    ]
}

proptest! {
    /// Never early, at most a nanosecond late, and the hint is right about itself.
    #[test]
    fn fault_048_agrees_with_exact_fractions(
        rate in rates(),
        start in starts(),
        steps in prop::collection::vec((0..6u32, any::<u32>(), any::<u32>()), 1..120),
    ) {
        let gcra = Gcra::new();
        let mut model = Model { rate, tat: 0 };
        let mut now = start;
        let mut grants = Vec::new();
        for (step, far, cost) in steps {
            let cost = 1 + cost % if far % 3 == 0 { rate.burst } else { rate.burst.min(3) };
            let interval = rate.period / u64::from(rate.permits);
            now += match step {
                0 => 0,
                1 => 1,
                2 => interval,
                3 => u64::from(far) % (interval * 4 + 2),
                // As late as the bucket is just full.
                4 => u64::try_from(
                    model.tat.saturating_sub(rate.fine(now)) / u128::from(rate.permits),
                ).unwrap(),
                _ => model.due(now, cost) - now,
            };
            // As far as a bucket's time goes: 36 years.
            let full = rate.fine(now).max(model.tat) / u128::from(rate.permits)
                + u128::from(cost) * u128::from(interval + 1);
            if full > 1 << 60 {
                break;
            }
            // Patience is the next property's.
            if let Some(now) = model.ask(&gcra, now, cost, 0) {
                grants.push((now, cost));
            }
        }
        prop_assert_eq!(rate.check(grants, rate.slack()), Ok(()));
    }

    /// Reservations are served in order, at their times, and keep the quota.
    #[test]
    fn reservations_are_in_order(
        rate in rates(),
        start in starts(),
        steps in prop::collection::vec((0..4u32, any::<u32>(), any::<u64>()), 1..120),
    ) {
        let gcra = Gcra::new();
        let quota = rate.quota();
        let mut model = Model { rate, tat: 0 };
        let (mut now, mut last) = (start, 0);
        let mut grants = Vec::new();
        for (step, cost, far) in steps {
            let cost = 1 + cost % rate.burst.min(5);
            let interval = rate.period / u64::from(rate.permits);
            match step {
                0 => now += far % (interval * 2 + 2),
                1 => now += far % (rate.patience + 1) / 4,
                // Behind the last one, a place is given back without a trace.
                2 => {
                    let before = gcra.level(&quota, at(now));
                    let answer = gcra.admit(&quota, at(now), cost, nanos(rate.patience));
                    let Decision::Wait { wait, reserved, .. } = answer else {
                        if let Decision::Admit(_) = answer {
                            model.tat = model.next(now, cost);
                            grants.push((now, cost));
                            last = last.max(now);
                        }
                        continue;
                    };
                    if let Some(reserved) = reserved {
                        gcra.cancel(reserved);
                        let full = before.is_some_and(|b| quota.reset(b, at(now)).is_zero());
                        prop_assert!(full || gcra.level(&quota, at(now)) == before);
                        let again = gcra.admit(&quota, at(now), cost, Duration::ZERO);
                        let Decision::Wait { wait: same, .. } = again else {
                            panic!("{again:?}");
                        };
                        prop_assert_eq!(wait, same);
                    }
                }
                _ => {}
            }
            let patience = if far % 5 == 0 { far % (rate.patience + 1) } else { rate.patience };
            if let Some(due) = model.ask(&gcra, now, cost, patience) {
                prop_assert!(due >= last, "{due} after {last}");
                last = due;
                grants.push((due, cost));
            }
        }
        prop_assert_eq!(rate.check(grants, 1 + rate.slack()), Ok(()));
    }

    /// Only a full bucket is retired, and it stays so.
    #[test]
    fn only_a_full_bucket_is_retired(
        rate in rates(),
        start in starts(),
        cost in any::<u32>(),
        off in -3..3i64,
    ) {
        let gcra = Gcra::new();
        let quota = rate.quota();
        let mut model = Model { rate, tat: 0 };
        let cost = 1 + cost % rate.burst;
        prop_assert_eq!(model.ask(&gcra, start, cost, 0), Some(start));
        let full = u64::try_from(model.tat.div_ceil(u128::from(rate.permits))).unwrap();
        prop_assert!(!gcra.try_retire(&quota, at(start)));
        let now = full.saturating_add_signed(off).max(start);
        let retired = gcra.try_retire(&quota, at(now));
        prop_assert!(!retired || now + rate.slack() >= full, "retired {} ns early", full - now);
        prop_assert!(retired || now <= full + 1, "not retired {} ns late", now - full);
        if retired {
            prop_assert_eq!(gcra.admit(&quota, at(now), 1, Duration::ZERO), Decision::Dead);
            prop_assert_eq!(gcra.level(&quota, at(now)), None);
            prop_assert!(gcra.try_retire(&quota, at(0)));
        }
    }
}

/// The vectors of the algorithm: five at once, one each 100 ms.
#[test]
fn vectors() {
    const MS: u64 = 1_000_000;
    let quota = Quota::new(10, nanos(1000 * MS), 5, Duration::ZERO).unwrap();
    let gcra = Gcra::new();
    let ask = |ms: u64, cost| match gcra.admit(&quota, at(ms * MS), cost, Duration::MAX) {
        Decision::Admit(level) => Ok((
            quota.remaining(level, at(ms * MS)),
            quota.reset(level, at(ms * MS)),
        )),
        Decision::Wait { wait, reserved, .. } => {
            assert_eq!(reserved, None);
            Err(Some(wait))
        }
        _ => Err(None),
    };
    let ms = |n| Duration::from_millis(n);
    for (left, reset) in [(4, 100), (3, 200), (2, 300), (1, 400), (0, 500)] {
        assert_eq!(ask(0, 1), Ok((left, ms(reset))));
    }
    assert_eq!(ask(0, 1), Err(Some(ms(100))));
    assert_eq!(ask(50, 1), Err(Some(ms(50))));
    assert_eq!(ask(100, 1), Ok((0, ms(500))));
    assert_eq!(ask(100, 1), Err(Some(ms(100))));
    assert_eq!(ask(1000, 1), Ok((4, ms(100))));
    // With costs; a cost of nothing counts as one.
    assert_eq!(ask(1000, 5), Err(Some(ms(100))));
    assert_eq!(ask(1000, 6), Err(None));
    assert_eq!(ask(1000, 3), Ok((1, ms(400))));
    assert_eq!(ask(1000, 0), Ok((0, ms(500))));
    assert_eq!(ask(1500, 5), Ok((0, ms(500))));
}

/// A third of a nanosecond, and worse fractions, do not add up.
#[test]
fn nothing_drifts() {
    for (permits, seconds) in [(1_000_000_000, 3), (333_333_333, 1), (999_999_937, 7)] {
        for cost in [1, 1 << 28] {
            let rate = Rate {
                permits,
                period: seconds * 1_000_000_000,
                burst: cost * 2,
                patience: 0,
            };
            let (gcra, quota) = (Gcra::new(), rate.quota());
            let start = 3_600_000_000_000;
            let mut now = start;
            for n in 0..20_000u128 {
                match gcra.admit(&quota, at(now), cost, Duration::ZERO) {
                    Decision::Admit(_) => {}
                    Decision::Wait { wait, .. } => {
                        now += u64::try_from(wait.as_nanos()).unwrap();
                        let again = gcra.admit(&quota, at(now), cost, Duration::ZERO);
                        assert!(matches!(again, Decision::Admit(_)), "{again:?}");
                    }
                    other => panic!("{other:?}"),
                }
                let interval = u128::from(cost) * u128::from(rate.period);
                let ideal = (n.saturating_sub(1) * interval).div_ceil(u128::from(permits));
                let ahead = u128::from(now - start + rate.slack());
                let late = ahead.checked_sub(ideal);
                assert!(
                    matches!(late, Some(0..=2)),
                    "{late:?} ns late after {n}: {now} {ideal} {rate:?}"
                );
            }
        }
    }
}

/// Fault 48: sixteen threads, each with its own idea of the time, get no more than the quota.
#[test]
fn fault_048_threads_never_oversell() {
    const THREADS: usize = 16;
    let rate = Rate {
        permits: 999_937,
        period: 1_000_000_000,
        burst: 7,
        patience: 3_000,
    };
    let (gcra, quota) = (Gcra::new(), rate.quota());
    let clock = AtomicU64::new(1 << 40);
    let barrier = Barrier::new(THREADS);
    let grants: Vec<(u64, u32)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (gcra, clock, barrier, quota) = (&gcra, &clock, &barrier, &quota);
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    let mut mine = Vec::new();
                    barrier.wait();
                    for _ in 0..10_000 {
                        let now = clock.fetch_add(random.below(400).into(), Ordering::Relaxed);
                        let cost = 1 + random.below(3);
                        let patience = nanos(random.below(5_000).into());
                        match gcra.admit(quota, at(now), cost, patience) {
                            Decision::Admit(_) => mine.push((now, cost)),
                            Decision::Wait { wait, reserved, .. } => match reserved {
                                Some(reserved) if random.below(2) == 0 => gcra.cancel(reserved),
                                Some(_) => {
                                    mine.push((at(now).saturating_add(wait).as_nanos(), cost));
                                }
                                None => {}
                            },
                            other => panic!("{other:?}"),
                        }
                    }
                    mine
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    assert!(grants.len() > 5_000, "{}", grants.len());
    rate.check(grants, 2).unwrap();
}

/// Also where the interval is no power of two, and so the time in units is
/// rounded at nearly every tick.
#[test]
fn a_full_bucket_admits_its_whole_burst_at_any_time() {
    for (permits, period, burst) in [(1, 3600, 1), (1, 1, 1), (100, 1, 100), (7, 60, 3)] {
        let quota = Quota::new(permits, Duration::from_secs(period), burst, Duration::ZERO);
        let quota = quota.unwrap();
        for n in 0..1_000u64 {
            let now = Tick::from_nanos(3_600_000_000_000 + n * 987_654_321);
            let ask = |bucket: &Gcra, cost| bucket.admit(&quota, now, cost, Duration::ZERO);
            let (whole, single) = (Gcra::new(), Gcra::new());
            assert!(matches!(ask(&whole, burst), Decision::Admit(_)));
            assert!(matches!(ask(&whole, 1), Decision::Wait { .. }));
            for _ in 0..burst {
                assert!(
                    matches!(ask(&single, 1), Decision::Admit(_)),
                    "{quota:?} at {n}"
                );
            }
            assert!(matches!(ask(&single, 1), Decision::Wait { .. }));
        }
    }
}
