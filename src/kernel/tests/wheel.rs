//! The timing wheel against a sorted list, and its alarm under real threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use proptest::prelude::*;

use super::{Random, Wakes};
use crate::clock::Tick;
use crate::kernel::wheel::{Alarm, Next, Place, Turn, Wheel};

/// What can happen to a wheel. Spans have their size as an exponent, so that
/// nanoseconds are as likely as centuries.
#[derive(Debug, Clone)]
enum Step {
    Arm {
        span: u64,
        past: bool,
    },
    Cancel(prop::sample::Index),
    Rearm(prop::sample::Index, u64),
    Pass(u64),
    /// To the very moment of the next timer, or one nanosecond before.
    ToNext {
        before: bool,
    },
}

fn span() -> impl Strategy<Value = u64> {
    (0..=63_u32, any::<u64>()).prop_map(|(size, bits)| bits >> size)
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (span(), prop::bool::weighted(0.1)).prop_map(|(span, past)| Step::Arm { span, past }),
        3 => index().prop_map(Step::Cancel),
        2 => (index(), span()).prop_map(|(which, span)| Step::Rearm(which, span)),
        2 => span().prop_map(|span| Step::Pass(span >> 8)),
        2 => any::<bool>().prop_map(|before| Step::ToNext { before }),
    ]
}

/// The wheel, and what it ought to hold.
struct Pair {
    wheel: Wheel<u32>,
    /// By time and name.
    list: BTreeSet<(u64, u32)>,
    places: BTreeMap<u32, (u64, Place)>,
    now: u64,
    names: u32,
}

impl Pair {
    fn arm(&mut self, due: u64) {
        self.names += 1;
        let (due, now) = (Tick::from_nanos(due), Tick::from_nanos(self.now));
        let place = self.wheel.arm(due, now, self.names);
        self.list.insert((due.as_nanos(), self.names));
        self.places.insert(self.names, (due.as_nanos(), place));
    }

    /// `which` picks one of the armed timers.
    fn cancel(&mut self, which: impl FnOnce(usize) -> usize) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let nth = which(self.places.len());
        let (&name, &(due, place)) = self.places.iter().nth(nth).unwrap();
        assert_eq!(self.wheel.waker(place).copied(), Some(name));
        assert_eq!(self.wheel.cancel(place), Some(name));
        assert_eq!(self.wheel.cancel(place), None, "only once");
        self.list.remove(&(due, name));
        self.places.remove(&name);
        true
    }

    /// All that is due fires, and nothing else.
    fn pass(&mut self, to: u64, budget: usize) {
        self.now = to;
        let mut fired = BTreeSet::new();
        let until = loop {
            let mut left = budget;
            let turn = self.wheel.turn(Tick::from_nanos(to), &mut left, |name| {
                assert!(fired.insert(name), "{name} fired twice");
            });
            match turn {
                Turn::More => assert_eq!(left, 0),
                Turn::Until(until) => break until,
            }
        };
        let later = self.list.split_off(&(to, u32::MAX));
        let due: BTreeSet<u32> = self.list.iter().map(|(_, name)| *name).collect();
        self.list = later;
        assert_eq!(fired, due, "at {to}");
        for name in due {
            let (_, place) = self.places.remove(&name).unwrap();
            assert_eq!(self.wheel.waker(place), None);
        }
        let next = self.list.first().map_or(u64::MAX, |(due, _)| *due);
        assert!(until > to || until == u64::MAX, "{until} after {to}");
        assert!(until <= next, "nobody would look before {until}: {next}");
        assert_eq!(self.wheel.armed(), self.list.len());
    }

    /// Who sleeps as long as the wheel says is there in time, after a look for
    /// each level at most.
    fn sleep_to_the_next(&mut self) {
        let Some(&(next, _)) = self.list.first() else {
            return;
        };
        for _ in 0..=16 {
            let mut budget = usize::MAX;
            let now = Tick::from_nanos(self.now);
            let turn = self
                .wheel
                .turn(now, &mut budget, |_| unreachable!("not due"));
            match turn {
                Turn::Until(until) if until == next => return,
                Turn::Until(until) => self.now = until,
                Turn::More => unreachable!("the budget is endless"),
            }
        }
        panic!("{next} is not found");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn agrees_with_a_sorted_list(
        steps in prop::collection::vec(step(), 1..512),
        budget in 1..40_usize,
        start in span(),
    ) {
        let mut pair = Pair {
            wheel: Wheel::new(),
            list: BTreeSet::new(),
            places: BTreeMap::new(),
            now: start / 4,
            names: 0,
        };
        for step in steps {
            match step {
                Step::Arm { span, past: false } => pair.arm(pair.now.saturating_add(span)),
                Step::Arm { span, past: true } => pair.arm(pair.now.saturating_sub(span)),
                Step::Cancel(which) => {
                    pair.cancel(|len| which.index(len));
                }
                Step::Rearm(which, span) => {
                    if pair.cancel(|len| which.index(len)) {
                        pair.arm(pair.now.saturating_add(span));
                    }
                }
                Step::Pass(span) => pair.pass(pair.now.saturating_add(span), budget),
                Step::ToNext { before } => {
                    pair.pass(pair.now, budget);
                    pair.sleep_to_the_next();
                    if let Some(&(next, _)) = pair.list.first() {
                        pair.pass(if before { next - 1 } else { next }, budget);
                    }
                }
            }
        }
        while !pair.places.is_empty() {
            pair.cancel(|_| 0);
        }
        // One chunk is kept.
        prop_assert!(pair.wheel.places() <= 64, "{} places", pair.wheel.places());
        prop_assert_eq!(pair.wheel.armed(), 0);
    }
}

/// Memory follows what is armed, up and down.
#[test]
fn memory_is_given_back() {
    let mut wheel = Wheel::new();
    let mut random = Random::new(7);
    let mut places = Vec::new();
    for round in 0..3 {
        for name in 0..100_000_u32 {
            let due = Tick::from_nanos(u64::from(random.below(u32::MAX)) << 8);
            places.push(wheel.arm(due, Tick::ZERO, name));
        }
        assert!(wheel.places() < 100_000 + 128, "{}", wheel.places());
        // In no order.
        while let Some(last) = places.len().checked_sub(1) {
            let which = random.below(u32::try_from(last).unwrap() + 1) as usize;
            assert!(wheel.cancel(places.swap_remove(which)).is_some());
        }
        assert!(wheel.places() <= 64, "round {round}: {}", wheel.places());
    }
}

/// Threads arm, wait or cancel, while a driver fires; everybody who waits is
/// woken, and nothing stays behind.
#[test]
fn threads_arm_and_cancel() {
    const EACH: u32 = 20_000;
    let alarm = Arc::new(Alarm::new(2));
    let time = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let arming: Vec<_> = (0..3_u32)
            .map(|thread| {
                let (alarm, time) = (&alarm, &time);
                scope.spawn(move || {
                    let mut random = Random::new(thread as usize);
                    for _ in 0..EACH {
                        let wakes = Arc::new(Wakes::default());
                        let waker = Waker::from(Arc::clone(&wakes));
                        let now = time.load(Ordering::Relaxed);
                        let due = now + u64::from(random.below(4_000_000));
                        let (due, now) = (Tick::from_nanos(due), Tick::from_nanos(now));
                        let place = alarm.arm(thread, due, now, waker).unwrap();
                        if random.below(4) == 0 {
                            while wakes.count() == 0 {
                                time.fetch_add(10_000, Ordering::Relaxed);
                                std::thread::yield_now();
                            }
                        }
                        // From another shard's point of view as well.
                        alarm.cancel(thread, place);
                        assert_eq!(Arc::strong_count(&wakes), 1, "a waker is kept");
                        assert!(wakes.count() <= 1);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let now = Tick::from_nanos(time.load(Ordering::Relaxed));
                if alarm.turn(now, Waker::noop()) == Next::Yield {
                    continue;
                }
                std::thread::yield_now();
            }
        });
        for thread in arming {
            thread.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(alarm.armed(), 0);
}

/// A storm is fired in turns, and nobody is forgotten.
#[test]
fn a_storm_takes_many_turns() {
    let alarm = Alarm::new(4);
    let wakes = Arc::new(Wakes::default());
    for timer in 0..100_000_u32 {
        let due = Tick::from_nanos(u64::from(timer % 7) * 100_000);
        let waker = Waker::from(Arc::clone(&wakes));
        alarm.arm(timer, due, Tick::ZERO, waker).unwrap();
    }
    let late = Tick::from_nanos(1_000_000_000);
    let mut turns = 1;
    let mut before = 0;
    while alarm.turn(late, Waker::noop()) == Next::Yield {
        let woken = wakes.count() - before;
        assert!(woken <= 256, "{woken} in one turn");
        before = wakes.count();
        turns += 1;
    }
    assert_eq!(wakes.count(), 100_000);
    assert!((390..800).contains(&turns), "{turns}");
    assert_eq!(alarm.turn(late, Waker::noop()), Next::Never);
}

/// A waker that panics costs nobody else the wake.
#[test]
fn fault_010_a_waker_panics() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    let alarm = Alarm::new(1);
    let wakes = Arc::new(Wakes::default());
    let due = Tick::from_nanos(5);
    for panics in [true, false, true, false] {
        let waker = if panics {
            Waker::from(Arc::new(Panics))
        } else {
            Waker::from(Arc::clone(&wakes))
        };
        alarm.arm(0, due, Tick::ZERO, waker).unwrap();
    }
    assert_eq!(alarm.turn(due, Waker::noop()), Next::Never);
    assert_eq!(wakes.count(), 2);
    let panics = Waker::from(Arc::new(Panics));
    alarm.arm(0, due, Tick::ZERO, panics).unwrap();
    alarm.close();
    assert_eq!(alarm.armed(), 0);
}
