//! Rules as tables, and kernels against naive models.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::policy::Policy;
use super::runtime::{Reading, Tracker, Worker};
use super::state::{Memory, State, Token};
use super::table::Table;
use crate::classify::Outcome;
use crate::clock::Tick;
use crate::event::Stall;
use crate::kernel::guard::Settle;
use crate::key::KeyId;
use crate::registry::Setup;

fn at(seconds: u64) -> Tick {
    Tick::ZERO.saturating_add(Duration::from_secs(seconds))
}

#[derive(Debug, Clone)]
enum Op {
    Enter(usize, Option<u8>),
    Leave(usize),
    Stage(usize, String),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..5_usize, any::<Option<u8>>()).prop_map(|(t, key)| Op::Enter(t, key)),
        2 => (0..200_usize).prop_map(Op::Leave),
        1 => (0..200_usize, "[a-zé→]{0,12}").prop_map(|(n, name)| Op::Stage(n, name)),
    ]
}

proptest! {
    /// Against a map from places to calls.
    #[test]
    fn the_table_shows_the_calls_that_are_in_flight(
        capacity in 1..200_usize,
        ops in prop::collection::vec(op(), 0..300),
    ) {
        let table = Table::new(capacity);
        let room = capacity.div_ceil(64) * 64;
        prop_assert_eq!(table.capacity(), room);
        // By place: the number it was shown with, its key, its stage.
        let mut calls: BTreeMap<u32, (Option<u64>, Option<KeyId>, String)> = BTreeMap::new();
        let mut numbers: BTreeMap<u32, u64> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Enter(thread, key) => {
                    let key = key.map(|key| KeyId::new(u64::from(key) << 50));
                    let entered = table.enter_from(thread, key);
                    prop_assert_eq!(entered.is_some(), calls.len() < room);
                    if let Some(at) = entered {
                        let new = calls.insert(at, (None, key, String::new()));
                        prop_assert_eq!(new, None, "taken twice");
                    }
                }
                Op::Leave(nth) => {
                    let Some(at) = calls.keys().nth(nth % calls.len().max(1)).copied() else {
                        continue;
                    };
                    calls.remove(&at);
                    table.leave(at);
                }
                Op::Stage(nth, name) => {
                    let Some((at, call)) = calls.iter_mut().nth(nth) else { continue };
                    table.set_stage(*at, &name);
                    call.2 = name;
                }
            }
            let mut shown = Vec::new();
            table.look(|at, number| shown.push((at, number)));
            prop_assert!(shown.iter().map(|(at, _)| at).eq(calls.keys()));
            for (at, number) in shown {
                let call = calls.get_mut(&at).unwrap();
                // The same number as ever, and a higher one than of any call before.
                prop_assert!(call.0.is_none_or(|before| before == number));
                if call.0.replace(number).is_none() {
                    let before = numbers.insert(at, number);
                    prop_assert!(before.is_none_or(|before| before < number));
                }
                let details = table.details(at, number);
                prop_assert_eq!(details.key, call.1);
                prop_assert!(call.2.starts_with(details.stage()));
                let cut = call.2.len() - details.stage().len();
                prop_assert!(cut == 0 || details.stage().len() > 24 - 3);
            }
        }
    }

    /// Each call that is in flight for long enough is told once, and no other.
    #[test]
    fn stuck_calls_are_told_once(
        steps in prop::collection::vec((0..4_u8, 0..8_usize), 1..120),
    ) {
        let policy = Policy::stuck_after(Duration::from_secs(3)).unwrap();
        let state = State::create(policy, Setup::new());
        let mut memory = Memory::new(&state, at(0));
        // When each was seen first.
        let mut calls: Vec<(Token, Option<u64>, bool)> = Vec::new();
        let mut told = 0;
        for (now, (what, nth)) in steps.into_iter().enumerate() {
            let now = now as u64;
            match what {
                0 | 1 => calls.push((state.admit(|| None).unwrap(), None, false)),
                _ if !calls.is_empty() => {
                    let (token, ..) = calls.remove(nth % calls.len());
                    state.settle(&token, Outcome::Success);
                }
                _ => {}
            }
            for (_, seen, is_told) in &mut calls {
                let seen = *seen.get_or_insert(now);
                if now - seen >= 3 && !*is_told {
                    *is_told = true;
                    told += 1;
                }
            }
            memory.look(&state, at(now));
            prop_assert_eq!(state.snapshot().stuck, told);
        }
        calls.iter().for_each(|(token, ..)| state.settle(token, Outcome::Cancelled));
    }
}

fn worker(turns: u64, busy: u64) -> Worker {
    Worker {
        turns,
        busy: Duration::from_millis(busy),
    }
}

/// What two workers show each second, and what that says about ten seconds without
/// progress.
#[test]
fn only_what_the_figures_show_is_said() {
    type Shows = fn(u64) -> Worker;
    let parked: Shows = |_| worker(7, 50);
    let parking: Shows = |n| worker(2 * n, 50 + n);
    let saturated: Shows = |n| worker(4, 900 * n);
    let frozen: Shows = |_| worker(4, 50);
    let (blocked, none) = (Duration::from_secs(9), Duration::ZERO);
    let one = Stall::Blocked { workers: 1, of: 2 };
    let both = Stall::Blocked { workers: 2, of: 2 };
    let table: [([Shows; 2], Duration, Stall); 12] = [
        ([frozen, frozen], blocked, both),
        ([frozen, frozen], none, both),
        ([frozen, parked], none, one),
        ([saturated, frozen], none, one),
        ([parking, frozen], none, one),
        ([parked, parked], none, Stall::Deadlock),
        ([parking, parking], none, Stall::Deadlock),
        ([saturated, parked], none, Stall::Deadlock),
        // Nobody rests: it may wait for its turn, or run in circles.
        ([saturated, saturated], none, Stall::Unknown),
        (
            [saturated, saturated],
            blocked,
            Stall::Starved { queued: 3 },
        ),
        ([parking, saturated], blocked, Stall::Starved { queued: 3 }),
        // They look as if they rested, and yet take nothing.
        ([parked, parked], blocked, Stall::Unknown),
    ];
    for (number, (workers, waiting, stall)) in table.into_iter().enumerate() {
        let mut tracker = Tracker::default();
        for n in 0..=10 {
            tracker.observe(
                at(n),
                &Reading {
                    workers: workers.map(|shows| shows(n)).into(),
                    queued: 3,
                    alive: 9,
                },
            );
        }
        let judged = tracker.judge(at(10), Duration::from_secs(10), waiting);
        assert_eq!(judged, stall, "row {number}");
    }
}

/// A worker is frozen only if it is not parked, both figures stand, for long enough and
/// in three readings.
#[test]
fn a_worker_is_frozen_only_if_both_figures_stand() {
    let frozen = |seconds: &[u64], shows: fn(u64) -> Worker| {
        let mut tracker = Tracker::default();
        for n in seconds {
            let workers = vec![shows(*n)];
            let reading = Reading {
                workers,
                queued: 0,
                alive: 0,
            };
            tracker.observe(at(*n), &reading);
        }
        tracker.frozen(at(*seconds.last().unwrap()), Duration::from_secs(4)) == 1
    };
    let always: &[u64] = &[0, 1, 2, 3, 4];
    assert!(frozen(always, |_| worker(4, 50)));
    assert!(frozen(always, |_| worker(0, 0)), "it has never parked");
    assert!(!frozen(always, |_| worker(5, 50)), "it is parked");
    assert!(
        !frozen(always, |n| worker(4, n)),
        "it never parks, and is well"
    );
    assert!(!frozen(always, |n| worker(2 * n, 50)));
    assert!(!frozen(&[0, 1, 2, 3], |_| worker(4, 50)), "not for long");
    assert!(!frozen(&[0, 4], |_| worker(4, 50)), "too seldom seen");
    assert!(
        !frozen(always, |n| worker(4, 50 + n / 3)),
        "it has moved since"
    );
}

/// Runtimes can be replaced under a name, or change nothing at all.
#[test]
fn another_number_of_workers_is_another_matter() {
    let mut tracker = Tracker::default();
    for n in 0..10 {
        let workers = vec![worker(4, 50); if n < 5 { 4 } else { 2 }];
        let reading = Reading {
            workers,
            queued: 0,
            alive: 0,
        };
        tracker.observe(at(n), &reading);
    }
    assert_eq!(tracker.frozen(at(9), Duration::from_secs(9)), 2);
    assert_eq!(tracker.workers(), 2);
}
