//! A throttle of several limits, of other kinds than a token bucket, and what its
//! handle does beside admitting.

mod files;
mod flood;
mod handle;
mod takeover;

use std::collections::HashMap;
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, Service};
use tower_keep::test_util::{Hand, ManualClock, finish_on};
use tower_keep::throttle::{Handle, Kind, Limit, OverTotal, Policy, PolicyBuilder, ThrottleLayer};
use tower_keep::{AsRejection, RejectionKind, Setup, key};

use crate::support::{call, inner, ms, request, secs};

const KINDS: [Kind; 6] = [
    Kind::TokenBucket,
    Kind::Pacing,
    Kind::WarmUp,
    Kind::FixedWindow,
    Kind::SlidingWindow,
    Kind::SlidingLog,
];

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

fn by_number() -> impl key::Key<u64> + Clone {
    key::value(|n: &u64| Some(*n))
}

fn per_second(permits: u32) -> PolicyBuilder {
    Policy::builder().rate(permits, secs(1))
}

fn keyed(policy: PolicyBuilder) -> (ManualClock, Handle) {
    let time = ManualClock::new();
    time.advance(secs(1_000_000));
    let layer = ThrottleLayer::keyed_with(policy.build().unwrap(), by_number(), setup(&time));
    (time, layer.handle())
}

/// As many requests of a key as pass now.
fn drain(handle: &Handle, key: u64) -> u64 {
    let admitted = std::iter::from_fn(|| handle.admit_for(&by_number(), &key, 1).ok());
    admitted.count() as u64
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Fault 48, with several limits: no interval of any of them holds more than it
    /// allows; a request that one refuses takes from none; the wait is that of the
    /// tightest; and looking agrees with asking.
    #[test]
    fn fault_048_all_limits_or_none(
        burst in (1..20_u32, 1..5_u64),
        sustained in (1..60_u32, 5..50_u64),
        log in (1..60_u32, 10..100_u64),
        is_keyed in any::<bool>(),
        steps in prop::collection::vec((0..3_u32, any::<u64>(), any::<u32>()), 1..120),
    ) {
        let limit = |(permits, seconds): (u32, u64)| Limit::new(permits, secs(seconds));
        let policy = Policy::builder()
            .rate(burst.0, secs(burst.1))
            .burst(burst.0)
            .also(limit(sustained).kind(Kind::FixedWindow))
            .also(limit(log).kind(Kind::SlidingLog))
            .build()
            .unwrap();
        let time = ManualClock::new();
        time.advance(secs(12_345));
        let handle = match is_keyed {
            true => ThrottleLayer::keyed_with(policy, by_number(), setup(&time)).handle(),
            false => ThrottleLayer::with(policy, setup(&time)).handle(),
        };
        let admit = |cost| handle.admit_for(&by_number(), &7, cost);
        let peek = |cost| handle.peek_for(&by_number(), &7, cost);
        let mut grants: Vec<(u64, u64)> = Vec::new();
        let most = burst.0.min(sustained.0).min(log.0);
        for (step, far, cost) in steps {
            let step = match step {
                0 => 0,
                1 => far % (burst.1 * 1_000_000_000),
                _ => far % (sustained.1 * 2_000_000_000),
            };
            time.advance(Duration::from_nanos(step));
            let cost = 1 + cost % most;
            let looked = peek(cost);
            let left = handle.remaining_for(&by_number(), &7);
            let asked = admit(cost);
            prop_assert_eq!(looked, asked);
            prop_assert_eq!(left >= cost, asked.is_ok());
            if let Err(refused) = asked {
                prop_assert_eq!(refused.kind(), RejectionKind::Throttled);
                prop_assert_eq!(handle.remaining_for(&by_number(), &7), left);
                let wait = refused.retry_after().unwrap();
                let early = wait - Duration::from_nanos(1);
                time.advance(early);
                prop_assert!(peek(cost).is_err(), "{:?} was too long", wait);
                time.advance(Duration::from_nanos(1));
                prop_assert!(peek(cost).is_ok(), "{:?} was too short", wait);
            } else {
                grants.push((time.now().as_nanos(), cost.into()));
            }
        }
        let second = 1_000_000_000;
        for (first, &(from, _)) in grants.iter().enumerate() {
            let mut sum = 0;
            for &(to, cost) in &grants[first..] {
                sum += cost;
                let length = to - from;
                let per = burst.1 * second;
                // A time is kept to within a nanosecond.
                prop_assert!(sum * per <= u64::from(burst.0) * (length + 1 + per));
                let window = sustained.1 * second;
                prop_assert!(sum <= u64::from(sustained.0) * (length.div_ceil(window) + 1));
                let window = log.1 * second;
                prop_assert!(sum <= u64::from(log.0) * (length / window + 1));
            }
        }
    }

    /// Fault 28: a key that gets a quota of its own, and loses it, while time stands
    /// still, has not more than the largest of them; neither has one whose limits
    /// change. (A change of the kind begins anew, once.)
    #[test]
    fn fault_028_no_change_of_a_quota_mints(
        first in 1..50_u32,
        changes in prop::collection::vec((any::<bool>(), 1..50_u32, 0..20_usize), 0..10),
    ) {
        let policy = |n: u32| {
            let window = Limit::new(n, secs(60)).kind(Kind::FixedWindow);
            per_second(n).also(window)
        };
        let (_, handle) = keyed(policy(first));
        let take = |most| {
            let take = |_: &usize| handle.admit_for(&by_number(), &1, 1).is_ok();
            (0..most).take_while(take).count() as u64
        };
        let mut granted = take(5);
        let mut most = first;
        for (own, permits, taken) in changes {
            let policy = policy(permits).build().unwrap();
            if own {
                handle.set_quota_for(&by_number(), &1, Some(policy)).unwrap();
            } else {
                handle.set_quota_for(&by_number(), &1, None).unwrap();
                handle.update(policy);
            }
            granted += take(taken);
            most = most.max(permits);
        }
        granted += take(100);
        prop_assert!(granted <= u64::from(most), "{granted} of {most}");
    }
}

/// Two threads of eight each on one key, and a limit for all keys: no more pass than
/// either allows, and none is lost to those who gave back.
#[test]
fn fault_048_threads_take_from_all_or_from_none() {
    let hour = Limit::new(700, secs(3_600)).kind(Kind::FixedWindow);
    let policy = per_second(1_000).burst(1_000).also(hour);
    let (_, handle) = keyed(policy.total(Limit::new(1_000, secs(3_600)).burst(1_000)));
    let granted: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let (handle, key) = (&handle, thread % 2);
                scope.spawn(move || {
                    let take = |n: &u32| {
                        let cost = 1 + n % 2;
                        let passed = handle.admit_for(&by_number(), &key, cost).is_ok();
                        passed.then_some(u64::from(cost))
                    };
                    (
                        key,
                        (0..300).collect::<Vec<_>>().iter().filter_map(take).sum(),
                    )
                })
            })
            .collect();
        let threads = threads.into_iter();
        threads.map(|thread| thread.join().unwrap()).collect()
    });
    let of = |key| -> u64 {
        granted
            .iter()
            .filter(|(k, _)| *k == key)
            .map(|(_, n)| n)
            .sum()
    };
    assert!(of(0) <= 700 && of(1) <= 700, "{granted:?}");
    // What was given back in a race can be a little less than what was taken.
    let all = of(0) + of(1) + drain(&handle, 0) + drain(&handle, 1);
    assert!((985..=1_000).contains(&all), "{all}");
}

/// The limit of all keys, and whose refusal it is.
#[test]
fn a_total_is_the_services_overload_unless_the_policy_says_otherwise() {
    for (meaning, kind) in [
        (OverTotal::Overload, RejectionKind::TotalRate),
        (OverTotal::Quota, RejectionKind::Throttled),
    ] {
        let total = Limit::new(10, secs(1)).burst(5);
        let (time, handle) = keyed(per_second(2).burst(2).total(total).over_total(meaning));
        assert_eq!([1, 2, 3, 4].map(|key| drain(&handle, key)), [2, 2, 1, 0]);
        // Its own quota is used up too: that is what the client can do something about.
        let refused = |key| handle.admit_for(&by_number(), &key, 1).unwrap_err();
        assert_eq!(refused(1).kind(), RejectionKind::Throttled);
        assert_eq!(refused(1).retry_after(), Some(ms(500)));
        // This one's is not.
        assert_eq!(refused(4).kind(), kind);
        assert_eq!(refused(4).retry_after(), Some(ms(100)));
        // Nothing was taken from the key by what the total refused.
        time.advance(secs(1));
        assert_eq!(drain(&handle, 4), 2);
    }
}

/// Every kind, alone and beside another, keeps its bound for those who wait; who waits
/// too long is refused at once, and none is forgotten.
#[test]
fn fault_048_those_who_wait_for_any_kind() {
    for kind in KINDS {
        for several in [false, true] {
            let time = ManualClock::new();
            time.advance(secs(1_000));
            let (probe, _, watch) = inner(&time);
            let mut policy = per_second(10).kind(kind).max_wait(secs(20));
            if several {
                policy = policy.also(Limit::new(15, secs(2)).kind(Kind::SlidingLog));
            }
            let layer = ThrottleLayer::with(policy.build().unwrap(), setup(&time)).waiting();
            let start = || Hand::new(layer.layer(probe.clone()).call(request("a")));
            let mut waiting: Vec<_> = (0..60).map(|_| start()).collect();
            let mut passed = HashMap::new();
            for tenth in 0..250_u64 {
                let before = watch.counts().calls;
                waiting.retain_mut(|call| match call.poll() {
                    Poll::Pending => true,
                    Poll::Ready(result) => {
                        assert!(result.is_ok(), "{kind:?}");
                        false
                    }
                });
                passed.insert(tenth, watch.counts().calls - before);
                time.advance(ms(100));
            }
            assert!(waiting.is_empty(), "{kind:?}: {} wait", waiting.len());
            for from in 0..240 {
                let sum: u64 = (from..from + 10).map(|tenth| passed[&tenth]).sum();
                assert!(sum <= 20, "{kind:?}: {sum} from {from}");
            }
            let snapshot = layer.handle().snapshot();
            assert_eq!((snapshot.admitted, snapshot.rejected), (60, 0), "{kind:?}");
            assert!(snapshot.waited >= 40, "{kind:?}: {snapshot:?}");
            assert_eq!(time.armed(), 0);
        }
    }
    // No longer than the policy says.
    let time = ManualClock::new();
    let (probe, ..) = inner(&time);
    let hour = Limit::new(1, secs(3_600)).kind(Kind::FixedWindow);
    let policy = per_second(10).also(hour).max_wait(secs(1));
    let layer = ThrottleLayer::with(policy.build().unwrap(), setup(&time)).waiting();
    let mut service = layer.layer(probe);
    assert!(
        finish_on(&time, call(&mut service, request("a")))
            .unwrap()
            .is_ok()
    );
    let refused = finish_on(&time, call(&mut service, request("a"))).unwrap();
    let wait = refused.unwrap_err().as_rejection().unwrap().retry_after();
    assert_eq!(wait, Some(secs(3_600)));
}

/// Fault 50 and 51 for keys with several limits: the cap holds, and a key that is held
/// back by any of them is not forgotten.
#[test]
fn fault_051_no_limit_is_escaped_by_a_flood() {
    for kind in KINDS {
        let slow = Limit::new(2, secs(1_000)).kind(kind);
        let (time, handle) = keyed(per_second(100).also(slow).max_keys(64));
        let hot = 0..32;
        hot.clone().for_each(|key| assert!(drain(&handle, key) > 0));
        // The first limit of all of them is as new again.
        time.advance(secs(2));
        for stranger in 1_000..11_000 {
            let _ = handle.admit_for(&by_number(), &stranger, 1);
        }
        assert!(handle.snapshot().keys <= 64);
        hot.for_each(|key| assert_eq!(drain(&handle, key), 0, "{kind:?}: {key} escaped"));
        // And once they are idle, they make room.
        time.advance(secs(10_000));
        assert!(drain(&handle, 999_999) >= 1);
        assert!(handle.snapshot().keys_evicted > 0, "{kind:?}");
    }
}
