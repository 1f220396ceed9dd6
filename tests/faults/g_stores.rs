//! G. Stores that fail.

use bytes::Bytes;
use tower_keep::RejectionKind;
use tower_keep::deadline::Deadline;
use tower_keep::idempotency::{Policy, Unguarded};
use tower_keep::test_util::finish_on;

use crate::support::shop::{COMPLETE, RESERVE, Shop, Way, first, order, replay, said};
use crate::support::{ms, secs};

const TROUBLES: [Way; 5] = [
    Way::Fails,
    Way::Hangs,
    Way::Panics,
    Way::PanicsAtOnce,
    Way::HangsAfter,
];

#[test]
fn fault_072_a_store_that_does_not_grant() {
    for choice in [Unguarded::Refuse, Unguarded::Run] {
        for trouble in TROUBLES {
            let policy = Policy::builder().store_fails(choice).build().unwrap();
            let shop = Shop::faulty(policy);
            shop.store.go(RESERVE, trouble);
            shop.answers(200, "yes");
            let said = shop.order("k", "tea");
            let snapshot = shop.handle.snapshot();
            match choice {
                Unguarded::Run => {
                    assert_eq!(said, first(200, "yes"), "{trouble:?}");
                    assert_eq!((shop.effects(), snapshot.unguarded), (1, 1));
                }
                _ => {
                    assert_eq!(said, Err(RejectionKind::StoreFailed), "{trouble:?}");
                    assert_eq!((shop.effects(), snapshot.unguarded), (0, 0));
                }
            }
            assert_eq!(snapshot.store_failed, 1);
            shop.assert_quiet();
        }
    }
}

#[test]
fn fault_072_a_store_that_does_not_record() {
    for trouble in TROUBLES {
        let shop = Shop::faulty(Policy::default());
        shop.store.go(COMPLETE, trouble);
        shop.answers(200, "yes");
        // The effect is there: its caller gets the answer.
        assert_eq!(shop.order("k", "tea"), first(200, "yes"), "{trouble:?}");
        shop.store.go(COMPLETE, Way::Well);
        let duplicate = shop.order("k", "tea");
        if trouble == Way::HangsAfter {
            assert_eq!(duplicate, replay(200, "yes"));
        } else {
            assert_eq!(duplicate, Err(RejectionKind::InProgress), "{trouble:?}");
            shop.time.advance(secs(90));
            let later = shop.order("k", "tea");
            assert_eq!(later, Err(RejectionKind::OutcomeUnknown), "{trouble:?}");
        }
        assert_eq!(shop.effects(), 1);
        shop.assert_quiet();
    }
}

#[test]
fn fault_072_a_store_that_hangs_is_bounded_by_the_deadline() {
    for (left, took) in [(ms(100), ms(100)), (secs(5), secs(1))] {
        let shop = Shop::faulty(Policy::default());
        shop.store.go(RESERVE, Way::Hangs);
        let begun = shop.time.clock().now();
        let deadline = Deadline::after(&shop.time.clock(), left);
        let ask = deadline.wrap(async { said(shop.call(order("k", "tea")).await).await });
        let end = finish_on(&shop.time, ask);
        assert_eq!(end, Some(Err(RejectionKind::StoreFailed)));
        assert_eq!(shop.time.clock().now().saturating_since(begun), took);
    }
}

#[test]
fn fault_072_a_record_that_makes_no_sense() {
    let shop = Shop::faulty(Policy::default());
    shop.answers(200, "of another");
    shop.order("other", "tea").unwrap();
    let foreign = shop.store.seen.lock().unwrap().clone();
    let cut = |end| foreign.slice(..end);
    let lies = [
        foreign.clone(),
        cut(foreign.len() - 1),
        cut(33),
        Bytes::new(),
        Bytes::from_static(b"\x01"),
        Bytes::from(vec![1; 33]),
        Bytes::from(vec![2; 33]),
        Bytes::from(vec![0; 200]),
    ];
    for (number, nonsense) in lies.into_iter().enumerate() {
        shop.answers(200, "yes");
        let key = number.to_string();
        *shop.store.nonsense.lock().unwrap() = None;
        assert_eq!(shop.order(&key, "tea"), first(200, "yes"));
        *shop.store.nonsense.lock().unwrap() = Some(nonsense.clone());
        assert_eq!(
            shop.order(&key, "tea"),
            Err(RejectionKind::StoreFailed),
            "{nonsense:?}"
        );
    }
    assert_eq!(shop.effects(), 9);
    assert_eq!(shop.handle.snapshot().store_failed, 8);
}
