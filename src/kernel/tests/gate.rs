//! A future that panics is not polled again.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::kernel::gate::Gate;

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("a drop that panics");
    }
}

/// Faults 9, 10 and 12: one panic comes out, the future is gone, and the process lives.
#[test]
fn fault_010_a_future_that_panics_is_not_polled_again() {
    let polls = &Cell::new(0);
    let bomb = PanicsInDrop;
    let future = poll_fn(move |_| -> Poll<Result<(), Infallible>> {
        let _bomb = &bomb;
        polls.set(polls.get() + 1);
        panic!("a future that panics");
    });
    let mut gate = pin!(Gate::open(future));
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || catch_unwind(AssertUnwindSafe(|| gate.as_mut().poll(&mut cx)));
    let panic = poll().unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"a future that panics"));
    assert!(poll().unwrap().is_pending());
    assert_eq!(format!("{gate:?}"), "Done");
    assert_eq!(polls.get(), 1);
}
