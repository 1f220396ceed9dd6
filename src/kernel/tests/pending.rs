//! Calls under way against a list of them.

use proptest::prelude::*;

use super::sweep;
use crate::clock::Tick;
use crate::kernel::pending::{Pending, Place, width};

#[derive(Debug, Clone, Copy)]
enum Step {
    Enter,
    Leave(usize),
    Sweep,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Enter),
        3 => (0..50_usize).prop_map(Step::Leave),
        1 => Just(Step::Sweep),
        3 => (0..400_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..300)
}

proptest! {
    /// As long as somebody sweeps once in a slice, as an admission does.
    #[test]
    fn a_sweep_takes_those_of_old_slices(
        limit in 1..3_000_u64,
        stripes in 1..4_usize,
        steps in steps(),
        start in prop_oneof![Just(0), 0..u64::MAX / 2],
    ) {
        let pending = Pending::new(stripes);
        let (mut now, mut list) = (start, Vec::new());
        for (thread, step) in steps.into_iter().enumerate() {
            match step {
                Step::Enter => {
                    pending_sweep(&pending, now, limit, &mut list)?;
                    let place = pending.enter_from(thread, Tick::from_nanos(now), limit, 1);
                    prop_assert!(place.is_some(), "there is always room");
                    list.push((now, place, false));
                }
                Step::Leave(at) if !list.is_empty() => {
                    let (_, place, swept) = list.swap_remove(at % list.len());
                    prop_assert_eq!(place.map(|place| pending.leave(place)), Some(!swept));
                }
                Step::Leave(_) => {}
                Step::Sweep => pending_sweep(&pending, now, limit, &mut list)?,
                Step::Pass(by) => now += by,
            }
        }
    }
}

type Call = (u64, Option<Place>, bool);

fn pending_sweep(
    pending: &Pending,
    now: u64,
    limit: u64,
    list: &mut [Call],
) -> Result<(), TestCaseError> {
    let width = width(limit);
    let mut expected = 0;
    for (start, _, swept) in list {
        let old = (*start / width + 1) * width + limit <= now;
        expected += u64::from(old && !*swept);
        *swept |= old;
    }
    prop_assert_eq!(sweep(pending, Tick::from_nanos(now), limit), expected);
    Ok(())
}

/// A clock that goes far back, or far ahead, makes nobody old who is not.
#[test]
fn a_clock_that_goes_back_makes_nobody_old() {
    let pending = Pending::new(1);
    let at = Tick::from_nanos;
    let hour = 3_600_000_000_000;
    let place = pending.enter_from(0, at(2 * hour), 1_000_000, 1).unwrap();
    // A little: it is looked for as before.
    assert_eq!(sweep(&pending, at(2 * hour - 1_000_000), 1_000_000), 0);
    assert_eq!(sweep(&pending, at(9 * hour), 1_000_000), 1);
    assert!(!pending.leave(place));
    // Far: nobody knows how old it is, and it is in nobody's way.
    let place = pending.enter_from(0, at(3 * hour), 1_000_000, 1).unwrap();
    assert_eq!(sweep(&pending, at(hour), 1_000_000), 0);
    assert!(!pending.leave(place));
}

/// What was entered by another limit, or in another epoch, is nobody's to judge.
#[test]
fn another_limit_or_epoch_makes_nobody_old() {
    const SECOND: u64 = 1_000_000_000;
    let now = Tick::from_nanos(1_000 * SECOND);
    for (limit, epoch) in [(100 * SECOND, 1), (2 * SECOND, 1), (SECOND, 2)] {
        let pending = Pending::new(1);
        let place = pending.enter_from(0, now, limit, epoch).unwrap();
        assert_eq!(sweep(&pending, now, SECOND), 0, "{limit} {epoch}");
        let later = now.saturating_add(std::time::Duration::from_secs(500));
        assert_eq!(sweep(&pending, later, SECOND), 0, "{limit} {epoch}");
        assert!(!pending.leave(place));
    }
}

/// The calls of one epoch do not keep those of the next from their places.
#[test]
fn epochs_follow_each_other_at_once() {
    let pending = Pending::new(1);
    let start = Tick::from_nanos(1_000);
    let old = pending.enter_from(0, start, 160, 4).unwrap();
    pending.clear();
    let new = pending.enter_from(0, start, 160, 5).unwrap();
    assert!(!pending.leave(old));
    assert!(pending.leave(new));
}

/// A sweep tells whose calls it took, and how old they are.
#[test]
fn a_sweep_tells_whose_calls_it_took() {
    let (pending, limit) = (Pending::new(1), 1_600);
    let starts = [0, 5, 900, 1_000_000];
    let places = starts.map(|start| {
        let entered = pending.enter_from(0, Tick::from_nanos(start), limit, 3);
        entered.unwrap()
    });
    let mut taken = Vec::new();
    pending.sweep(Tick::from_nanos(1_001_600), limit, 3, |calls| {
        taken.push(calls);
    });
    taken.sort_by_key(|calls| std::cmp::Reverse(calls.age));
    let told: Vec<_> = taken
        .iter()
        .map(|calls| (calls.calls, calls.slice))
        .collect();
    let slices = places.map(Place::slice);
    assert_eq!(slices[0], slices[1]);
    assert_eq!(told, [(2, slices[0]), (1, slices[2])]);
    assert_eq!(taken[0].age - taken[1].age, 900 / width(limit));
    assert!(pending.leave(places[3]));
}
