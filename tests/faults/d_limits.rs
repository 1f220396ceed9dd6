//! D. What a throttle grants, however it is asked.

use std::task::Poll;
use std::time::Duration;

use http::Request;
use proptest::prelude::*;
use tower::{Layer, Service};
use tower_keep::test_util::{Hand, ManualClock, finish_on};
use tower_keep::throttle::{self, MissingKey, ThrottleLayer, WhenFull};
use tower_keep::{AsRejection, Override, RejectionKind, Setup, key};

use crate::support::cases::{by_header, rate};
use crate::support::{call, full_scale, inner, ms, request, secs};

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// In every interval T: grants ≤ rate·T + burst; in whole numbers, over all
    /// pairs of grants.
    #[test]
    fn fault_048_never_more_than_the_rate_and_the_burst(
        permits in 1_u32..50,
        per in 1_u64..5_000_000,
        burst in 1_u32..8,
        steps in prop::collection::vec((0_u64..2_000_000, 1_u32..4), 1..120),
    ) {
        let per = Duration::from_nanos(per.max(permits.into()));
        let policy = throttle::Policy::builder().rate(permits, per).burst(burst);
        let time = ManualClock::new();
        let handle = ThrottleLayer::with(policy.build().unwrap(), setup(&time)).handle();
        let mut grants: Vec<(u64, u32)> = Vec::new();
        for (step, cost) in steps {
            time.advance(Duration::from_nanos(step));
            if handle.admit(cost).is_ok() {
                grants.push((time.now().as_nanos(), cost));
            }
        }
        for first in 0..grants.len() {
            let mut sum = 0_u128;
            for &(at, cost) in &grants[first..] {
                sum += u128::from(cost);
                let length = u128::from(at - grants[first].0);
                // sum ≤ permits · length / per + burst
                let most = u128::from(permits) * length + u128::from(burst) * per.as_nanos();
                prop_assert!(sum * per.as_nanos() <= most, "{sum} in {length} ns");
            }
        }
    }

    /// However the policy changes while time stands still: no more passes than
    /// there was.
    #[test]
    fn fault_028_updates_mint_nothing(
        first in 1_u32..100,
        taken in 0_u32..100,
        updates in prop::collection::vec((1_u32..2_000, 1_u32..200, 0_u32..20), 0..8),
        wait in 0_u64..200,
    ) {
        let policy = |permits, burst| {
            let policy = throttle::Policy::builder().rate(permits, secs(1)).burst(burst);
            policy.max_wait(ms(wait.max(1))).build().unwrap()
        };
        let time = ManualClock::new();
        let handle = ThrottleLayer::with(policy(10, first), setup(&time)).handle();
        let take = |most| (0..most).take_while(|_| handle.admit(1).is_ok()).count();
        let mut granted = take(taken);
        for &(permits, burst, taken) in &updates {
            handle.update(policy(permits, burst));
            granted += take(taken);
        }
        handle.update(policy(10, first));
        granted += take(1_000);
        prop_assert!(granted <= first as usize, "{granted} of {first}");
        if updates.iter().all(|&(_, burst, _)| burst >= first) {
            // Another rate rounds down what is there.
            prop_assert!(granted + updates.len() >= first as usize, "{granted} of {first}");
        }
        // Nor is there a debt: the next comes when one has been refilled.
        time.advance(ms(100));
        prop_assert!(handle.admit(1).is_ok());
    }

    /// The wait of a refusal is exact to the nanosecond.
    #[test]
    fn fault_048_the_hint_is_exact(
        permits in 1_u32..1_000_000,
        per in 1_u64..10_000_000_000,
        early in 0_u64..1_000_000,
        cost in 1_u32..4,
    ) {
        let per = Duration::from_nanos(per.max(permits.into()));
        let policy = throttle::Policy::builder().rate(permits, per).burst(4).build().unwrap();
        let time = ManualClock::new();
        let handle = ThrottleLayer::with(policy, setup(&time)).handle();
        time.advance(Duration::from_nanos(early));
        while handle.admit(1).is_ok() {}
        let Err(refused) = handle.admit(cost) else { return Ok(()) };
        prop_assert_eq!(refused.kind(), RejectionKind::Throttled);
        let wait = refused.retry_after().unwrap();
        time.advance(wait - Duration::from_nanos(1));
        prop_assert!(handle.admit(cost).is_err(), "{:?} was too long", wait);
        time.advance(Duration::from_nanos(1));
        prop_assert!(handle.admit(cost).is_ok(), "{:?} was too short", wait);
    }
}

#[test]
fn fault_048_those_who_wait_keep_to_the_rate() {
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let policy = rate(10).to_builder().burst(1).build().unwrap();
    let layer = ThrottleLayer::with(policy, setup(&time)).waiting();
    let mut waiting: Vec<_> = (0..20)
        .map(|_| Hand::new(layer.layer(probe.clone()).call(request("a"))))
        .collect();
    // One now; the others 100 ms apart, each when it was promised.
    for turn in 0..20 {
        waiting.retain_mut(|call| call.poll().is_pending());
        assert_eq!(watch.counts().calls, turn + 1);
        time.advance(ms(100) - Duration::from_nanos(1));
        waiting.retain_mut(|call| call.poll().is_pending());
        assert_eq!(watch.counts().calls, turn + 1);
        time.advance(Duration::from_nanos(1));
    }
    assert!(waiting.is_empty());
}

#[test]
fn fault_049_clones_and_services_share_the_quota() {
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let layer = ThrottleLayer::with(rate(50), setup(&time));
    let first = layer.layer(probe.clone());
    for i in 0..200 {
        // By turns: a clone of a service, a service of the layer or of its clone.
        let mut service = match i % 3 {
            0 => first.clone(),
            1 => layer.layer(probe.clone()),
            _ => layer.clone().layer(probe.clone()),
        };
        let _ = finish_on(&time, call(&mut service, request("a")));
    }
    assert_eq!(watch.counts().calls, 50);
    // A fresh layer isolates.
    let fresh = ThrottleLayer::with(rate(50), setup(&time));
    assert!(
        finish_on(&time, call(&mut fresh.layer(probe), request("a")))
            .unwrap()
            .is_ok()
    );
}

fn by_number() -> impl key::Key<u64> + Clone {
    key::value(|n: &u64| Some(*n))
}

#[test]
fn fault_050_a_flood_of_keys_stays_below_the_cap() {
    const HOT: u64 = 1_000;
    const CAP: u64 = 2_000;
    let time = ManualClock::new();
    let policy = rate(10)
        .to_builder()
        .max_keys(usize::try_from(CAP).unwrap())
        .build()
        .unwrap();
    let handle = ThrottleLayer::keyed_with(policy, by_number(), setup(&time)).handle();
    // Hot keys: used up, so that their state matters.
    for hot in 0..HOT {
        while handle.admit_for(&by_number(), &hot, 1).is_ok() {}
    }
    for key in HOT..HOT + full_scale(10_000_000, 100_000) {
        let _ = handle.admit_for(&by_number(), &key, 1);
        if key % 64 == 0 {
            assert!(handle.snapshot().keys <= CAP);
        }
    }
    for hot in 0..HOT {
        assert!(
            handle.admit_for(&by_number(), &hot, 1).is_err(),
            "key {hot} was forgotten"
        );
    }
    let snapshot = handle.snapshot();
    assert!(snapshot.keys_overflowed > 0, "{snapshot:?}");
    // Once they are idle, others take their places.
    time.advance(secs(10));
    assert!(handle.admit_for(&by_number(), &u64::MAX, 1).is_ok());
    assert!(handle.snapshot().keys <= CAP);
}

#[test]
fn fault_051_a_flood_is_no_way_out_of_a_penalty() {
    let time = ManualClock::new();
    for rule in [WhenFull::Share, WhenFull::Refuse] {
        let policy = rate(5)
            .to_builder()
            .max_keys(64)
            .when_full(rule)
            .build()
            .unwrap();
        let handle = ThrottleLayer::keyed_with(policy, by_number(), setup(&time)).handle();
        while handle.admit_for(&by_number(), &1, 1).is_ok() {}
        for stranger in 2..20_000 {
            let _ = handle.admit_for(&by_number(), &stranger, 1);
            if stranger % 1_000 == 0 {
                assert!(handle.admit_for(&by_number(), &1, 1).is_err());
            }
        }
        // Nor is it one for the flood: there is one bucket for all of it, or none.
        let refused = handle.admit_for(&by_number(), &77_777, 1).unwrap_err();
        let expected = match rule {
            WhenFull::Refuse => RejectionKind::KeysExhausted,
            _ => RejectionKind::Throttled,
        };
        assert_eq!(refused.kind(), expected);
    }
}

#[test]
fn fault_053_long_and_strange_keys_are_refused_before_storage() {
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let layer = ThrottleLayer::keyed_with(rate(5), by_header(), setup(&time));
    let mut service = layer.layer(probe);
    let long = "x".repeat(1 << 20);
    let strange: Vec<u8> = (0x80..=0xff).collect();
    for (value, passes) in [(long.as_bytes(), false), (&strange, true), (b"", true)] {
        let mut request = Request::new(());
        let value = http::HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().insert("x-key", value);
        let keys = layer.handle().snapshot().keys;
        match finish_on(&time, call(&mut service, request)).unwrap() {
            Ok(_) => assert!(passes),
            Err(error) => {
                assert!(!passes);
                assert_eq!(error.as_rejection().unwrap().kind(), RejectionKind::BadKey);
                assert_eq!(layer.handle().snapshot().keys, keys);
            }
        }
    }
    assert_eq!(watch.counts().calls, 2);
    // Without a key: shared, or refused.
    assert!(
        finish_on(&time, call(&mut service, Request::new(())))
            .unwrap()
            .is_ok()
    );
    let policy = rate(5)
        .to_builder()
        .missing_key(MissingKey::Refuse)
        .build()
        .unwrap();
    layer.handle().update(policy);
    let refused = finish_on(&time, call(&mut service, Request::new(()))).unwrap();
    assert_eq!(
        refused.unwrap_err().as_rejection().unwrap().kind(),
        RejectionKind::BadKey
    );
}

#[test]
fn fault_048_an_order_reaches_those_who_wait() {
    for (order, refused) in [
        (Override::Bypass, None),
        (Override::Close, Some(RejectionKind::Closed)),
    ] {
        let time = ManualClock::new();
        let (probe, _, watch) = inner(&time);
        let policy = rate(10).to_builder().burst(1).build().unwrap();
        let layer = ThrottleLayer::with(policy, setup(&time)).waiting();
        let handle = layer.handle();
        handle.admit(1).unwrap();
        let start = || Hand::new(layer.layer(probe.clone()).call(request("a")));
        let mut waiting: Vec<_> = (0..5).map(|_| start()).collect();
        // The last has not been polled when the order comes.
        let polled =
            |waiting: &mut [Hand<_>]| waiting[..4].iter_mut().all(|w| w.poll().is_pending());
        assert!(polled(&mut waiting));
        // Taken back before anybody has looked: the times stay as they were told.
        handle.set_override(order);
        handle.set_override(Override::None);
        assert!(polled(&mut waiting));
        handle.set_override(order);
        assert!(waiting[..4].iter().all(|w| w.wakes() == 2), "{order:?}");
        for call in &mut waiting {
            let Poll::Ready(result) = call.poll() else {
                panic!("it waits on under {order:?}");
            };
            let kind = result.err().map(|e| e.as_rejection().unwrap().kind());
            assert_eq!(kind, refused);
        }
        let passed = if refused.is_none() { 5 } else { 0 };
        let snapshot = handle.snapshot();
        assert_eq!(watch.counts().calls, passed);
        assert_eq!((snapshot.bypassed, snapshot.rejected), (passed, 5 - passed));
        assert_eq!(
            (snapshot.admitted, snapshot.waited, snapshot.cancelled),
            (1, 0, 0)
        );
        drop(waiting);
        assert_eq!(time.armed(), 0);
        assert_eq!(handle.snapshot(), snapshot);
    }
}

/// Keys that collide in a hash without a seed, or in its lowest or highest bits:
/// each has a bucket of its own all the same, and in every layer elsewhere.
#[test]
fn fault_052_chosen_keys_do_not_meet_in_a_bucket() {
    const KEYS: u32 = 4_096;
    let families: [fn(u64) -> u64; 4] = [
        |n| n,
        |n| n << 52,
        |n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        u64::reverse_bits,
    ];
    for family in families {
        let time = ManualClock::new();
        let policy = rate(1).to_builder().max_keys(10_000);
        let layer = ThrottleLayer::keyed_with(policy.build().unwrap(), by_number(), setup(&time));
        let handle = layer.handle();
        for n in 0..KEYS.into() {
            assert!(handle.admit_for(&by_number(), &family(n), 1).is_ok(), "{n}");
        }
        for n in 0..KEYS.into() {
            assert!(
                handle.admit_for(&by_number(), &family(n), 1).is_err(),
                "{n}"
            );
        }
        let snapshot = handle.snapshot();
        assert_eq!((snapshot.keys, snapshot.keys_overflowed), (KEYS.into(), 0));
    }
    // The seed is a layer's own: what collides in one is of no use in another.
    let shards = |space: &key::KeySpace| -> Vec<usize> {
        let id = |n: u64| format!("{:?}", space.id(&by_number(), &n).unwrap());
        let shard = |n| usize::from_str_radix(&id(n)[6..7], 16).unwrap();
        (0..KEYS.into()).map(shard).collect()
    };
    let (one, other) = (shards(&key::KeySpace::new()), shards(&key::KeySpace::new()));
    let together = (0..one.len()).filter(|&n| one[n] == one[0]);
    let mut spread = [0_usize; 16];
    together.for_each(|n| spread[other[n]] += 1);
    let (most, sum) = (spread.iter().max().unwrap(), spread.iter().sum::<usize>());
    assert!(most * 16 <= 3 * sum, "{spread:?}");
}
