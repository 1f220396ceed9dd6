//! Calls that end while somebody looks for those that are too old.

use std::sync::Arc;

use loom::thread;

use super::{model, sweep};
use crate::clock::Tick;
use crate::kernel::pending::Pending;

const LIMIT: u64 = 160;

/// Each of two calls is taken by its end or by the sweep, never by both.
#[test]
fn loom_pending_ends_vs_sweep() {
    model(2, || {
        let pending = Arc::new(Pending::new(1));
        let start = Tick::from_nanos(5);
        let places = [(); 2].map(|()| pending.enter_from(0, start, LIMIT, 1).unwrap());
        let ends = places.map(|place| {
            let pending = Arc::clone(&pending);
            thread::spawn(move || u64::from(pending.leave(place)))
        });
        let swept = sweep(&pending, Tick::from_nanos(1_000), LIMIT);
        let ended: u64 = ends.into_iter().map(|end| end.join().unwrap()).sum();
        assert_eq!(swept + ended, 2);
    });
}

/// A place that goes from an old slice to a young one.
#[test]
fn loom_pending_place_changes_hands() {
    model(2, || {
        let pending = Arc::new(Pending::new(1));
        let old = pending
            .enter_from(0, Tick::from_nanos(5), LIMIT, 1)
            .unwrap();
        let other = {
            let pending = Arc::clone(&pending);
            // The same place, two limits later.
            thread::spawn(move || pending.enter_from(0, Tick::from_nanos(325), LIMIT, 1))
        };
        let swept = sweep(&pending, Tick::from_nanos(325), LIMIT);
        let ended = u64::from(pending.leave(old));
        assert_eq!(swept + ended, 1);
        let young = other.join().unwrap();
        assert!(young.is_none_or(|young| pending.leave(young)));
    });
}
