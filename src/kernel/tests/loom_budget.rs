//! Never one grant too many.

use std::sync::Arc;

use loom::thread;

use super::model;
use crate::kernel::budget::{InFlight, Share, Terms, Tokens};

/// One request pays for one attempt, at most two are saved, three ask.
#[test]
fn loom_share_grants_what_was_paid() {
    model(2, || {
        let terms = Terms {
            income: 1,
            cost: 1,
            most: 2,
        };
        let share = Arc::new(Share::with_owned(1));
        share.pay_from(0);
        share.pay_from(0);
        share.pay_from(0);
        let others = [1, 2].map(|thread| {
            let share = Arc::clone(&share);
            thread::spawn(move || {
                if thread == 1 {
                    share.pay_from(thread);
                }
                u64::from(share.take(terms)) + u64::from(share.take(terms))
            })
        });
        let mut taken = u64::from(share.take(terms));
        for other in others {
            taken += other.join().unwrap();
        }
        // Two were saved, and one more was paid meanwhile.
        assert!((2..=3).contains(&taken), "{taken}");
        let left = share.balance(terms);
        assert!(taken + left <= 3, "{taken} and {left}");
    });
}

/// What is given back can be taken by somebody else, once, whoever is between.
#[test]
fn loom_share_gives_back_what_was_taken() {
    for most in [2, 3] {
        model(2, move || {
            let terms = Terms {
                income: 1,
                cost: 1,
                most,
            };
            let share = Arc::new(Share::with_owned(1));
            share.pay_from(0);
            share.pay_from(0);
            let gives_back = {
                let share = Arc::clone(&share);
                thread::spawn(move || {
                    if share.take(terms) {
                        share.give_back(terms);
                    }
                })
            };
            let keeps = {
                let share = Arc::clone(&share);
                thread::spawn(move || u64::from(share.take(terms)) + u64::from(share.take(terms)))
            };
            share.pay_from(0);
            gives_back.join().unwrap();
            let kept = keeps.join().unwrap();
            assert!(kept >= 1, "only one was out at a time");
            let left = share.balance(terms);
            assert!(left <= most && kept + left <= 3, "{kept} and {left}");
            // Only what is above the cap is lost.
            assert!(kept + left >= most.min(3), "{kept} and {left}");
            let mut again = 0;
            while share.take(terms) {
                again += 1;
            }
            assert_eq!(again, left);
        });
    }
}

#[test]
fn loom_tokens_are_taken_once() {
    model(2, || {
        let tokens = Arc::new(Tokens::default());
        let others = [(); 2].map(|()| {
            let tokens = Arc::clone(&tokens);
            thread::spawn(move || {
                let taken = tokens.take(3, 2, None);
                if taken {
                    tokens.bring(1);
                }
                u64::from(taken)
            })
        });
        let taken = others
            .into_iter()
            .map(|other| other.join().unwrap())
            .sum::<u64>();
        // The second one finds two tokens only if the first has brought one back.
        assert!(taken >= 1);
        assert_eq!(tokens.left(3), 3 - taken);
    });
}

#[test]
fn loom_attempts_under_way_keep_to_the_limit() {
    model(2, || {
        let flight = Arc::new(InFlight::with_owned(1));
        let others = [(); 2].map(|()| {
            let flight = Arc::clone(&flight);
            thread::spawn(move || {
                let taken = flight.take(|_| 1);
                if taken {
                    assert_eq!(flight.attempts(), 1);
                    flight.give_back();
                }
                taken
            })
        });
        let taken = others.map(|other| other.join().unwrap());
        assert!(taken.contains(&true));
        assert_eq!(flight.attempts(), 0);
    });
}
