//! The timing wheel against a sorted list, and its alarm under real threads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use super::{Random, Wakes};
use crate::clock::Tick;
use crate::kernel::wheel::{Alarm, Next, Place, Turn, Wheel};

/// A span whose size is as likely to be nanoseconds as centuries.
fn span(random: &mut Random) -> u64 {
    let bits = (u64::from(random.below(u32::MAX)) << 32) | u64::from(random.below(u32::MAX));
    bits >> random.below(64)
}

/// The wheel, and what it ought to hold.
struct Pair {
    wheel: Wheel<u32>,
    /// By time and name.
    list: BTreeSet<(u64, u32)>,
    places: Vec<(u64, u32, Place)>,
    now: u64,
    names: u32,
}

impl Pair {
    fn arm(&mut self, due: u64) {
        self.names += 1;
        let (due, now) = (Tick::from_nanos(due), Tick::from_nanos(self.now));
        let place = self.wheel.arm(due, now, self.names);
        self.list.insert((due.as_nanos(), self.names));
        self.places.push((due.as_nanos(), self.names, place));
    }

    /// Takes out one of the armed timers, if there is any.
    fn cancel(&mut self, random: &mut Random) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let nth = random.below(u32::try_from(self.places.len()).unwrap()) as usize;
        let (due, name, place) = self.places.swap_remove(nth);
        assert_eq!(self.wheel.waker(place).copied(), Some(name));
        assert_eq!(self.wheel.cancel(place), Some(name));
        assert_eq!(self.wheel.cancel(place), None, "only once");
        self.list.remove(&(due, name));
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
        for &(due, _, place) in &self.places {
            assert_eq!(self.wheel.waker(place).is_some(), due > to);
        }
        self.places.retain(|(due, ..)| *due > to);
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

/// A million steps. No strategy of steps: making and shrinking it takes longer
/// than all else, and a seed repeats a failure as well.
#[test]
fn agrees_with_a_sorted_list() {
    for seed in 0..256 {
        let mut random = Random::new(seed);
        let budget = random.below(40) as usize + 1;
        let start = span(&mut random) / 4;
        let mut pair = Pair {
            wheel: Wheel::new(),
            list: BTreeSet::new(),
            places: Vec::new(),
            now: start,
            names: 0,
        };
        // Some wheels fill up, others run empty.
        let arms = 3 + random.below(6);
        for _ in 0..4_000 {
            match random.below(arms + 8) {
                0 | 1 => pair.pass(pair.now.saturating_add(span(&mut random) >> 8), budget),
                step @ (2 | 3) => {
                    pair.pass(pair.now, budget);
                    pair.sleep_to_the_next();
                    if let Some(&(next, _)) = pair.list.first() {
                        // To the very moment of the next timer, or just before it.
                        pair.pass(next - u64::from(step & 1), budget);
                    }
                }
                4 | 5 => {
                    pair.cancel(&mut random);
                }
                6 => {
                    if pair.cancel(&mut random) {
                        pair.arm(pair.now.saturating_add(span(&mut random)));
                    }
                }
                7 => pair.arm(pair.now.saturating_sub(span(&mut random))),
                _ => pair.arm(pair.now.saturating_add(span(&mut random))),
            }
        }
        while pair.cancel(&mut random) {}
        // One chunk is kept.
        assert!(
            pair.wheel.places() <= 64,
            "{} places, seed {seed}",
            pair.wheel.places()
        );
        assert_eq!(pair.wheel.armed(), 0);
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
        // What half of them leave is taken by others.
        for name in 0..50_000_u32 {
            let which = random.below(100_000 - name) as usize;
            assert!(wheel.cancel(places.swap_remove(which)).is_some());
        }
        for name in 0..50_000_u32 {
            places.push(wheel.arm(Tick::from_nanos(u64::from(name)), Tick::ZERO, name));
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
    const EACH: u32 = 5_000;
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
                        let (place, _) = alarm.arm(thread, due, now, waker).unwrap();
                        if random.below(4) == 0 {
                            while wakes.count() == 0 {
                                // Far: a yield takes long where others want the core.
                                time.fetch_add(1_000_000, Ordering::Relaxed);
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
                if alarm.turn(now, 0) == Next::Yield {
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
    while alarm.turn(late, turns) == Next::Yield {
        let woken = wakes.count() - before;
        assert!(woken <= 64, "{woken} in one turn");
        before = wakes.count();
        turns += 1;
    }
    assert_eq!(wakes.count(), 100_000);
    assert!((1_560..3_200).contains(&turns), "{turns}");
    assert_eq!(alarm.planned(), Tick::MAX);
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
    assert_eq!(alarm.turn(due, 0), Next::Sleep);
    assert_eq!(wakes.count(), 2);
    let panics = Waker::from(Arc::new(Panics));
    alarm.arm(0, due, Tick::ZERO, panics).unwrap();
    alarm.close();
    assert_eq!(alarm.armed(), 0);
}

/// Those of one shard do not starve those of the others, however many there are.
#[test]
fn every_shard_has_its_turn() {
    let alarm = Alarm::new(4);
    let wakes = [(); 4].map(|()| Arc::new(Wakes::default()));
    let arm = |shard: u32| {
        let waker = Waker::from(Arc::clone(&wakes[shard as usize]));
        let due = Tick::from_nanos(1);
        alarm.arm(shard, due, Tick::ZERO, waker).unwrap();
    };
    for turn in 0..4 {
        (0..4).for_each(|shard| (0..200).for_each(|_| arm(shard)));
        assert_eq!(alarm.turn(Tick::from_nanos(2), turn), Next::Yield);
    }
    assert!(wakes.iter().all(|wakes| wakes.count() >= 64));
}

/// What is due does not wait until a crowd has moved down.
#[test]
fn a_crowd_that_moves_delays_nobody() {
    let mut wheel = Wheel::new();
    let tick = Tick::from_nanos;
    // All of them lie in one slot of a higher level, which begins at 64 << 19.
    for name in 0..100_000 {
        wheel.arm(tick((100 << 19) + u64::from(name)), Tick::ZERO, name);
    }
    let now = 65 << 19;
    let mut budget = 64;
    assert_eq!(
        wheel.turn(tick(now), &mut budget, |_| unreachable!()),
        Turn::More
    );
    wheel.arm(tick(now + 1), tick(now), u32::MAX);
    let mut fired = Vec::new();
    let mut budget = 64;
    wheel.turn(tick(now + 1), &mut budget, |name| fired.push(name));
    assert_eq!(fired, [u32::MAX]);
}

/// A clock that goes back makes nothing early, and what is armed then is in time by it.
#[test]
fn fault_020_a_clock_goes_back() {
    let mut wheel = Wheel::new();
    let second = |tenths: u64| Tick::from_nanos(tenths * 100_000_000);
    let turn = |wheel: &mut Wheel<u32>, now| {
        let mut fired = Vec::new();
        let turn = wheel.turn(now, &mut 64, |name| fired.push(name));
        (turn, fired)
    };
    wheel.arm(second(100), second(0), 0);
    assert_eq!(turn(&mut wheel, second(100)).1, [0]);
    wheel.arm(second(101), second(100), 1);
    // Half of the time has never been.
    assert!(turn(&mut wheel, second(50)).1.is_empty());
    wheel.arm(second(52), second(50), 2);
    let until = second(52).as_nanos();
    assert_eq!(turn(&mut wheel, second(51)), (Turn::Until(until), vec![]));
    assert_eq!(turn(&mut wheel, second(52)).1, [2]);
    assert!(turn(&mut wheel, second(100)).1.is_empty());
    assert_eq!(turn(&mut wheel, second(101)).1, [1]);
}
