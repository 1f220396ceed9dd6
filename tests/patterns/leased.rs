//! A throttle whose threads hold slices of its bucket: an operator's word counts
//! before theirs, and nothing beyond the burst is admitted at once.

use tower::{Layer, Service};
use tower_keep::test_util::{ManualClock, finish_on};
use tower_keep::throttle::{Headers, Mode, Policy, Snapshot, ThrottleLayer};
use tower_keep::{AsRejection, Override, RejectionKind, Setup, key};

use crate::support::{inner, ms, request, secs};

const BURST: u32 = 100_000;

fn policy(permits: u32) -> Policy {
    let policy = Policy::builder().rate(permits, secs(1)).burst(BURST);
    policy.mode(Mode::Leased).build().unwrap()
}

fn leased(permits: u32) -> (ManualClock, ThrottleLayer) {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = ThrottleLayer::with(policy(permits), setup);
    (time, layer)
}

/// Runs it on a thread that can hold a slice: twice as many as there are cores can, and
/// other tests have threads, too.
fn on_a_holder(test: impl Fn() + Sync) {
    let holds = || {
        let handle = leased(1).1.handle();
        // The first request gives the bucket its units.
        handle.admit(1).unwrap();
        handle.admit(1).unwrap();
        handle.snapshot().held > 0
    };
    let run = || holds().then(&test).is_some();
    while !std::thread::scope(|scope| scope.spawn(run).join().unwrap()) {
        std::thread::yield_now();
    }
}

/// As many as are admitted now.
fn drain(handle: &tower_keep::throttle::Handle) -> u32 {
    let admitted = std::iter::from_fn(|| handle.admit(1).ok());
    u32::try_from(admitted.count()).unwrap()
}

/// Four threads on one layer: never more at once than the burst, never less than half
/// of it, and the rate afterwards.
#[test]
fn threads_share_the_burst() {
    let (time, layer) = leased(1_000);
    let handle = layer.handle();
    let all = || {
        std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| drain(&handle)));
            let admitted = threads.map(|thread| thread.join().unwrap());
            admitted.iter().sum::<u32>()
        })
    };
    let at_once = all();
    assert!((BURST / 2..=BURST).contains(&at_once), "{at_once}");
    let mut sum = at_once;
    for second in 1..=20 {
        time.advance(secs(1));
        sum += all();
        assert!(sum <= BURST + second * 1_000);
    }
    // All but what a thread that is gone may hold, a slice.
    assert!(sum >= at_once + 20 * 1_000 - 4 * 64, "{sum}");
    assert_eq!(handle.snapshot().admitted, u64::from(sum));
}

/// A slice does not outlive its bucket's time: old or not, it is part of the burst.
#[test]
fn an_old_slice_is_part_of_the_burst() {
    on_a_holder(|| {
        let (time, layer) = leased(1_000);
        let handle = layer.handle();
        handle.admit(1).unwrap();
        handle.admit(1).unwrap();
        assert!(handle.snapshot().held > 0);
        // Long enough to fill the bucket many times.
        time.advance(secs(100_000));
        let at_once = drain(&handle);
        assert!((BURST / 2..=BURST).contains(&at_once), "{at_once}");
    });
}

/// Who holds a slice is refused, or let through, as the operator says, and goes on
/// with it afterwards.
#[test]
fn an_order_comes_before_a_slice() {
    on_a_holder(|| {
        let (_, layer) = leased(1);
        let handle = layer.handle();
        for _ in 0..2 {
            handle.admit(1).unwrap();
        }
        let held = handle.snapshot().held;
        assert!(held > 0);
        handle.set_override(Override::Close);
        let refused = handle.admit(1).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::Closed);
        handle.set_override(Override::Bypass);
        handle.admit(1).unwrap();
        assert_eq!(handle.snapshot().held, held);
        handle.set_override(Override::None);
        handle.admit(1).unwrap();
        assert_eq!(handle.snapshot().held, held - 1);
    });
}

/// An update is obeyed by threads that hold slices of what was before.
#[test]
fn an_update_takes_what_is_held() {
    on_a_holder(|| {
        let (_, layer) = leased(1);
        let handle = layer.handle();
        let fill = || {
            for _ in 0..2 {
                handle.admit(1).unwrap();
            }
            handle.snapshot().held
        };
        let held = fill();
        // Nothing of it has changed: nothing is lost.
        handle.update(handle.policy());
        assert_eq!(handle.snapshot().held, held);
        // Another wait is none of the bucket's business.
        let patient = handle.policy().to_builder().max_wait(ms(7));
        handle.update(patient.build().unwrap());
        assert_eq!(handle.snapshot().held, held);
        // Ten at once are too few to be held.
        let small = handle.policy().to_builder().burst(10).build().unwrap();
        handle.update(small);
        assert_eq!(handle.snapshot().held, 0);
        assert_eq!(drain(&handle), 10);
        // There and back: nothing is given for it.
        handle.update(policy(1));
        assert_eq!(drain(&handle), 0);
        handle.update(policy(2));
        assert_eq!(drain(&handle), 0);
    });
}

/// Where it would not be worth it, or not be true, a throttle stays exact.
#[test]
fn some_stay_exact() {
    let time = ManualClock::new();
    let setup = || Setup::new().with_clock(time.clock());
    let few = policy(1).to_builder().burst(20).build().unwrap();
    let few = ThrottleLayer::with(few, setup()).handle();
    assert_eq!(drain(&few), 20);
    let told = policy(1).to_builder().headers(Headers::Always);
    let told = ThrottleLayer::with(told.build().unwrap(), setup()).handle();
    assert_eq!(drain(&told), BURST);
    let by = key::value(|n: &u64| Some(*n));
    let keyed = ThrottleLayer::keyed_with(policy(1), by, setup()).handle();
    let of_key = (0..).take_while(|_| keyed.admit_for(&by, &1, 1).is_ok());
    assert_eq!(of_key.count(), usize::try_from(BURST).unwrap());
    assert_eq!(drain(&keyed), BURST);
    for handle in [few, told, keyed] {
        let Snapshot { held, rejected, .. } = handle.snapshot();
        assert_eq!(held, 0);
        assert!(rejected > 0);
    }
}

/// Costs: spent of the slice as far as it goes, and never above what the bucket holds.
#[test]
fn costs_are_spent_whole() {
    let (_, layer) = leased(1);
    let handle = layer.handle();
    let mut sum = 0;
    for cost in (0..90).cycle() {
        if handle.admit(cost).is_err() {
            break;
        }
        sum += cost;
    }
    sum += drain(&handle);
    assert_eq!(handle.snapshot().held, 0);
    let (_, other) = leased(1);
    assert_eq!(sum, drain(&other.handle()));
    assert!((BURST * 3 / 4..BURST).contains(&sum), "{sum}");
    let never = handle.admit(BURST).unwrap_err();
    assert_eq!(never.kind(), RejectionKind::CostAboveBurst);
}

/// The services: calls that a slice pays for are counted, the one that comes too early
/// is refused with the exact wait, or waits for so long.
#[test]
fn services_spend_slices() {
    let (time, layer) = leased(10);
    let handle = layer.handle();
    handle.update(policy(10).to_builder().burst(2_000).build().unwrap());
    let (probe, _, _) = inner(&time);
    let mut refusing = layer.layer(probe.clone());
    let mut waiting = layer.waiting().layer(probe);
    for _ in 0..200 {
        finish_on(&time, waiting.call(request("a")))
            .unwrap()
            .unwrap();
    }
    let mut calls = 200;
    let refused = loop {
        match finish_on(&time, refusing.call(request("a"))).unwrap() {
            Ok(_) => calls += 1,
            Err(error) => break error.as_rejection().unwrap(),
        }
    };
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.admitted, snapshot.waited), (calls, 0));
    assert_eq!(snapshot.held, 0);
    assert_eq!(refused.kind(), RejectionKind::Throttled);
    assert_eq!(refused.retry_after(), Some(ms(100)));
    let before = time.clock().now();
    finish_on(&time, waiting.call(request("a")))
        .unwrap()
        .unwrap();
    assert_eq!(time.clock().now().saturating_since(before), ms(100));
    assert_eq!(handle.snapshot().waited, 1);
}
