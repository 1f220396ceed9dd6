use std::sync::Arc;

use loom::thread;

use super::model;
use crate::clock::Tick;
use crate::kernel::gcra::{Gcra, Quota};
use crate::kernel::log::{Log, Recent};
use crate::kernel::meter::Look;
use crate::kernel::tally::{Tally, Window};
use crate::kernel::warm::{Ramp, Warm};

const SECOND: u64 = 1_000_000_000;
const NOW: Tick = Tick::from_nanos(1000 * SECOND);

/// One thread runs `a`, the other `b`, on the same state.
fn two<T, A, B>(
    state: T,
    a: impl FnOnce(&T) -> A,
    b: impl FnOnce(&T) -> B + Send + 'static,
) -> (Arc<T>, A, B)
where
    T: Send + Sync + 'static,
    B: Send + 'static,
{
    let state = Arc::new(state);
    let theirs = Arc::clone(&state);
    let other = thread::spawn(move || b(&theirs));
    let mine = a(&state);
    (state, mine, other.join().unwrap())
}

/// Two requests, room for one and a half: one passes, and its cost is counted once.
#[test]
fn loom_tally_no_oversell() {
    for sliding in [false, true] {
        model(3, move || {
            let window = Window::new(3, SECOND, sliding, 0).unwrap();
            let take = move |tally: &Tally| tally.take(&window, NOW, 2).is_ok();
            let (tally, a, b) = two(Tally::default(), take, take);
            assert_eq!(u32::from(a) + u32::from(b), 1);
            assert_eq!(tally.left(&window, NOW).0, 1);
        });
    }
}

/// One takes while another changes the width: what was counted stays so.
#[test]
fn loom_tally_change() {
    model(3, || {
        let window = |width| Window::new(2, width, false, 0).unwrap();
        let tally = Tally::default();
        tally.take(&window(SECOND), NOW, 1).unwrap();
        let take = |tally: &Tally| u32::from(tally.take(&window(SECOND), NOW, 1).is_ok());
        let other = move |tally: &Tally| {
            (0..2)
                .filter(|_| tally.take(&window(2 * SECOND), NOW, 1).is_ok())
                .count()
        };
        let (_, a, b) = two(tally, take, other);
        assert_eq!(a as usize + b, 1);
    });
}

/// Two refunds and a request: what is given back comes back once.
#[test]
fn loom_tally_refund() {
    model(3, || {
        let window = Window::new(2, SECOND, false, 0).unwrap();
        let tally = Tally::default();
        let first = tally.take(&window, NOW, 1).unwrap();
        let second = tally.take(&window, NOW, 1).unwrap();
        let (tally, (), ()) = two(
            tally,
            |tally| tally.refund(&first),
            move |tally| tally.refund(&second),
        );
        assert_eq!(tally.left(&window, NOW), (2, 0));
    });
}

/// Requests of two slots and of one: as many slots are used as were paid for, whoever
/// fills them.
#[test]
fn loom_log_no_oversell() {
    model(3, || {
        let recent = Recent::new(4, SECOND).unwrap();
        let log = Log::new(&recent);
        // Around the ring once.
        log.take(&recent, Tick::from_nanos(SECOND), 3).unwrap();
        let take = move |cost| move |log: &Log| log.take(&recent, NOW, cost).is_ok();
        let (log, a, b) = two(log, take(3), take(2));
        assert_eq!(u32::from(a) + u32::from(b), 1);
        let used = if a { 3 } else { 2 };
        assert_eq!(log.left(&recent, NOW).0, 4 - used);
        assert_eq!(log.take(&recent, NOW, 4 - used), Ok(()));
        assert!(matches!(log.look(&recent, NOW, 1), Look::Late(_)));
    });
}

/// A log that dies takes nothing; one that has taken does not die.
#[test]
fn loom_log_retire() {
    model(3, || {
        let recent = Recent::new(1, SECOND).unwrap();
        let (_, taken, retired) = two(
            Log::new(&recent),
            |log| log.take(&recent, NOW, 1),
            move |log| log.retire(&recent, NOW),
        );
        match retired {
            Some(_) => assert_eq!(taken, Err(Look::Dead)),
            None => assert_eq!(taken, Ok(())),
        }
    });
}

/// Two requests at once: the second waits for the first.
#[test]
fn loom_warm_no_oversell() {
    model(3, || {
        let ramp = Ramp::new(10, SECOND, 1, SECOND, 0).unwrap();
        let take = move |warm: &Warm| warm.take(&ramp, NOW, 1).is_ok();
        let (warm, a, b) = two(Warm::default(), take, take);
        assert_eq!(u32::from(a) + u32::from(b), 1);
        assert_eq!(warm.left(NOW), (0, SECOND * 3 / 10 - SECOND / 50));
    });
}

/// Two are given back while a third asks: never more than the bucket had.
#[test]
fn loom_gcra_refund() {
    model(2, || {
        let nanos = std::time::Duration::from_nanos;
        let quota = Quota::new(1, nanos(10), 2, nanos(0)).unwrap();
        let gcra = Gcra::new();
        let (first, _) = gcra.take(&quota, NOW, 1).unwrap();
        let (second, _) = gcra.take(&quota, NOW, 1).unwrap();
        // The clock may go on meanwhile.
        let later = || Tick::from_nanos(NOW.as_nanos() + 10);
        let (gcra, taken, ()) = two(
            gcra,
            move |gcra| {
                gcra.refund(&quota, &first, later);
                (0..3)
                    .filter(|_| gcra.take(&quota, later(), 1).is_ok())
                    .count()
            },
            move |gcra| gcra.refund(&quota, &second, later),
        );
        let left = (0..3)
            .filter(|_| gcra.take(&quota, later(), 1).is_ok())
            .count();
        // Both were given back, so two may come; a refund may be lost, but none is
        // given twice.
        assert!((1..=2).contains(&(taken + left)), "{taken} and {left}");
    });
}
