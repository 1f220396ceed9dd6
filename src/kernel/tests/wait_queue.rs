//! The order in which a queue serves, against a naive one.

use proptest::prelude::*;

use crate::kernel::lanes::LANES;
use crate::kernel::wait_queue::{Ask, Gone, WaitKey, WaitQueue};
use crate::queue::CLASSES;

/// A queue as one would write it down.
#[derive(Debug, Default)]
struct Model {
    /// In order of arrival.
    waiting: Vec<(WaitKey, Ask)>,
    /// The lane that was served last, of each class.
    turns: [u32; CLASSES],
    gathering: Option<(WaitKey, u32)>,
    /// Whose the lanes are, of each class.
    tenants: [Vec<u64>; CLASSES],
}

impl Model {
    fn of(&self, class: usize) -> impl DoubleEndedIterator<Item = (WaitKey, Ask)> + Clone {
        self.waiting
            .iter()
            .copied()
            .filter(move |(_, ask)| ask.class == class)
    }

    fn next(&self, owed: [bool; CLASSES], newest: bool) -> Option<WaitKey> {
        if let Some((key, _)) = self.gathering {
            return Some(key);
        }
        let waits = |class: &usize| self.of(*class).next().is_some();
        let class = (0..CLASSES)
            .find(|class| owed[*class] && waits(class))
            .or_else(|| (0..CLASSES).find(waits))?;
        // The lane that comes first after the one that was served last.
        let turn = |ask: &Ask| (ask.lane + LANES - 1 - self.turns[class]) % LANES;
        let lane = self.of(class).map(|(_, ask)| turn(&ask)).min()?;
        let mut lane = self.of(class).filter(|(_, ask)| turn(ask) == lane);
        let next = if newest {
            lane.next_back()
        } else {
            lane.next()
        };
        next.map(|(key, _)| key)
    }

    /// A lane for a tenant: the one it has, else the first that is empty.
    fn assign(&mut self, ask: &mut Ask) {
        let empty = |lane: usize| self.lane(ask.class, u32::try_from(lane).unwrap()) == 0;
        let tenants = &self.tenants[ask.class];
        let own = (0..tenants.len()).find(|lane| tenants[*lane] == ask.tenant && !empty(*lane));
        let lane = own
            .or_else(|| (0..tenants.len()).find(|lane| empty(*lane)))
            .unwrap_or(tenants.len());
        if lane == tenants.len() {
            self.tenants[ask.class].push(0);
        }
        self.tenants[ask.class][lane] = ask.tenant;
        ask.lane = u32::try_from(lane).unwrap();
    }

    /// The lane that a tenant has.
    fn own(&self, ask: &Ask) -> Option<u32> {
        let mut same = self
            .of(ask.class)
            .filter(|(_, other)| other.tenant == ask.tenant);
        same.next().map(|(_, other)| other.lane)
    }

    fn lane(&self, class: usize, lane: u32) -> usize {
        self.of(class).filter(|(_, ask)| ask.lane == lane).count()
    }

    /// The lanes of a class that are longest.
    fn longest(&self, class: usize) -> (usize, Vec<u32>) {
        let most = (0..LANES).map(|lane| self.lane(class, lane)).max();
        let most = most.unwrap_or(0);
        let longest = (0..LANES).filter(|lane| self.lane(class, *lane) == most);
        (most, longest.collect())
    }

    /// Who may make room for `ask`.
    fn victims(&self, ask: &Ask, oldest: bool) -> Vec<WaitKey> {
        let newest = |class: usize, lanes: Vec<u32>| -> Vec<WaitKey> {
            let last = |lane: &u32| self.of(class).rfind(|(_, ask)| ask.lane == *lane);
            lanes.iter().filter_map(last).map(|(key, _)| key).collect()
        };
        for class in (ask.class + 1..CLASSES).rev() {
            let (most, lanes) = self.longest(class);
            if most > 0 {
                return newest(class, lanes);
            }
        }
        let (most, lanes) = self.longest(ask.class);
        let own = self.own(ask);
        if most > own.map_or(0, |lane| self.lane(ask.class, lane)) + 1 {
            return newest(ask.class, lanes);
        }
        let mut mine = self
            .of(ask.class)
            .filter(|(_, other)| Some(other.lane) == own);
        let first = mine.next().filter(|_| oldest);
        first.map(|(key, _)| key).into_iter().collect()
    }

    fn remove(&mut self, key: WaitKey) -> Option<Ask> {
        if self
            .gathering
            .is_some_and(|(gathering, _)| gathering == key)
        {
            self.gathering = None;
        }
        let at = self.waiting.iter().position(|(other, _)| *other == key)?;
        Some(self.waiting.remove(at).1)
    }
}

fn decided(queue: &mut WaitQueue, key: WaitKey) -> Option<Result<(), Gone>> {
    let mut mine = None;
    match queue.poll(key, std::task::Waker::noop(), &mut mine) {
        Some(std::task::Poll::Ready(result)) => Some(result),
        _ => None,
    }
}

proptest! {
    #[test]
    fn a_queue_serves_as_a_naive_one_does(
        ops in prop::collection::vec(
            (0..8u32, 0..CLASSES, 0..6u64, any::<[bool; CLASSES]>(), any::<bool>(), any::<usize>()),
            1..200,
        ),
    ) {
        let mut queue = WaitQueue::default();
        let mut model = Model::default();
        for (op, class, tenant, owed, newest, some) in ops {
            let mut ask = Ask { class, tenant, ..Ask::from(2) };
            match op {
                0..4 => {
                    let key = queue.push(ask);
                    model.assign(&mut ask);
                    model.waiting.push((key, ask));
                }
                4..6 => {
                    let next = queue.next(owed, newest);
                    let wanted = model.next(owed, newest);
                    prop_assert_eq!(next.is_some(), wanted.is_some());
                    let (Some(next), Some(wanted)) = (next, wanted) else { continue };
                    if op == 4 && next.has == 0 {
                        queue.give(&next, 1);
                        model.gathering = Some((wanted, 1));
                        prop_assert_eq!(queue.gathered(), 1);
                    } else {
                        queue.grant(&next, next.ask.permits - next.has);
                        let served = model.remove(wanted).unwrap();
                        model.turns[served.class] = served.lane;
                        prop_assert_eq!(decided(&mut queue, wanted), Some(Ok(())));
                    }
                }
                6 => {
                    let victims = model.victims(&ask, newest);
                    match queue.victim(&ask, newest) {
                        None => prop_assert!(victims.is_empty()),
                        Some(victim) => {
                            let has = victim.has;
                            let left = queue.refuse(&victim, Gone::Shed);
                            prop_assert_eq!((left.permits, left.was_waiting), (has, true));
                            let gone: Vec<_> = victims
                                .into_iter()
                                .filter(|key| decided(&mut queue, *key) == Some(Err(Gone::Shed)))
                                .collect();
                            prop_assert_eq!(gone.len(), 1, "not one that should make room");
                            model.remove(gone[0]);
                        }
                    }
                }
                _ if !model.waiting.is_empty() => {
                    let (key, _) = model.waiting[some % model.waiting.len()];
                    let has = model.gathering.filter(|(gathering, _)| *gathering == key);
                    let left = queue.cancel(key);
                    prop_assert_eq!(left.permits, has.map_or(0, |(_, has)| has));
                    model.remove(key);
                    prop_assert!(!queue.cancel(key).was_waiting, "left twice");
                }
                _ => {}
            }
            prop_assert_eq!(queue.len() as usize, model.waiting.len());
        }
        // All of them are still to be found.
        while let Some(next) = queue.next([false; CLASSES], false) {
            let wanted = model.next([false; CLASSES], false).unwrap();
            queue.grant(&next, next.ask.permits - next.has);
            let served = model.remove(wanted).unwrap();
            model.turns[served.class] = served.lane;
            prop_assert_eq!(decided(&mut queue, wanted), Some(Ok(())));
        }
        prop_assert!(model.waiting.is_empty());
    }
}
