//! Slices that threads hold, against the law of the bucket that they come from.

use std::sync::{
    Barrier,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use proptest::prelude::*;

use super::Random;
use super::model::{Model, Rate, at};
use crate::kernel::{
    gcra::{Answer, Decision, Gcra, Quota},
    lease::Leases,
};

const MS: u64 = 1_000_000;

/// A bucket, and what threads hold of it.
#[derive(Debug)]
struct Leased {
    gcra: Gcra,
    leases: Leases,
    quota: Quota,
    kept: u32,
}

impl Leased {
    fn new(rate: Rate, slots: usize) -> Self {
        let leases = Leases::with_slots(slots);
        let size = leases.size_for(rate.burst);
        leases.set(size);
        let kept = leases.most(size);
        Self {
            quota: less(rate, kept).quota(),
            gcra: Gcra::new(),
            leases,
            kept,
        }
    }

    /// As a throttle does.
    fn admits(&self, thread: usize, now: u64, cost: u32) -> bool {
        let Self { gcra, quota, .. } = self;
        if self.leases.spend(thread, cost) {
            return true;
        }
        match self.leases.ask_from(|| thread, gcra, quota, at(now), cost) {
            Answer::Admit => true,
            Answer::Late(_) => false,
            Answer::Unsure => matches!(
                gcra.admit(quota, at(now), cost, Duration::ZERO),
                Decision::Admit(_)
            ),
        }
    }
}

fn less(rate: Rate, kept: u32) -> Rate {
    let burst = rate.burst - kept;
    Rate { burst, ..rate }
}

/// Bursts that are large enough, and some that are not.
fn cases() -> impl Strategy<Value = (Rate, usize)> {
    let rate = (1..2000u32, 1..5u64, 1..6000u32).prop_map(|(permits, seconds, burst)| Rate {
        permits,
        period: seconds * 1000 * MS,
        burst,
        patience: 0,
    });
    (rate, 1..20usize)
}

proptest! {
    /// Whoever comes when, for however much: never more than the rate and the burst,
    /// and early at most by what threads hold, twice.
    #[test]
    fn never_over_and_early_by_what_is_held(
        (rate, slots) in cases(),
        steps in prop::collection::vec((0..24usize, 0..8u32, any::<u32>()), 1..400),
    ) {
        let leased = Leased::new(rate, slots);
        let mut exact = Model { rate, tat: 0 };
        let mut now = 1000 * MS;
        let mut grants = Vec::new();
        for (thread, kind, far) in steps {
            let interval = rate.period / u64::from(rate.permits);
            now += match kind {
                0 => u64::from(far) % (interval * 40 + 2),
                1 => interval,
                _ => 0,
            };
            let cost = match kind {
                7 => 1 + far % (rate.burst - leased.kept),
                6 => 1 + far % 4,
                _ => 1,
            };
            if leased.admits(thread, now, cost) {
                exact.tat = exact.next(now, cost);
                grants.push((now, cost));
            } else {
                let missing = u128::from(2 * leased.kept) * u128::from(rate.period);
                let due = exact.next(now, cost) + missing;
                let rounded = rate.fine(rate.slack() + 1);
                let full = rate.fine(now) + rate.full();
                prop_assert!(due + rounded > full, "refused {cost} at {now}");
            }
            prop_assert!(leased.leases.held() <= u64::from(leased.kept));
        }
        prop_assert_eq!(rate.check(grants, rate.slack()), Ok(()));
    }

    /// Slices are a quarter of the burst at most, and worth their price or none.
    #[test]
    fn sizes(burst in 1..=u32::MAX, slots in 0..300usize) {
        let leases = Leases::with_slots(slots);
        let size = leases.size_for(burst);
        prop_assert!(leases.most(size) <= burst / 4);
        prop_assert!(size <= 64);
        let worth = slots > 0 && u64::from(burst) >= 16 * slots as u64;
        prop_assert_eq!(size > 0, worth);
    }
}

fn brisk() -> Rate {
    Rate {
        permits: 1000,
        period: 1000 * MS,
        burst: 1024,
        patience: 0,
    }
}

/// Sixteen threads, half of them with a slot, at times that one of them makes: no
/// interval has more than the rate and the burst.
#[test]
fn threads_never_exceed_the_rate() {
    const THREADS: usize = 16;
    let rate = brisk();
    let leased = Leased::new(rate, THREADS / 2);
    assert_ne!(leased.leases.size(), 0);
    let clock = AtomicU64::new(1000 * MS);
    let barrier = Barrier::new(THREADS);
    let grants = std::thread::scope(|scope| {
        let work = |thread: usize| {
            let (leased, clock, barrier) = (&leased, &clock, &barrier);
            move || {
                let mut random = Random::new(thread);
                let mut grants = Vec::new();
                barrier.wait();
                for _ in 0..4000 {
                    // Some work more than others, and none knows the time exactly.
                    let now = match random.below(16) {
                        0 => clock.fetch_add(u64::from(random.below(2_000_000)), Ordering::Relaxed),
                        _ => clock.load(Ordering::Relaxed),
                    };
                    if random.below(16) >= u32::try_from(thread).unwrap() {
                        let cost = 1 + random.below(3);
                        if leased.admits(thread, now, cost) {
                            grants.push((now, cost));
                        }
                    }
                }
                grants
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(work(n))).collect();
        let grants = threads.into_iter().map(|thread| thread.join().unwrap());
        grants.flatten().collect::<Vec<_>>()
    });
    assert!(grants.len() > usize::try_from(rate.burst).unwrap());
    assert_eq!(rate.check(grants, rate.slack()), Ok(()));
}

/// One busy thread beside others that took a slice each and went to sleep: it gets
/// the whole rate, and at once what nobody holds.
#[test]
fn idle_slices_are_missing_once() {
    let rate = brisk();
    let leased = Leased::new(rate, 8);
    let start = 1000 * MS;
    for thread in 1..8 {
        assert!(leased.admits(thread, start, 1));
    }
    let idle = u32::try_from(leased.leases.held()).unwrap();
    let at_once = (0..5000).filter(|_| leased.admits(0, start, 1)).count();
    // They have spent one each.
    let there = rate.burst - leased.kept - idle - 7;
    assert_eq!(at_once, usize::try_from(there).unwrap());
    // A request a millisecond refills, for an hour.
    let refused = (1..3_600_000).filter(|ms| !leased.admits(0, start + ms * MS, 1));
    assert_eq!(refused.count(), 0);
    assert_eq!(leased.leases.held(), u64::from(idle), "they sleep still");
    // And what they hold is theirs when they wake.
    assert!(leased.admits(1, start + 3_600_000 * MS, 1));
}

/// New terms: what was drawn under the old ones is void, whoever holds it.
#[test]
fn new_terms_void_what_is_held() {
    let rate = brisk();
    let leased = Leased::new(rate, 8);
    // The first one gives the bucket its units.
    assert!(leased.admits(0, 0, 1));
    for thread in 0..8 {
        assert!(leased.admits(thread, 0, 1));
        assert!(leased.leases.spend(thread, 1));
    }
    leased.leases.set(leased.leases.size());
    assert_eq!(leased.leases.held(), 0);
    for thread in 0..8 {
        assert!(!leased.leases.spend(thread, 1));
    }
    // A size of nothing leaves the bucket alone.
    leased.leases.set(0);
    assert_eq!(leased.leases.size(), 0);
    assert!(leased.admits(3, 0, 1));
    assert_eq!(leased.leases.held(), 0);
}

/// A quota so slow that nothing comes back: every permit is granted once, whole or
/// in slices, by threads with a slot and without.
#[test]
fn every_permit_is_spent_once() {
    let rate = Rate {
        permits: 1,
        period: 1 << 50,
        burst: 500,
        patience: 0,
    };
    let leased = Leased::new(rate, 4);
    let mut granted = [0u32; 6];
    for round in 0..2000 {
        let thread = round % 6;
        granted[thread] += u32::from(leased.admits(thread, 7, 1));
    }
    let all: u32 = granted.iter().sum();
    assert_eq!(all, rate.burst - leased.kept);
    assert_eq!(leased.leases.held(), 0);
}
