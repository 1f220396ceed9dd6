//! Several limits at once: all or nothing.
//!
//! A request first looks at all of them, and takes from none unless it fits all. Then
//! it takes from one after the other, without a lock; if another request was first at
//! a later one, it gives back what it has taken, which is never too much. Meanwhile a
//! third one can be refused for what is then given back: early, never late.

use std::sync::OnceLock;

use super::words::{PLACES, Plan, TOTAL};
use crate::clock::{Clock, Tick};
use crate::kernel::gcra::{Gcra, Quota};
use crate::kernel::meter::{Look, Measure, Meter, Taken, View};

/// Limits beside the plain bucket, in the order of their first use. One that the
/// policy no longer has stays as it is: so taking a limit out and putting it back
/// mints nothing.
#[derive(Debug, Default)]
pub(super) struct More(OnceLock<Box<Node>>);

#[derive(Debug)]
struct Node {
    at: usize,
    meter: Meter,
    next: More,
}

impl More {
    fn find(&self, at: usize, measure: &Measure) -> Option<View<'_>> {
        let mut more = self;
        while let Some(node) = more.0.get() {
            if node.at == at && node.meter.view().is_of(measure) {
                return Some(node.meter.view());
            }
            more = &node.next;
        }
        None
    }

    fn find_or_make(&self, at: usize, measure: &Measure) -> View<'_> {
        let fresh = || {
            let meter = Meter::new(measure);
            let next = Self::default();
            Box::new(Node { at, meter, next })
        };
        let mut more = self;
        loop {
            let node = more.0.get_or_init(fresh);
            if node.at == at && node.meter.view().is_of(measure) {
                return node.meter.view();
            }
            more = &node.next;
        }
    }

    /// Retires the plain bucket and all of these together, or none of them.
    #[cold]
    pub(super) fn try_retire(&self, gcra: &Gcra, quota: &Quota, plan: &Plan, now: Tick) -> bool {
        if gcra.is_retired() {
            return true;
        }
        // In the order in which they are taken from: who has come past the first finds
        // it in use.
        let mut retired = [None; PLACES];
        let all = gcra.retire(quota, now).is_some_and(|word| {
            retired[TOTAL] = Some((View::Bucket(gcra), word));
            plan.measures()
                .take_while(|(at, _)| *at < TOTAL)
                .all(|(at, measure)| {
                    // What is not there was never used.
                    let Some(view) = self.find(at, &measure) else {
                        return true;
                    };
                    retired[at] = view.retire(&measure, now).map(|word| (view, word));
                    retired[at].is_some()
                })
        });
        if !all {
            let back = retired.iter().flatten();
            back.for_each(|(view, word)| view.revive(*word));
        }
        all
    }
}

/// What was taken from each.
pub(super) type Tickets = [Option<Taken>; PLACES];

/// Why several limits do not admit a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum No {
    /// Some of them are used up: the longest wait.
    Over { wait: u64, late: Late },
    /// One of them never admits it.
    Never,
    /// Its key finds no place.
    Full,
}

/// Limits by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Late(u8);

impl Late {
    fn one(at: usize) -> Self {
        Self(1 << at)
    }

    #[cfg(feature = "http")]
    pub(super) fn has(self, at: usize) -> bool {
        self.0 & Self::one(at).0 != 0
    }

    /// Whether it is only the one of all keys.
    pub(super) fn is_total_only(self) -> bool {
        self == Self::one(TOTAL)
    }
}

/// The limits of one request.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) gcra: &'a Gcra,
    pub(super) more: &'a More,
    pub(super) total: &'a More,
    pub(super) plan: &'a Plan,
}

impl Group<'_> {
    fn view(&self, at: usize, measure: &Measure) -> View<'_> {
        match (at, measure) {
            (0, Measure::Bucket(_)) => View::Bucket(self.gcra),
            (TOTAL, _) => self.total.find_or_make(at, measure),
            _ => self.more.find_or_make(at, measure),
        }
    }

    /// `None` if it was retired: the plain bucket always is, with the others.
    pub(super) fn alive(&self) -> Option<()> {
        (!self.gcra.is_retired()).then_some(())
    }

    /// What [`ask`](Self::ask) would say, without taking; `None` if the group is dead.
    pub(super) fn look(&self, now: Tick, cost: u32) -> Option<Result<(), No>> {
        self.alive()?;
        let (mut longest, mut late) = (0, Late::default());
        for (at, measure) in self.plan.measures() {
            match self.view(at, &measure).look(&measure, now, cost) {
                Look::Free => {}
                Look::Late(wait) => {
                    longest = longest.max(wait);
                    late.0 |= Late::one(at).0;
                }
                Look::Never => return Some(Err(No::Never)),
                Look::Dead => return None,
            }
        }
        Some(match late == Late::default() {
            true => Ok(()),
            false => Err(No::Over {
                wait: longest,
                late,
            }),
        })
    }

    /// Takes `cost` from all of them, or from none; `None` if the group is dead.
    pub(super) fn ask(&self, now: Tick, cost: u32, clock: &Clock) -> Option<Result<Tickets, No>> {
        if let Err(no) = self.look(now, cost)? {
            return Some(Err(no));
        }
        let mut tickets = [None; PLACES];
        for (at, measure) in self.plan.measures() {
            let look = match self.view(at, &measure).take(&measure, now, cost) {
                Ok(taken) => {
                    tickets[at] = Some(taken);
                    continue;
                }
                Err(look) => look,
            };
            self.refund(&tickets, clock);
            return match look {
                Look::Late(wait) => Some(Err(No::Over {
                    wait,
                    late: Late::one(at),
                })),
                Look::Dead => None,
                _ => Some(Err(No::Never)),
            };
        }
        // It may have died before the first of its limits was made.
        if self.alive().is_none() {
            self.refund(&tickets, clock);
            return None;
        }
        Some(Ok(tickets))
    }

    pub(super) fn refund(&self, tickets: &Tickets, clock: &Clock) {
        for (at, measure) in self.plan.measures() {
            if let Some(taken) = &tickets[at] {
                self.view(at, &measure)
                    .refund(&measure, taken, || clock.now());
            }
        }
    }

    pub(super) fn charge(&self, now: Tick, cost: u32, debt: u32) {
        for (at, measure) in self.plan.measures() {
            self.view(at, &measure).charge(&measure, now, cost, debt);
        }
    }

    /// What may still come, and in how many nanoseconds it is as if nobody had come: of
    /// each limit.
    pub(super) fn left(&self, now: Tick) -> impl Iterator<Item = (usize, (u32, u64))> + '_ {
        let left = move |(at, measure)| (at, self.view(at, &measure).left(&measure, now));
        self.plan.measures().map(left)
    }
}
