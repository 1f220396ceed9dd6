//! Places in a bucket's future.

use std::time::Duration;

use proptest::prelude::*;

use super::gcra::{Model, at, nanos, rates, starts};
use crate::kernel::gcra::{Decision, Gcra};

proptest! {
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
                // In front of somebody, nothing changes: that one was told its time.
                _ => {
                    let mut reserve = || match gcra.admit(&quota, at(now), 1, Duration::MAX) {
                        Decision::Wait { wait, reserved, .. } => reserved.map(|r| (r, wait)),
                        Decision::Admit(_) => {
                            model.tat = model.next(now, 1);
                            grants.push((now, 1));
                            last = last.max(now);
                            None
                        }
                        other => panic!("{other:?}"),
                    };
                    let pair = [reserve(), reserve()];
                    let level = gcra.level(&quota, at(now));
                    for (reserved, wait) in pair.into_iter().flatten() {
                        model.tat = model.next(now, 1);
                        last = at(now).saturating_add(wait).as_nanos();
                        grants.push((last, 1));
                        if let [Some((first, _)), Some((second, _))] = pair {
                            prop_assert!(first != second);
                            if reserved == first {
                                gcra.cancel(first);
                            }
                        }
                    }
                    prop_assert_eq!(gcra.level(&quota, at(now)), level);
                }
            }
            let patience = if far % 5 == 0 { far % (rate.patience + 1) } else { rate.patience };
            if let Some(due) = model.ask(&gcra, now, cost, patience) {
                prop_assert!(due >= last, "{due} after {last}");
                last = due;
                grants.push((due, cost));
            }
        }
        prop_assert_eq!(rate.check(grants, 1), Ok(()));
    }
}
