use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::classify::{Failure, Outcome};
use crate::kernel::guard::{Guard, Settle, through};
use crate::kernel::shared::{Shared, pooled};

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(u32, Outcome)>>);

pooled!(Log);

impl Settle for Log {
    type Token = u32;
    fn settle(&self, &token: &u32, outcome: Outcome) {
        self.0.lock().unwrap().push((token, outcome));
    }
}

const PANIC: Outcome = Outcome::Failure(Failure::Panic);

fn told(test: impl FnOnce(&mut dyn FnMut(u32) -> Guard<Log>)) -> Vec<(u32, Outcome)> {
    let log = Shared::new(Log::default());
    test(&mut |token| Guard::new(&log, token));
    std::mem::take(&mut *log.0.lock().unwrap())
}

/// Fault 35: exactly once, and the first word counts.
#[test]
fn fault_035_exactly_once() {
    let finished = told(|guard| {
        let mut guard = guard(1);
        assert!(guard.state().is_some());
        guard.finish(Outcome::Success);
        assert!(guard.state().is_none());
        guard.finish(Outcome::Neutral);
    });
    assert_eq!(finished, [(1, Outcome::Success)]);
    let dropped = told(|guard| drop(guard(2)));
    assert_eq!(dropped, [(2, Outcome::Cancelled)]);
    let moved = told(|guard| {
        let guard = guard(3);
        std::thread::spawn(move || drop(guard)).join().unwrap();
    });
    assert_eq!(moved, [(3, Outcome::Cancelled)]);
}

#[test]
fn fault_035_panics() {
    let unwound = told(|guard| {
        let guard = guard(1);
        let panics = move || -> () {
            let _guard = guard;
            panic!("a service");
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    });
    assert_eq!(unwound, [(1, PANIC)]);
    // Before the panic: that is how it ended.
    let finished = told(|guard| {
        let mut guard = guard(2);
        let panics = move || -> () {
            guard.finish(Outcome::Success);
            panic!("a service");
        };
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    });
    assert_eq!(finished, [(2, Outcome::Success)]);
    // The guard outlives the panic.
    let fused = told(|guard| {
        let (mut good, mut bad) = (guard(3), guard(4));
        assert_eq!(through(&mut good, || 7), 7);
        let panics = || through(&mut bad, || panic!("a service"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        bad.finish(Outcome::Success);
        good.finish(Outcome::Success);
    });
    assert_eq!(fused, [(4, PANIC), (3, Outcome::Success)]);
}
