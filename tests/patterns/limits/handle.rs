//! Quotas of single keys, refunds and charges.

use tower::{Layer, Service};
use tower_keep::test_util::{Call, Hand, ManualClock, finish_on};
use tower_keep::throttle::{Kind, ThrottleLayer};
use tower_keep::{AsRejection, Override, RejectionKind};

use super::{KINDS, by_number, drain, keyed, per_second, setup};
use crate::support::{call, inner, ms, request, secs};

/// A quota of one key: at once, for as long as it is there, and not lost when the key
/// makes room for others.
#[test]
fn a_key_can_have_a_quota_of_its_own() {
    let (time, handle) = keyed(per_second(2).burst(2).max_keys(4));
    let own = |n: u32| Some(per_second(n).burst(n).build().unwrap());
    assert_eq!(drain(&handle, 1), 2);
    handle.set_quota_for(&by_number(), &1, own(10)).unwrap();
    // What it lacked, it lacks.
    assert_eq!(drain(&handle, 1), 0);
    time.advance(secs(1));
    assert_eq!([1, 2].map(|key| drain(&handle, key)), [10, 2]);
    time.advance(secs(10));
    // It makes room for others, and has its quota when it comes again.
    for key in 10..30 {
        assert_eq!(drain(&handle, key), 2, "{key}");
        time.advance(secs(2));
    }
    assert_eq!(drain(&handle, 1), 10);
    handle.update(per_second(3).burst(3).build().unwrap());
    time.advance(secs(10));
    assert_eq!([1, 2].map(|key| drain(&handle, key)), [10, 3]);
    handle.set_quota_for(&by_number(), &1, None).unwrap();
    time.advance(secs(10));
    assert_eq!(drain(&handle, 1), 3);
    handle.set_quota_for(&by_number(), &1, own(5)).unwrap();
    time.advance(secs(10));
    assert_eq!(drain(&handle, 1), 5);
    // A stranger to the table can have one, but not too many.
    for key in 2..5 {
        handle.set_quota_for(&by_number(), &key, own(1)).unwrap();
    }
    let refused = handle.set_quota_for(&by_number(), &6, own(1)).unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::KeysExhausted);
    // Where nobody has one, all keys go the short way again.
    (1..5).for_each(|key| handle.set_quota_for(&by_number(), &key, None).unwrap());
    time.advance(secs(10));
    assert_eq!(drain(&handle, 3), 3);
}

/// A permit that is dropped, of every kind: but for a log, it can be used again.
#[test]
fn what_was_reserved_is_given_back() {
    for kind in KINDS {
        let (time, handle) = keyed(per_second(5).kind(kind));
        let reserve = || handle.reserve_for(&by_number(), &1, 1);
        let first = reserve().unwrap();
        let left = handle.remaining_for(&by_number(), &1);
        drop(first);
        let back = if kind == Kind::SlidingLog { 0 } else { 1 };
        assert_eq!(
            handle.remaining_for(&by_number(), &1),
            left + back,
            "{kind:?}"
        );
        time.advance(secs(100));
        reserve().unwrap().spend();
        assert_eq!(handle.remaining_for(&by_number(), &1), left, "{kind:?}");
        assert_eq!(handle.snapshot().refunded, 1);
        // Too late: it counts no more.
        let late = reserve();
        time.advance(secs(100));
        drop(late);
        assert!(drain(&handle, 1) <= 5, "{kind:?}");
        handle.set_override(Override::Close);
        assert_eq!(reserve().unwrap_err().kind(), RejectionKind::Closed);
        handle.set_override(Override::Bypass);
        assert!(reserve().is_ok());
    }
}

/// What the inner service refuses unseen is given back, and nothing else.
#[test]
fn a_layer_gives_back_what_was_never_sent() {
    use tower_keep::bulkhead::{BulkheadLayer, Policy as Bulkhead};
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    let layer = ThrottleLayer::with(per_second(5).build().unwrap(), setup(&time)).refunding();
    let bulkhead = BulkheadLayer::with(Bulkhead::max_concurrent(1).unwrap(), setup(&time));
    let mut service = layer.layer(bulkhead.layer(probe));
    let handle = layer.handle();
    let permit = bulkhead.handle().admit().unwrap();
    for _ in 0..20 {
        let full = finish_on(&time, call(&mut service, request("a"))).unwrap();
        let kind = full.unwrap_err().as_rejection().unwrap().kind();
        assert_eq!(kind, RejectionKind::Full);
    }
    assert_eq!((handle.remaining(), handle.snapshot().refunded), (5, 20));
    drop(permit);
    script.then_call(Call::error(crate::support::BROKEN));
    for _ in 0..2 {
        let _ = finish_on(&time, call(&mut service, request("a")));
    }
    assert_eq!((handle.remaining(), handle.snapshot().refunded), (3, 20));
    // Once it was sent, a call that is dropped has used its permit.
    script.then_call(Call::never());
    drop(Hand::new(service.call(request("a"))));
    assert_eq!(handle.remaining(), 2);
}

/// What a call cost is known afterwards.
#[test]
fn a_charge_is_paid_by_those_who_come_later() {
    let (time, handle) = keyed(per_second(10).max_debt(20));
    let charge = |cost| handle.charge_for(&by_number(), &1, cost).unwrap();
    charge(4);
    assert_eq!(handle.remaining_for(&by_number(), &1), 6);
    charge(10);
    let refused = handle.admit_for(&by_number(), &1, 1).unwrap_err();
    assert_eq!(refused.retry_after(), Some(ms(500)));
    (0..10).for_each(|_| charge(u32::MAX));
    let refused = handle.admit_for(&by_number(), &1, 1).unwrap_err();
    assert_eq!(refused.retry_after(), Some(ms(2_100)));
    time.advance(ms(3_000));
    assert_eq!(drain(&handle, 1), 10);
    // Without debt, there is nothing below nothing.
    let (_, handle) = keyed(per_second(10));
    handle.charge_for(&by_number(), &1, 1_000).unwrap();
    let refused = handle.admit_for(&by_number(), &1, 1).unwrap_err();
    assert_eq!(refused.retry_after(), Some(ms(100)));
    handle.charge(3);
    assert_eq!(handle.remaining(), 7);
}
