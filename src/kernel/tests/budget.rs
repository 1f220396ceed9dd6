//! Budgets against naive models, and under real threads.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use crate::kernel::budget::{InFlight, Share, Terms, Tokens};

proptest! {
    /// The model applies the cap whenever a request comes in.
    #[test]
    fn a_share_is_a_bucket_that_requests_fill(
        income in 0_u64..5,
        cost in 1_u64..20,
        burst in 1_u64..8,
        steps in prop::collection::vec((0_u64..40, 0_usize..6, 0_usize..3), 1..60),
    ) {
        let terms = Terms { income, cost, most: burst * cost };
        let share = Share::with_owned(2);
        let mut balance = 0;
        let mut out = 0_usize;
        for (requests, asked, returned) in steps {
            for request in 0..requests {
                share.pay_from(usize::try_from(request % 4).unwrap());
                balance = (balance + income).min(terms.most);
            }
            prop_assert_eq!(share.balance(terms), balance);
            for _ in 0..asked {
                let there = balance >= cost;
                prop_assert_eq!(share.take(terms), there);
                balance -= if there { cost } else { 0 };
                out += usize::from(there);
            }
            for _ in 0..returned.min(out) {
                out -= 1;
                share.give_back(terms);
                balance = (balance + cost).min(terms.most);
                prop_assert_eq!(share.balance(terms), balance);
            }
        }
    }

    #[test]
    fn tokens_stay_between_none_and_all(
        most in 1_u64..100,
        reserve in prop::option::of(0_u64..50),
        steps in prop::collection::vec((0_u8..3, 0_u64..60), 1..100),
    ) {
        let tokens = Tokens::default();
        let mut left = most;
        for (what, n) in steps {
            match what {
                0 => {
                    let there = left.checked_sub(n).filter(|after| reserve.is_none_or(|r| *after > r));
                    prop_assert_eq!(tokens.take(most, n, reserve), there.is_some());
                    left = there.unwrap_or(left);
                }
                1 => {
                    tokens.lose(most, n);
                    left = left.saturating_sub(n);
                }
                _ => {
                    tokens.bring(n);
                    left = (left + n).min(most);
                }
            }
            prop_assert_eq!(tokens.left(most), left);
        }
    }

    #[test]
    fn attempts_under_way_are_counted(steps in prop::collection::vec(0_u8..4, 1..200)) {
        let flight = InFlight::with_owned(1);
        let (mut requests, mut attempts) = (0_u64, 0_u64);
        for what in steps {
            match what {
                0 => {
                    flight.begin();
                    requests += 1;
                }
                1 if requests > 0 => {
                    flight.end();
                    requests -= 1;
                }
                2 if attempts > 0 => {
                    flight.give_back();
                    attempts -= 1;
                }
                _ => {
                    let there = attempts < requests / 2;
                    prop_assert_eq!(flight.take(|requests| requests / 2), there);
                    attempts += u64::from(there);
                }
            }
            prop_assert_eq!((flight.requests(), flight.attempts()), (requests, attempts));
        }
    }
}

/// Whoever runs when: no more than was paid for, and nothing is lost.
#[test]
fn threads_get_what_was_paid_for() {
    const EACH: u64 = 20_000;
    let terms = Terms {
        income: 1,
        cost: 10,
        most: u64::MAX / 2,
    };
    let (share, taken) = (Share::with_owned(2), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    share.pay();
                    taken.fetch_add(share.take(terms).into(), Ordering::Relaxed);
                }
            });
        }
    });
    while share.take(terms) {
        taken.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(taken.load(Ordering::Relaxed), 4 * EACH / 10);
}
