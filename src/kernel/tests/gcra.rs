//! One quota, against exact fractions.

use std::sync::{
    Barrier,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use proptest::prelude::*;

use super::Random;
use crate::clock::Tick;
use crate::kernel::gcra::{Decision, Gcra, Quota};

pub(super) const fn nanos(n: u64) -> Duration {
    Duration::from_nanos(n)
}

pub(super) const fn at(n: u64) -> Tick {
    Tick::from_nanos(n)
}

/// `permits` per `period` nanoseconds, `burst` at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) permits: u32,
    pub(super) period: u64,
    pub(super) burst: u32,
    pub(super) patience: u64,
}

impl Rate {
    pub(super) fn quota(self) -> Quota {
        let (period, patience) = (nanos(self.period), nanos(self.patience));
        Quota::new(self.permits, period, self.burst, patience).unwrap()
    }

    /// A time in `1/permits` nanoseconds: then every number is whole.
    pub(super) fn fine(self, now: u64) -> u128 {
        u128::from(now) * u128::from(self.permits)
    }

    pub(super) fn full(self) -> u128 {
        u128::from(self.burst) * u128::from(self.period)
    }

    /// `grants` (time, cost) never exceed the quota, in any interval. Times that were reserved are
    /// whole nanoseconds, rounded up one by one: from one to the next, that can be a `slack` of 1.
    pub(super) fn check(self, mut grants: Vec<(u64, u32)>, slack: u64) -> Result<(), String> {
        grants.sort_unstable();
        // What was granted before, in the units of `fine`, and the time it takes: a grant may not
        // let the sum run ahead of the least lag so far by more than the bucket.
        let mut sum = 0u128;
        let mut least: Option<i128> = None;
        for (now, cost) in grants {
            let time = i128::try_from(self.fine(now)).unwrap();
            let lag = time - i128::try_from(sum).unwrap();
            least = Some(least.map_or(lag, |least| least.max(lag)));
            sum += u128::from(cost) * u128::from(self.period);
            let over = i128::try_from(sum).unwrap() - time + least.unwrap();
            if over > i128::try_from(self.full() + self.fine(slack)).unwrap() {
                return Err(format!("{cost} at {now} were too many for {self:?}"));
            }
        }
        Ok(())
    }
}

/// The algorithm in exact fractions. It is told what was granted, and checks it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub(super) rate: Rate,
    /// In the units of [`Rate::fine`].
    pub(super) tat: u128,
}

impl Model {
    pub(super) fn next(&self, now: u64, cost: u32) -> u128 {
        self.tat.max(self.rate.fine(now)) + u128::from(cost) * u128::from(self.rate.period)
    }

    /// The earliest tick for `cost`, asked at `now`.
    pub(super) fn due(&self, now: u64, cost: u32) -> u64 {
        let earliest = self.next(now, cost).saturating_sub(self.rate.full());
        let due = earliest.div_ceil(u128::from(self.rate.permits));
        u64::try_from(due).unwrap().max(now)
    }

    /// Asks the bucket, and compares every part of the answer.
    pub(super) fn ask(&mut self, gcra: &Gcra, now: u64, cost: u32, patience: u64) -> Option<u64> {
        let quota = self.rate.quota();
        let due = self.due(now, cost);
        match gcra.admit(&quota, at(now), cost, nanos(patience)) {
            Decision::Admit(level) => {
                assert!(due <= now, "granted {} ns early at {now}", due - now);
                self.tat = self.next(now, cost);
                let left = (self.rate.full() + self.rate.fine(now) - self.tat)
                    / u128::from(self.rate.period);
                let remaining = quota.remaining(level, at(now));
                assert!(u128::from(remaining) <= left, "{remaining} of {left}");
                assert!(u128::from(remaining) + 1 >= left, "{remaining} of {left}");
                let full = self.tat.div_ceil(u128::from(self.rate.permits)) - u128::from(now);
                let reset = quota.reset(level, at(now)).as_nanos();
                assert!((full..=full + 1).contains(&reset), "{reset} for {full}");
                Some(now)
            }
            Decision::Wait { wait, reserved, .. } => {
                let again = now + u64::try_from(wait.as_nanos()).unwrap();
                assert!(again > now, "refused without a wait");
                assert!(again >= due, "told to come {} ns early", due - again);
                assert!(again <= due + 1, "told to come {} ns late", again - due);
                if reserved.is_some() {
                    assert!(again - now <= patience.min(self.rate.patience));
                    self.tat = self.next(now, cost);
                    return Some(again);
                }
                // What a reservation rounds is less than two nanoseconds.
                let patience = patience.min(self.rate.patience);
                assert!(again - now + 2 > patience, "no place in {patience}");
                let early = gcra.admit(&quota, at(again - 1), cost, Duration::ZERO);
                let Decision::Wait { wait, .. } = early else {
                    panic!("{early:?} a nanosecond before the hint");
                };
                assert_eq!(wait, nanos(1));
                None
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn rates() -> impl Strategy<Value = Rate> {
    let permits = prop_oneof![
        1..10u32,
        1..=u32::MAX,
        Just(1_000_000_000),
        Just(999_999_937)
    ];
    let period = prop_oneof![
        Just(1_000_000_000u64),
        Just(3_000_000_000),
        1..1000u64,
        (0..40u32, any::<u32>()).prop_map(|(shift, n)| (u64::from(n) << shift) >> 12),
    ];
    let burst = prop_oneof![Just(1u32), 2..20u32, 1..=u32::MAX];
    let patience = prop_oneof![Just(0u64), 0..10_000_000_000u64];
    (permits, period, burst, patience).prop_filter_map(
        "not above one a nanosecond, not below 36 years a bucket",
        |(permits, period, burst, patience)| {
            let fill = u128::from(burst) * u128::from(period) / u128::from(permits);
            (u64::from(permits) <= period && fill < 1 << 60).then_some(Rate {
                permits,
                period,
                burst,
                patience,
            })
        },
    )
}

/// Zero, an hour, seventy years and anything between.
pub(super) fn starts() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        Just(3_600_000_000_000),
        (0..=61u32).prop_flat_map(|bits| 0..=1u64 << bits),
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
            if now > 1 << 61 {
                break;
            }
            // Patience is the next property's.
            if let Some(now) = model.ask(&gcra, now, cost, 0) {
                grants.push((now, cost));
            }
        }
        prop_assert_eq!(rate.check(grants, 0), Ok(()));
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
        prop_assert!(!retired || now >= full, "retired {} ns early", full - now);
        prop_assert!(retired || now <= full, "not retired {} ns late", now - full);
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
                let late = u128::from(now - start).checked_sub(ideal);
                assert!(
                    matches!(late, Some(0 | 1)),
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
    rate.check(grants, 1).unwrap();
}
