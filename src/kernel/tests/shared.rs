use std::cell::RefCell;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use crate::kernel::shared::{Shared, pooled};
use crate::kernel::sync::graveyard;

/// Counts how many of it are alive, and holds on to others of its kind.
struct State {
    alive: Arc<AtomicUsize>,
    others: Mutex<Vec<Shared<State>>>,
}

pooled!(State);

impl State {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::AcqRel);
        Self {
            alive: Arc::clone(alive),
            others: Mutex::default(),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Foreign code that comes back to the pool.
        let others = std::mem::take(&mut *self.others.lock().unwrap());
        let clones = others.clone();
        drop(others);
        drop(clones);
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Each test has a thread of its own, so that its pool ends with it.
fn in_a_thread(test: impl FnOnce(&Arc<AtomicUsize>) + Send + 'static) {
    let alive = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&alive);
    std::thread::spawn(move || test(&theirs)).join().unwrap();
    // What a thread held when it ended is buried, and dropped when the next layer is made: in a
    // thread again, since that may bury what it held on to.
    for _ in 0..1_000 {
        if alive.load(Ordering::Acquire) == 0 {
            return;
        }
        std::thread::spawn(graveyard::clear).join().unwrap();
    }
    let left = alive.load(Ordering::Acquire);
    panic!("{left} states outlive their thread");
}

/// The pool keeps some handles, 16 and the first, and never more than that.
#[test]
fn references_are_bounded_and_return() {
    in_a_thread(|alive| {
        let state = Arc::new(State::new(alive));
        let shared = Shared::from_arc(Arc::clone(&state));
        for round in 1..100 {
            let clones: Vec<_> = (0..round).map(|_| shared.clone()).collect();
            // This, the handle, its clones, and what is spare.
            let count = Arc::strong_count(&state);
            assert!(count >= 2 + round && count <= 2 + round + 17, "{count}");
            assert!(clones.iter().all(|clone| Arc::ptr_eq(&clone.alive, alive)));
            drop(clones);
            assert_eq!(Arc::strong_count(&state), 2 + round.min(17));
        }
        // Without a locked instruction: a clone comes from the spares.
        let before = Arc::strong_count(&state);
        let clone = shared.clone();
        assert_eq!(Arc::strong_count(&state), before);
        assert_eq!(Arc::strong_count(&Arc::clone(clone.arc())), before + 1);
        drop((clone, shared));
        let foreign = Arc::clone(&state);
        std::thread::spawn(move || {
            let shared = Shared::from_arc(foreign);
            let clone = shared.clone();
            drop((shared, clone));
        })
        .join()
        .unwrap();
        // The other thread's spares ended with it.
        assert!(Arc::strong_count(&state) <= 1 + 17);
    });
}

/// Many more states than slots: they evict each other, and their drops come back to the pool.
#[test]
fn states_are_dropped_inside_the_pool() {
    in_a_thread(|alive| {
        for round in 0..200 {
            let mut last = Shared::new(State::new(alive));
            for _ in 0..round % 40 {
                let next = Shared::new(State::new(alive));
                next.others.lock().unwrap().push(last.clone());
                next.others.lock().unwrap().push(last);
                last = next;
            }
            drop(last.clone());
            drop(last);
        }
        // What is left are the spares of eight slots, and what those hold on to.
        let left = alive.load(Ordering::Acquire);
        assert!(left <= 8 * 40, "{left}");
    });
}

/// While the thread is torn down there may be no pool any more: clones still work.
#[test]
fn handles_work_at_the_end_of_a_thread() {
    struct Late(Shared<State>);
    impl Drop for Late {
        fn drop(&mut self) {
            let clone = self.0.clone();
            assert_eq!(clone.others.lock().unwrap().len(), 0);
            drop((clone.clone(), clone));
        }
    }
    thread_local!(static LATE: RefCell<Vec<Late>> = const { RefCell::new(Vec::new()) });
    for late_first in [true, false] {
        in_a_thread(move |alive| {
            let shared = Shared::new(State::new(alive));
            if late_first {
                LATE.with_borrow_mut(|late| {
                    late.push(Late(Shared::from_arc(Arc::clone(shared.arc()))));
                });
                let clone = shared.clone();
                drop((shared, clone));
            } else {
                drop(shared.clone());
                LATE.with_borrow_mut(|late| late.push(Late(shared.clone())));
            }
        });
    }
}

/// Handles cross threads: what one takes another puts back.
#[test]
fn handles_cross_threads() {
    in_a_thread(|alive| {
        let shared = Shared::new(State::new(alive));
        std::thread::scope(|scope| {
            let user = || {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let clones: Vec<_> = (0..3).map(|_| shared.clone()).collect();
                        let clone = clones[0].clone();
                        drop(clones);
                        assert_eq!(clone.others.lock().unwrap().len(), 0);
                    }
                })
            };
            // A join waits for the end of the thread, a scope does not.
            let users: Vec<_> = (0..4).map(|_| user()).collect();
            users.into_iter().for_each(|user| user.join().unwrap());
        });
        assert_eq!(Arc::strong_count(&Arc::clone(shared.arc())), 2);
    });
}
