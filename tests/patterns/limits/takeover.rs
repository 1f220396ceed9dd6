//! Plain buckets of keys, and those that take over from them when more is wanted.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, Service};
use tower_keep::RejectionKind;
use tower_keep::test_util::{Hand, finish_on};
use tower_keep::throttle::{Handle, Kind, Limit, Policy, PolicyBuilder, ThrottleLayer};

use super::{by_number, drain, keyed, per_second, setup};
use crate::support::{call, inner, ms, request, secs};

/// What makes a throttle want more than plain buckets, without any effect on most keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Another,
    Own,
    Reserve,
    Charge,
    Refund,
}

const WISHES: [Wish; 5] = [
    Wish::Another,
    Wish::Own,
    Wish::Reserve,
    Wish::Charge,
    Wish::Refund,
];

/// Who has wishes.
const STRANGER: u64 = u64::MAX;

fn build(policy: PolicyBuilder) -> Policy {
    policy.build().unwrap()
}

/// The same with a limit that nobody reaches.
fn with_another(usual: PolicyBuilder) -> Policy {
    let wide = Limit::new(1_000_000, secs(1)).kind(Kind::FixedWindow);
    build(usual.also(wide))
}

fn wish(handle: &Handle, usual: PolicyBuilder, wish: Wish) {
    let key = by_number();
    match wish {
        Wish::Another => handle.update(with_another(usual)),
        Wish::Own => {
            let own = Some(build(per_second(3)));
            handle.set_quota_for(&key, &STRANGER, own).unwrap();
        }
        Wish::Reserve => drop(handle.reserve_for(&key, &STRANGER, 1).unwrap()),
        Wish::Charge => handle.charge_for(&key, &STRANGER, 1).unwrap(),
        Wish::Refund => handle.reserve_for(&key, &STRANGER, 1).unwrap().spend(),
    }
}

/// And back, as far as there is a way back.
fn wish_no_more(handle: &Handle, usual: PolicyBuilder, wish: Wish) {
    match wish {
        Wish::Another => handle.update(build(usual)),
        Wish::Own => handle.set_quota_for(&by_number(), &STRANGER, None).unwrap(),
        _ => {}
    }
}

/// What a key has used stays used, whether it comes at once or later; one that never came
/// has all of it.
#[test]
fn what_a_key_has_used_is_taken_over() {
    for which in WISHES {
        let usual = per_second(10).burst(10);
        let (time, handle) = keyed(usual);
        let left = |key: u64| handle.remaining_for(&by_number(), &key);
        let take = |key: u64, cost| handle.admit_for(&by_number(), &key, cost).unwrap();
        take(1, 7);
        take(2, 10);
        wish(&handle, usual, which);
        assert_eq!([1, 2, 3].map(left), [3, 0, 10], "{which:?}");
        assert_eq!(drain(&handle, 1), 3, "{which:?}");
        time.advance(ms(300));
        wish_no_more(&handle, usual, which);
        assert_eq!([1, 2, 3].map(left), [3, 3, 10], "{which:?}");
        assert_eq!([1, 2, 3].map(|key| drain(&handle, key)), [3, 3, 10]);
        // It is the same bucket in both directions.
        wish(&handle, usual, which);
        assert_eq!(
            [1, 2, 3].map(|key| drain(&handle, key)),
            [0; 3],
            "{which:?}"
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Ask(u64, u32),
    Peek(u64, u32),
    Wish(usize),
    WishNoMore(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..400_000_000_u64).prop_map(Step::Pass),
        6 => (0..3_u64, 1..6_u32).prop_map(|(key, cost)| Step::Ask(key, cost)),
        2 => (0..3_u64, 1..6_u32).prop_map(|(key, cost)| Step::Peek(key, cost)),
        1 => (0..WISHES.len()).prop_map(Step::Wish),
        1 => (0..WISHES.len()).prop_map(Step::WishNoMore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that others wish is felt by a key: it is told what it would be told by a
    /// throttle that stays with its plain buckets.
    #[test]
    fn fault_048_nobody_feels_a_takeover(
        burst in 5..20_u32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let usual = per_second(7).burst(burst);
        let ((time, plain), (other, handle)) = (keyed(usual), keyed(usual));
        let key = by_number();
        for step in steps {
            match step {
                Step::Pass(nanos) => {
                    time.advance(Duration::from_nanos(nanos));
                    other.advance(Duration::from_nanos(nanos));
                }
                Step::Ask(who, cost) => {
                    let asked = [&plain, &handle].map(|throttle| {
                        let asked = throttle.admit_for(&key, &who, cost);
                        asked.map_err(|refused| (refused.kind(), refused.retry_after()))
                    });
                    prop_assert_eq!(&asked[0], &asked[1]);
                }
                Step::Peek(who, cost) => {
                    // Looking makes no bucket, and takes none over.
                    let before = handle.snapshot();
                    let left = handle.remaining_for(&key, &who);
                    let looked = handle.peek_for(&key, &who, cost);
                    prop_assert_eq!(handle.snapshot(), before);
                    prop_assert_eq!(left, handle.remaining_for(&key, &who));
                    prop_assert_eq!(looked.is_ok(), left >= cost);
                }
                Step::Wish(at) => {
                    // Most of them take something.
                    if handle.remaining_for(&key, &STRANGER) > 0 {
                        wish(&handle, usual, WISHES[at]);
                    }
                }
                Step::WishNoMore(at) => wish_no_more(&handle, usual, WISHES[at]),
            }
        }
    }
}

/// Eight threads draw from three keys while one wishes for more: exactly the burst of each
/// passes, as no time does.
#[test]
fn fault_048_threads_race_a_takeover() {
    const BURST: u64 = 60;
    for round in 0..200 {
        let which = WISHES[round % WISHES.len()];
        let usual = per_second(1).burst(60);
        let (_, handle) = keyed(usual);
        let start = Barrier::new(9);
        let mut granted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let (handle, start) = (&handle, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut granted = [0; 3];
                        for n in 0..90 {
                            let key = n % 3;
                            let passed = handle.admit_for(&by_number(), &(key as u64), 1);
                            granted[key] += u64::from(passed.is_ok());
                        }
                        granted
                    })
                })
                .collect();
            start.wait();
            wish(&handle, usual, which);
            let sum = |sum: [u64; 3], one: [u64; 3]| [0, 1, 2].map(|key| sum[key] + one[key]);
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .fold([0; 3], sum)
        });
        for (key, granted) in granted.iter_mut().enumerate() {
            *granted += drain(&handle, key as u64);
        }
        assert_eq!(granted, [BURST; 3], "{which:?}");
    }
}

/// Who waits in a plain bucket gives up the place in the one that has taken over, or has
/// not yet.
#[test]
fn a_place_from_before_a_takeover_is_given_back() {
    for which in WISHES {
        for comes_first in [false, true] {
            let usual = per_second(10).burst(1).max_wait(secs(10));
            let (time, _) = keyed(usual);
            let (probe, ..) = inner(&time);
            let key = tower_keep::key::value(|_: &_| Some(7_u64));
            let layer = ThrottleLayer::keyed_with(build(usual), key, setup(&time)).waiting();
            let handle = layer.handle();
            let mut service = layer.layer(probe);
            let wait = || {
                let refused = handle.admit_for(&key, &request("a"), 1).unwrap_err();
                assert_eq!(refused.kind(), RejectionKind::Throttled);
                refused.retry_after()
            };
            assert!(
                finish_on(&time, call(&mut service, request("a")))
                    .unwrap()
                    .is_ok()
            );
            let mut waits = Hand::new(service.call(request("a")));
            assert!(waits.poll().is_pending());
            assert_eq!(wait(), Some(ms(200)));
            wish(&handle, usual, which);
            if comes_first {
                assert_eq!(wait(), Some(ms(200)), "{which:?}");
            }
            drop(waits);
            assert_eq!(wait(), Some(ms(100)), "{which:?}");
            time.advance(ms(100));
            assert!(handle.admit_for(&key, &request("a"), 1).is_ok());
        }
    }
}

/// A key comes for the first time while it is given a quota of its own: whoever was first,
/// it has that one.
#[test]
fn fault_028_no_key_misses_its_own_quota() {
    const KEYS: u64 = 3_000;
    let (_, handle) = keyed(per_second(10).burst(10).max_keys(10_000));
    let own = build(per_second(1).burst(1));
    handle
        .set_quota_for(&by_number(), &STRANGER, Some(own))
        .unwrap();
    let turns = [AtomicU64::new(0), AtomicU64::new(0)];
    let meet = |me: usize, key: u64| {
        turns[me].store(key + 1, Ordering::Release);
        while turns[1 - me].load(Ordering::Acquire) <= key {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for key in 0..KEYS {
                meet(0, key);
                let _ = handle.admit_for(&by_number(), &key, 1);
            }
        });
        for key in 0..KEYS {
            meet(1, key);
            handle.set_quota_for(&by_number(), &key, Some(own)).unwrap();
        }
    });
    for key in 0..KEYS {
        assert!(drain(&handle, key) <= 1, "{key} has another's quota");
    }
}
