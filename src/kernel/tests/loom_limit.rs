use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use loom::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use super::{Wakes, model};
use crate::kernel::limit::{Ask, Full, Gone, Limit, WaitKey};

fn poll(limit: &Limit, key: WaitKey, wakes: &Arc<Wakes>) -> Poll<Result<(), Gone>> {
    let waker = Waker::from(Arc::clone(wakes));
    limit.poll_acquired(key, &mut Context::from_waker(&waker))
}

/// What is granted at once, counted outside of the limit.
#[derive(Default)]
struct Used(AtomicU32);

impl Used {
    fn enter(&self, most: u32) {
        let now = self.0.fetch_add(1, Ordering::AcqRel) + 1;
        assert!(now <= most, "{now} in flight where the limit is {most}");
    }
    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Everything is back: exactly `limit` permits can be had.
fn quiet(limit: &Limit) {
    assert_eq!((limit.in_flight(), limit.waiting()), (0, 0));
    assert_eq!(limit.try_acquire_from(0, limit.limit()), Ok(()));
    assert_eq!(limit.try_acquire_from(1, 1), Err(Full));
}

/// Two callers over two stripes, one permit.
#[test]
fn loom_limit_one_permit() {
    model(3, || {
        let state = Arc::new((Limit::with_stripes(1, 2), Used::default()));
        let call = |thread: usize| {
            let state = Arc::clone(&state);
            move || {
                let (limit, used) = &*state;
                let got = limit.try_acquire_from(thread, 1).is_ok();
                if got {
                    used.enter(1);
                    used.leave();
                    limit.release_from(thread, 1);
                }
                got
            }
        };
        let other = thread::spawn(call(1));
        let mine = call(0)();
        let other = other.join().unwrap();
        assert!(mine || other, "both were refused");
        quiet(&state.0);
    });
}

/// One permit is always free, but it moves behind the back of the search.
#[test]
fn loom_limit_second_pass() {
    model(3, || {
        let limit = Arc::new(Limit::with_stripes(2, 2));
        limit.try_acquire_from(1, 1).unwrap();
        let mover = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || {
                limit.release_from(1, 1);
                limit.try_acquire_from(0, 1).unwrap();
            })
        };
        limit.try_acquire_from(1, 1).expect("a permit is free");
        mover.join().unwrap();
        limit.release_from(0, 2);
        quiet(&limit);
    });
}

/// Fault 32: acquire, release and resize. A grant after the resize is within the new limit.
#[test]
fn loom_limit_acquire_release_resize() {
    model(2, || {
        let state = Arc::new((Limit::with_stripes(2, 2), Used::default()));
        state.0.try_acquire_from(0, 1).unwrap();
        state.1.enter(2);
        let resizer = {
            let state = Arc::clone(&state);
            thread::spawn(move || state.0.resize(1))
        };
        let caller = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                if state.0.try_acquire_from(1, 1).is_ok() {
                    state.1.enter(2);
                    state.1.leave();
                    state.0.release_from(1, 1);
                }
            })
        };
        state.1.leave();
        state.0.release_from(0, 1);
        resizer.join().unwrap();
        caller.join().unwrap();
        // The debt is paid, by whoever was last.
        quiet(&state.0);
    });
}

/// A debt: once the limit is lower nobody gets in before it is paid.
#[test]
fn loom_limit_debt() {
    model(3, || {
        let state = Arc::new((Limit::with_stripes(2, 2), Used::default()));
        state.0.try_acquire_from(0, 1).unwrap();
        state.1.enter(2);
        let caller = {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                let got = state.0.try_acquire_from(1, 1).is_ok();
                if got {
                    state.1.enter(2);
                    state.1.leave();
                    state.0.release_from(1, 1);
                }
            })
        };
        state.0.resize(1);
        // From here one alone may be in flight, and that is ours until the other has left.
        assert_eq!(state.0.try_acquire_from(0, 1), Err(Full));
        caller.join().unwrap();
        assert_eq!(state.0.try_acquire_from(1, 1), Err(Full));
        assert_eq!(state.0.in_flight(), 1);
        state.0.release_from(0, 1);
        quiet(&state.0);
    });
}

/// A limit that shrinks and grows while somebody releases.
#[test]
fn loom_limit_shrink_grow_release() {
    model(3, || {
        let limit = Arc::new(Limit::with_stripes(2, 2));
        limit.try_acquire_from(0, 2).unwrap();
        let other = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || {
                limit.release_from(1, 1);
                limit.release_from(0, 1);
            })
        };
        limit.resize(0);
        limit.resize(2);
        other.join().unwrap();
        quiet(&limit);
    });
}

/// Fault 16: a release beside the arrival of a waiter. It has its permit at the first poll, or it
/// is woken.
#[test]
fn loom_limit_wake_not_lost() {
    model(3, || {
        let limit = Arc::new(Limit::with_stripes(1, 2));
        limit.try_acquire_from(0, 1).unwrap();
        let other = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.release_from(1, 1))
        };
        let wakes = Arc::new(Wakes::default());
        let key = limit.enqueue(1, 1).unwrap();
        let at_once = poll(&limit, key, &wakes).is_ready();
        other.join().unwrap();
        assert_eq!(wakes.count(), u32::from(!at_once), "not one wake");
        assert!(at_once || poll(&limit, key, &wakes).is_ready());
        limit.release_from(0, 1);
        quiet(&limit);
    });
}

/// A waiter leaves while its permit arrives: the next one gets it.
#[test]
fn loom_limit_cancel_vs_grant() {
    model(3, || {
        let limit = Arc::new(Limit::with_stripes(1, 2));
        limit.try_acquire_from(0, 1).unwrap();
        let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
        let keys = [(); 2].map(|()| limit.enqueue(1, 2).unwrap());
        for (key, wakes) in keys.iter().zip(&wakes) {
            assert!(poll(&limit, *key, wakes).is_pending());
        }
        let other = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.release_from(1, 1))
        };
        limit.cancel(keys[0]);
        other.join().unwrap();
        assert!(wakes[0].count() <= 1);
        assert_eq!(wakes[1].count(), 1, "the permit did not go on");
        assert!(poll(&limit, keys[1], &wakes[1]).is_ready());
        limit.release_from(0, 1);
        quiet(&limit);
    });
}

/// Two releases gather for a waiter of weight two, and a third caller gets nothing before it.
#[test]
fn loom_limit_heavy_waiter() {
    model(2, || {
        let limit = Arc::new(Limit::with_stripes(2, 2));
        limit.try_acquire_from(0, 2).unwrap();
        let wakes = Arc::new(Wakes::default());
        let key = limit.enqueue(2, 1).unwrap();
        assert!(poll(&limit, key, &wakes).is_pending());
        let other = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.release_from(1, 1))
        };
        let barging = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.try_acquire_from(1, 1))
        };
        limit.release_from(0, 1);
        other.join().unwrap();
        assert_eq!(barging.join().unwrap(), Err(Full), "it did not wait");
        assert_eq!(wakes.count(), 1);
        assert!(poll(&limit, key, &wakes).is_ready());
        limit.release_from(0, 2);
        quiet(&limit);
    });
}

/// A waiter arrives beside a caller that holds what it needs for a moment.
#[test]
fn loom_limit_waiter_vs_caller() {
    model(3, || {
        let limit = Arc::new(Limit::with_stripes(1, 2));
        let caller = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || {
                if limit.try_acquire_from(1, 1).is_ok() {
                    limit.release_from(1, 1);
                }
            })
        };
        let wakes = Arc::new(Wakes::default());
        let key = limit.enqueue(1, 1).unwrap();
        let at_once = poll(&limit, key, &wakes).is_ready();
        caller.join().unwrap();
        assert_eq!(wakes.count(), u32::from(!at_once), "not one wake");
        assert!(at_once || poll(&limit, key, &wakes).is_ready());
        limit.release_from(0, 1);
        quiet(&limit);
    });
}

/// The limit is lowered below what the first of two waits for, beside a release:
/// it is served or sent away, and the second has its permit.
#[test]
fn loom_limit_lowered_below_a_waiter() {
    model(3, || {
        let limit = Arc::new(Limit::with_stripes(2, 2));
        limit.try_acquire_from(0, 2).unwrap();
        let wakes = [(); 2].map(|()| Arc::new(Wakes::default()));
        let keys = [2, 1].map(|n| limit.enqueue(n, 2).unwrap());
        for (key, wakes) in keys.iter().zip(&wakes) {
            assert!(poll(&limit, *key, wakes).is_pending());
        }
        let other = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.release_from(1, 2))
        };
        limit.resize(1);
        other.join().unwrap();
        assert_eq!(wakes[0].count(), 1, "not one wake");
        match poll(&limit, keys[0], &wakes[0]) {
            Poll::Ready(Ok(())) => limit.release_from(0, 2),
            gone => assert_eq!(gone, Poll::Ready(Err(Gone::TooHeavy))),
        }
        assert_eq!(wakes[1].count(), 1, "it was held up");
        assert_eq!(poll(&limit, keys[1], &wakes[1]), Poll::Ready(Ok(())));
        limit.release_from(0, 1);
        quiet(&limit);
    });
}

/// A request that comes first takes the place of another in a full queue, while
/// the permit comes back: one of them gets it, the other is told.
#[test]
fn loom_limit_displaced_or_served() {
    model(2, || {
        let limit = Arc::new(Limit::with_stripes(1, 2));
        limit.try_acquire_from(0, 1).unwrap();
        let of = |class| Ask {
            class,
            ..Ask::from(1)
        };
        let low = limit.enqueue(of(3), 1).unwrap();
        let high = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.enqueue(of(0), 1))
        };
        limit.release_from(0, 1);
        let high = high.join().unwrap().expect("a place");
        let wakes = Arc::default();
        let (low, first) = (poll(&limit, low, &wakes), poll(&limit, high, &wakes));
        match low {
            Poll::Ready(Ok(())) => {
                assert!(first.is_pending());
                limit.release_from(1, 1);
                assert_eq!(poll(&limit, high, &wakes), Poll::Ready(Ok(())));
            }
            gone => {
                assert_eq!(gone, Poll::Ready(Err(Gone::Shed)));
                assert_eq!(first, Poll::Ready(Ok(())));
            }
        }
        limit.release_from(0, 1);
        quiet(&limit);
    });
}
