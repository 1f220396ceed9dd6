//! The rate limiter in exact fractions, and rates to try it with.

use std::time::Duration;

use proptest::prelude::*;

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

    /// The nanosecond by which a caller can be early where a tick is no whole number of units: the
    /// time is rounded down by less than one.
    pub(super) fn slack(self) -> u64 {
        let whole = |units: u64| (units * self.period).is_multiple_of(u64::from(self.permits));
        u64::from(!(1..=4).any(whole))
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
                let early = due.saturating_sub(now);
                assert!(
                    early <= self.rate.slack(),
                    "granted {early} ns early at {now}"
                );
                self.tat = self.next(now, cost);
                let now_or_early = self.rate.fine(now + self.rate.slack());
                let left = (self.rate.full() + now_or_early).saturating_sub(self.tat)
                    / u128::from(self.rate.period);
                let remaining = quota.remaining(level, at(now));
                assert!(u128::from(remaining) <= left, "{remaining} of {left}");
                assert!(u128::from(remaining) + 1 >= left, "{remaining} of {left}");
                let full = self.tat.div_ceil(u128::from(self.rate.permits)) - u128::from(now);
                let reset = quota.reset(level, at(now)).as_nanos() + u128::from(self.rate.slack());
                assert!((full..=full + 2).contains(&reset), "{reset} for {full}");
                Some(now)
            }
            Decision::Wait { wait, reserved, .. } => {
                let again = now + u64::try_from(wait.as_nanos()).unwrap();
                assert!(again > now, "refused without a wait");
                let early = due.saturating_sub(again);
                assert!(early <= self.rate.slack(), "told to come {early} ns early");
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
