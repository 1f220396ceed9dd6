//! Windows against lists.

use std::time::Duration;

use proptest::prelude::*;

use crate::clock::Tick;
use crate::kernel::window::{Bad, CountWindow, Counts, TimeWindow};

fn ends() -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0..5_u8, 0..400_u64), 1..200)
}

/// The end that a number stands for.
fn bad(kind: u8) -> Option<Bad> {
    (kind < 3).then_some(Bad {
        failed: kind != 1,
        slow: kind != 0,
    })
}

fn sum<'a>(ends: impl Iterator<Item = &'a Option<Bad>>) -> Counts {
    let mut counts = Counts::default();
    for end in ends {
        counts.calls += 1;
        counts.failures += u64::from(end.is_some_and(|bad| bad.failed));
        counts.slow += u64::from(end.is_some_and(|bad| bad.slow));
    }
    counts
}

proptest! {
    #[test]
    fn the_last_calls_are_counted(size in 1..40_u32, ends in ends(), other in 1..40_u32) {
        let mut window = CountWindow::new(size, 0, 0);
        let mut list = Vec::new();
        for &(kind, _) in &ends {
            match bad(kind) {
                Some(bad) => window.bad(bad),
                None => window.good(1),
            }
            list.push(bad(kind));
            prop_assert_eq!(window.counts(), sum(list.iter().rev().take(size as usize)));
        }
        // Another size knows no more than the old one.
        window.resize(other);
        let known = size.min(other) as usize;
        prop_assert_eq!(window.counts(), sum(list.iter().rev().take(known)));
        let known = list.len().min(size as usize);
        list.drain(..list.len() - known);
        for &(kind, _) in &ends {
            match bad(kind) {
                Some(bad) => window.bad(bad),
                None => window.good(1),
            }
            list.push(bad(kind));
            prop_assert_eq!(window.counts(), sum(list.iter().rev().take(other as usize)));
        }
    }

    #[test]
    fn the_last_slots_are_counted(slots in 1..12_usize, ends in ends()) {
        let width = 100;
        let span = Duration::from_nanos(width * slots as u64);
        let mut window = TimeWindow::new(span, slots, Tick::ZERO);
        let (mut list, mut now) = (Vec::new(), 0);
        for &(kind, step) in &ends {
            now += step;
            window.advance(Tick::from_nanos(now));
            window.add(bad(kind).map_or(Counts::good(1), Counts::bad));
            list.push((now / width, bad(kind)));
            let recent = list.iter().filter(|(slot, _)| slot + slots as u64 > now / width);
            prop_assert_eq!(window.counts(), sum(recent.map(|(_, end)| end)));
        }
    }
}

/// What is learnt of a call later is said of that call, while it is in the window.
#[test]
fn an_entry_is_amended_once() {
    let slow = Bad {
        failed: false,
        slow: true,
    };
    let mut window = CountWindow::new(3, 7, 0);
    window.good(1);
    window.bad(slow);
    for number in [0, 7, 8, 9, 9, 10, u64::MAX] {
        window.amend(number);
    }
    let counts = window.counts();
    assert_eq!((counts.calls, counts.failures, counts.slow), (2, 1, 1));
    window.good(2);
    assert_eq!(window.counts().failures, 1);
    window.good(1);
    assert_eq!(window.counts(), Counts::good(3));
    window.amend(9);
    assert_eq!(window.counts(), Counts::good(3));
}

/// A window that was made narrower stands at now, and not at the end of a wide slot.
#[test]
fn a_narrower_window_moves_on() {
    let mut window = TimeWindow::new(Duration::from_secs(3600), 10, Tick::ZERO);
    let second = |n| Tick::ZERO.saturating_add(Duration::from_secs(n));
    window.add(Counts::good(5));
    let (span, now) = (Duration::from_secs(10), second(1));
    window.resize(span, 10, now);
    assert_eq!(window.counts(), Counts::good(5));
    window.add_at(now, Counts::good(1));
    window.add_at(second(2), Counts::good(1));
    assert_eq!(
        window.counts(),
        Counts::good(6),
        "nothing is of a later time"
    );
    window.advance(second(10));
    assert_eq!(window.counts(), Counts::good(6));
    window.advance(second(11));
    window.add_at(now, Counts::good(1));
    assert_eq!(window.counts(), Counts::default());
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let times = [Tick::MAX, Tick::ZERO, Tick::from_nanos(1), Tick::MAX];
    for (from, span) in times.into_iter().zip([1, u64::MAX, 1 << 40, 77]) {
        let mut window = TimeWindow::new(Duration::from_nanos(span), 10, from);
        for now in times {
            window.advance(now);
            window.add(Counts::good(1));
            assert!(window.counts().calls >= 1 && window.slot_end() > Tick::ZERO);
        }
        window.resize(Duration::from_nanos(span / 2 + 1), 10, Tick::MAX);
        window.advance(Tick::MAX);
    }
}
