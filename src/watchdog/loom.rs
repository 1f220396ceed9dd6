//! The table and the kick in every interleaving.

use loom::sync::Arc;
use loom::thread;

use super::table::Table;
use super::task::{Kept, Kicker};
use crate::clock::Tick;
use crate::key::KeyId;

fn explore(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(f);
}

fn key(n: u64) -> Option<KeyId> {
    Some(KeyId::new(n))
}

/// A later call in the same place is never taken for an earlier one, and what is read of
/// a call is all its own.
#[test]
fn loom_a_look_never_takes_a_call_for_another() {
    explore(|| {
        let table = Arc::new(Table::new(1));
        let at = table.enter_from(0, key(1)).unwrap();
        let mut first = 0;
        table.look(|_, call| first = call);
        let own = Arc::clone(&table);
        let calls = thread::spawn(move || {
            own.set_stage(at, "one");
            own.leave(at);
            let next = own.enter_from(0, key(2)).unwrap();
            assert_eq!(next, at, "the first free one");
            own.set_stage(next, "two");
        });
        table.look(|at, call| {
            let details = table.details(at, call);
            let (number, stages) = match call == first {
                true => (1, ["", "one"]),
                false => (2, ["", "two"]),
            };
            if let Some(told) = details.key {
                assert_eq!(Some(told), key(number));
            }
            assert!(stages.contains(&details.stage()), "{details:?}");
        });
        calls.join().unwrap();
        // It saw the bit of the second call, or will; then its number is another.
        table.look(|at, call| {
            assert_ne!(call, first);
            assert_eq!(table.details(at, call).key, key(2));
        });
    });
}

/// No place is given to two calls, and none is lost.
#[test]
fn loom_a_place_is_given_to_one_call_at_a_time() {
    explore(|| {
        let table = Arc::new(Table::new(1));
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let first = other.enter_from(0, None);
            if let Some(first) = first {
                other.leave(first);
            }
            (first.is_some(), other.enter_from(1, None))
        });
        let mine = table.enter_from(0, None);
        let (entered, theirs) = thread.join().unwrap();
        assert!(entered, "two places for two calls");
        assert!(mine.is_some() && theirs.is_some() && mine != theirs);
        let mut shown = Vec::new();
        table.look(|at, _| shown.push(at));
        assert_eq!(shown.len(), 2);
    });
}

/// Who is given up on hears of it: by its own look, or by a later one.
#[test]
fn loom_only_the_call_that_was_shown_is_condemned() {
    explore(|| {
        let table = Arc::new(Table::new(1));
        let at = table.enter_from(0, None).unwrap();
        let mut shown = 0;
        table.look(|_, call| shown = call);
        let watch = Arc::clone(&table);
        let watchdog = thread::spawn(move || watch.condemn(at, shown));
        let mine = table.is_condemned(at);
        table.leave(at);
        let next = table.enter_from(0, None).unwrap();
        assert!(
            !table.is_condemned(next),
            "another call pays for it: {mine}"
        );
        watchdog.join().unwrap();
        assert!(!table.is_condemned(next));
    });
}

/// A kick is seen by the look that runs beside it, or by the next one.
#[test]
fn loom_no_kick_is_lost() {
    explore(|| {
        let kicker = Kicker::new("task".into(), std::time::Duration::from_nanos(1));
        let mut kept = Kept::new(std::sync::Arc::clone(&kicker.task), Tick::ZERO);
        let at = Tick::from_nanos;
        // The one it begins with.
        assert!(kept.look(at(1)).is_zero());
        let thread = thread::spawn(move || {
            kicker.kick();
            kicker
        });
        let beside = kept.look(at(2)).is_zero();
        let kicker = thread.join().unwrap();
        assert_ne!(kept.look(at(3)).is_zero(), beside);
        assert!(!kept.look(at(4)).is_zero(), "it was seen twice");
        drop(kicker);
    });
}
