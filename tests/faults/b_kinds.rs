//! B. Limits of every kind at their extremes, under clocks that jump, and changed while
//! requests come.

use std::sync::atomic::{AtomicBool, Ordering};

use tower_keep::clock::Tick;
use tower_keep::policy::LONGEST;
use tower_keep::test_util::ManualClock;
use tower_keep::throttle::{Handle, Kind, Limit, Policy, PolicyBuilder, ThrottleLayer};
use tower_keep::{Setup, key};

use crate::b_policy::{COUNTS, TIMES, names, setup, thousand_calls};
use crate::support::secs;

const KINDS: [Kind; 6] = [
    Kind::TokenBucket,
    Kind::Pacing,
    Kind::WarmUp,
    Kind::FixedWindow,
    Kind::SlidingWindow,
    Kind::SlidingLog,
];

/// A policy of one limit, and one with the same limit beside it and over all keys.
fn policies(kind: Kind) -> impl Iterator<Item = PolicyBuilder> {
    let permits = COUNTS.into_iter().flatten().chain([7]);
    let all = permits.flat_map(|permits| {
        let times = TIMES.into_iter().flatten().chain([secs(1)]);
        times.map(move |per| (permits, per))
    });
    let all = all.flat_map(|of| COUNTS.map(|burst| (of, burst)));
    let all = all.flat_map(|of| TIMES.map(|warm_up| (of, warm_up)));
    all.flat_map(move |(((permits, per), burst), warm_up)| {
        let mut policy = Policy::builder().rate(permits, per).kind(kind);
        let mut limit = Limit::new(permits, per).kind(kind);
        if let Some(burst) = burst {
            (policy, limit) = (policy.burst(burst), limit.burst(burst));
        }
        if let Some(warm_up) = warm_up {
            (policy, limit) = (policy.warm_up(warm_up), limit.warm_up(warm_up));
        }
        [policy, policy.also(limit).total(limit).max_debt(u32::MAX)]
    })
}

#[test]
fn fault_024_extremes_of_every_kind() {
    let by = || key::value(|_: &http::Request<()>| Some(1));
    let fields = [
        "rate", "burst", "kind", "warm_up", "also", "total", "max_debt",
    ];
    for kind in KINDS {
        let (mut built, mut tried) = (0_u32, 0);
        for policy in policies(kind) {
            let policy = match policy.build() {
                Err(error) => {
                    names(&error, &fields);
                    continue;
                }
                Ok(policy) => policy,
            };
            built += 1;
            assert_eq!(policy.to_builder().build(), Ok(policy));
            // They are tried in turn: all of them take minutes.
            if built % 3 != 1 {
                continue;
            }
            tried += 1;
            let time = ManualClock::new();
            let layer = ThrottleLayer::keyed_with(policy, by(), setup(&time));
            thousand_calls(&time, &layer);
            let handle = layer.handle();
            let request = http::Request::new(());
            for cost in [0, 1, u32::MAX] {
                let _ = handle.admit_for(&by(), &request, cost);
                drop(handle.reserve_for(&by(), &request, cost));
                let _ = handle.charge_for(&by(), &request, cost);
                let _ = handle.peek_for(&by(), &request, cost);
            }
            let _ = handle.set_quota_for(&by(), &request, Some(policy));
            let _ = handle.admit_for(&by(), &request, 1);
            handle.update(Policy::per_second(1).unwrap());
            let _ = handle.admit_for(&by(), &request, 1);
            handle.update(policy);
            assert_eq!(handle.policy(), policy);
        }
        assert!(tried >= 5, "{kind:?}: {tried} of {built}");
    }
}

fn admitted(handle: &Handle) -> u64 {
    let admit = |_: &u32| handle.admit(1).is_ok();
    (0..100).take_while(admit).count() as u64
}

/// Fault 38: a clock that goes back does not shut a limit for as long as it was wrong, and
/// one that goes to its end and stays there does not open it.
#[test]
fn fault_038_clocks_jump_under_every_kind() {
    for kind in KINDS {
        for several in [false, true] {
            let mut policy = Policy::builder().rate(10, secs(1)).kind(kind);
            if several {
                policy = policy.also(Limit::new(10, secs(10)).kind(kind));
            }
            let time = ManualClock::starting_at(Tick::from_nanos(1_000_000_000_000));
            let policy = policy.build().unwrap();
            let handle =
                ThrottleLayer::with(policy, Setup::new().with_clock(time.clock())).handle();
            assert!(admitted(&handle) >= 1, "{kind:?}");
            // It was a year ahead for a moment.
            let right = time.now();
            time.advance(secs(365 * 86_400));
            assert!(admitted(&handle) >= 1, "{kind:?}");
            time.set(right);
            let mut after = 0;
            for _ in 0..600 {
                after += admitted(&handle);
                time.advance(secs(1));
            }
            assert!(after >= 1, "{kind:?}, several: {several}");
            // The end of time.
            time.advance(LONGEST);
            time.set(Tick::from_nanos(u64::MAX));
            let mut end = 0;
            for _ in 0..5 {
                end += admitted(&handle);
            }
            // A log forgets there: nothing in it can lie ahead.
            let forgets = kind == Kind::SlidingLog;
            assert!(forgets || end <= 20, "{kind:?}, several: {several}: {end}");
        }
    }
}

/// Updates race with requests of several limits, while time stands still: no more pass than
/// the largest of them allows.
#[test]
fn fault_048_updates_of_several_limits_mint_nothing() {
    let policy = |burst: u32, most: u32, kind| {
        let beside = Limit::new(most, secs(3_600)).kind(kind);
        let policy = Policy::builder().rate(1_000, secs(1)).burst(burst);
        policy.also(beside).build().unwrap()
    };
    let by = || key::value(|n: &u64| Some(*n));
    for kind in [
        Kind::FixedWindow,
        Kind::SlidingWindow,
        Kind::SlidingLog,
        Kind::TokenBucket,
    ] {
        let (usual, other) = (policy(40, 20, kind), policy(10, 15, kind));
        let plain = Policy::builder()
            .rate(1_000, secs(1))
            .burst(20)
            .build()
            .unwrap();
        let time = ManualClock::new();
        time.advance(secs(1_000));
        let setup = Setup::new().with_clock(time.clock());
        let handle = ThrottleLayer::keyed_with(usual, by(), setup).handle();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (handle, done) = (&handle, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        let _ = handle.admit_for(&by(), &1, 1);
                        if thread == 0 {
                            drop(handle.reserve_for(&by(), &1, 1));
                            let _ = handle.peek_for(&by(), &1, 1);
                        }
                    }
                });
            }
            for turn in 0..6_000 {
                handle.update([other, usual, plain][turn % 3]);
                let own = (turn % 2 == 0).then_some(other);
                handle.set_quota_for(&by(), &2, own).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let snapshot = handle.snapshot();
        // What was given back was admitted before.
        let admitted = snapshot.admitted - snapshot.refunded;
        // Twenty by the limits; while there is none beside it, by the plain bucket.
        assert!(admitted <= 40, "{kind:?}: {snapshot:?}");
        assert!(snapshot.admitted >= 10, "{kind:?}: {snapshot:?}");
    }
}
