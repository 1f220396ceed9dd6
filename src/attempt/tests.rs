//! Scopes, and what comes back from them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::*;
use proptest::prelude::*;

const fn id(n: u32) -> EndpointId {
    EndpointId::new(n)
}

#[test]
fn scopes_are_restored_by_a_panic_and_keep_what_they_learnt() {
    let mut outer = Attempt::nth(3);
    outer.scope(|| {
        note(id(1));
        let mut inner = Attempt::first();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            inner.scope(|| {
                assert!(Attempt::current().is_some_and(|a| a.has_tried(id(1))));
                note(id(2));
                mark();
                panic!("inner")
            })
        }));
        assert!(panicked.is_err());
        assert!(inner.is_marked() && inner.has_tried(id(2)));
        let current = Attempt::current().unwrap();
        // A mark is for the tier that made the attempt; it says it again if
        // it gives up itself.
        assert!(!current.is_marked() && current.number() == 3);
    });
    assert!(outer.has_tried(id(1)) && outer.has_tried(id(2)));
    assert_eq!(Attempt::current(), None);
}

#[test]
fn without_an_attempt_nothing_is_noted() {
    note(id(4));
    mark();
    assert_eq!(Attempt::current(), None);
    let mut first = Attempt::first();
    first.scope(|| {});
    assert_eq!(first, Attempt::first());
    // A carried nothing is still nothing, and learns nothing.
    let mut nothing = carry(std::future::poll_fn(|_| {
        mark();
        Poll::Ready(Attempt::current())
    }));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert_eq!(Pin::new(&mut nothing).poll(&mut cx), Poll::Ready(None));
}

proptest! {
    /// Against a list without end.
    #[test]
    fn the_latest_endpoints_are_remembered(ids in prop::collection::vec(0_u32..12, 0..80)) {
        let mut attempt = Attempt::first();
        let mut model = Vec::new();
        for n in ids {
            attempt.note(id(n));
            if !model.contains(&id(n)) {
                model.push(id(n));
            }
            model.drain(..model.len().saturating_sub(REMEMBERED));
            let mut tried = attempt.tried().to_vec();
            tried.sort_unstable();
            let mut expected = model.clone();
            expected.sort_unstable();
            prop_assert_eq!(&tried, &expected);
            prop_assert!(attempt.has_tried(id(n)));
        }
    }
}

#[test]
fn what_a_carried_future_notes_comes_back_where_it_is_polled_in_an_attempt() {
    let mut outer = Attempt::first();
    let work = || {
        carry(std::future::poll_fn(|_| {
            note(EndpointId::new(4));
            mark();
            Poll::Ready(())
        }))
    };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut carried = outer.scope(work);
    assert!(Pin::new(&mut carried).poll(&mut cx).is_ready());
    assert!(carried.attempt().is_marked() && outer.tried().is_empty());
    outer.scope(|| {
        let _ = Pin::new(&mut work()).poll(&mut cx);
    });
    assert!(outer.has_tried(EndpointId::new(4)) && !outer.is_marked());
}
