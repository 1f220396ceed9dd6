//! A record against the list of all that was ever done to it.

use std::time::Duration;

use proptest::prelude::*;

use super::super::record::Token;
use super::super::state::{self, Decision, Entry};
use super::super::store::{Again, Completion};
use super::ask;
use crate::clock::Tick;

#[derive(Debug, Clone)]
enum Op {
    Reserve {
        owner: u128,
        payload: u8,
        lease: u64,
        retention: u64,
        again: Again,
    },
    /// By the holder of one of the grants so far.
    Complete {
        grant: usize,
        retention: u64,
    },
    Release {
        grant: usize,
    },
    Abandon {
        grant: usize,
    },
    Jump {
        to: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let again = prop_oneof![Just(Again::Never), Just(Again::Allowed)];
    prop_oneof![
        4 => (0..3u128, 0..2u8, 0..6u64, 0..12u64, again).prop_map(
            |(owner, payload, lease, retention, again)| Op::Reserve {
                owner, payload, lease, retention, again
            }),
        2 => (0..4usize, 0..12u64)
            .prop_map(|(grant, retention)| Op::Complete { grant, retention }),
        1 => (0..4usize).prop_map(|grant| Op::Release { grant }),
        1 => (0..4usize).prop_map(|grant| Op::Abandon { grant }),
        3 => (0..20u64).prop_map(|to| Op::Jump { to }),
    ]
}

/// One grant, and what its holder did with it.
#[derive(Debug, Clone)]
struct Grant {
    owner: u128,
    payload: u8,
    lease_end: u64,
    known_until: u64,
    answer: Option<usize>,
    given_up: bool,
}

/// What holds, by looking at the last grant that was not released.
#[derive(Debug, Default)]
struct Naive {
    now: u64,
    grants: Vec<Grant>,
    /// Released ones are struck out, and their holders with them.
    last: Option<usize>,
}

impl Naive {
    fn last(&self) -> Option<&Grant> {
        let grant = &self.grants[self.last?];
        (self.now < grant.known_until).then_some(grant)
    }

    fn holds(&self, grant: usize) -> bool {
        self.last == Some(grant) && self.last().is_some()
    }
}

proptest! {
    #[test]
    fn a_record_does_what_the_list_says(ops in prop::collection::vec(op(), 1..60)) {
        let mut naive = Naive::default();
        let mut entry: Option<Entry<usize>> = None;
        let tick = |nanos| Tick::from_nanos(nanos);
        for (step, op) in ops.into_iter().enumerate() {
            let now = tick(naive.now);
            match op {
                Op::Jump { to } => naive.now = to,
                Op::Reserve { owner, payload, lease, retention, again } => {
                    let mut ask = ask(owner, &[payload], again);
                    ask.lease = Duration::from_nanos(lease);
                    ask.retention = Duration::from_nanos(retention);
                    let number = naive.grants.len();
                    let next = || Token::new(number as u64);
                    let said = state::reserve(&mut entry, &ask, now, next);
                    let fresh = |taken_over| Decision::Granted {
                        token: Token::new(number as u64),
                        taken_over,
                    };
                    let expected = match naive.last() {
                        None => fresh(false),
                        Some(last) if last.payload != payload => Decision::Mismatch,
                        Some(Grant { answer: Some(answer), .. }) => Decision::Completed(*answer),
                        Some(last) if naive.now < last.lease_end && !last.given_up => {
                            if last.owner == owner {
                                let token = Token::new(naive.last.unwrap() as u64);
                                Decision::Granted { token, taken_over: false }
                            } else {
                                Decision::Busy(Duration::from_nanos(last.lease_end - naive.now))
                            }
                        }
                        Some(_) if again == Again::Never => Decision::Unknown,
                        Some(_) => fresh(true),
                    };
                    prop_assert_eq!(&said, &expected, "step {}: {:?}", step, naive);
                    if said == fresh(false) || said == fresh(true) {
                        naive.last = Some(number);
                        naive.grants.push(Grant {
                            owner,
                            payload,
                            lease_end: naive.now + lease,
                            known_until: naive.now + lease + retention,
                            answer: None,
                            given_up: false,
                        });
                    }
                }
                Op::Complete { grant, retention } => {
                    let token = Token::new(grant as u64);
                    let keep = Duration::from_nanos(retention);
                    let said = state::complete(&mut entry, token, step, keep, now);
                    let holds = naive.holds(grant);
                    prop_assert_eq!(said == Completion::Done, holds);
                    if holds && naive.grants[grant].answer.is_none() {
                        naive.grants[grant].answer = Some(step);
                        naive.grants[grant].known_until = naive.now + retention;
                    }
                }
                Op::Release { grant } => {
                    let said = state::release(&mut entry, Token::new(grant as u64), now);
                    let free = naive.holds(grant)
                        && naive.grants[grant].answer.is_none()
                        && !naive.grants[grant].given_up;
                    prop_assert_eq!(said == Completion::Done, free);
                    if free {
                        naive.last = None;
                    }
                }
                Op::Abandon { grant } => {
                    state::abandon(&mut entry, Token::new(grant as u64), now);
                    if naive.holds(grant) && naive.grants[grant].answer.is_none() {
                        naive.grants[grant].given_up = true;
                    }
                }
            }
        }
    }
}
