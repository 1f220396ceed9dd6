//! The lanes of a queue: for each class up to 64, that take turns. A tenant keeps
//! its lane while somebody of it waits; beyond 64 at once, tenants share.

use super::wait_queue::{Ask, NONE};
use crate::queue::CLASSES;

/// Lanes in a class, bits of a word.
pub(crate) const LANES: u32 = 64;

/// The ends of a list, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    tenant: u64,
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
}

const EMPTY: Lane = Lane {
    tenant: 0,
    head: NONE,
    tail: NONE,
    len: 0,
};

#[derive(Debug, Default)]
struct Class {
    /// As many as there have been tenants at once.
    lanes: Vec<Lane>,
    /// A bit for each lane that is not empty.
    busy: u64,
    /// The lane that was served last.
    turn: u32,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    classes: [Class; CLASSES],
    len: u32,
}

impl Class {
    /// The lane whose turn it is.
    fn next(&self) -> Option<Lane> {
        let after = self.busy & (u64::MAX << self.turn << 1);
        let bits = if after == 0 { self.busy } else { after };
        self.lanes.get(bits.trailing_zeros() as usize).copied()
    }

    /// The lane that a tenant has, or must share.
    fn find(&self, tenant: u64) -> Option<usize> {
        let has = |lane: &Lane| lane.len > 0 && lane.tenant == tenant;
        let own = self.lanes.iter().position(has);
        own.or_else(|| {
            let all = self.busy == u64::MAX;
            all.then(|| usize::try_from(tenant % u64::from(LANES)).unwrap_or(0))
        })
    }

    fn longest(&self) -> Option<Lane> {
        let lanes = self.lanes.iter().filter(|lane| lane.len > 0);
        lanes.max_by_key(|lane| lane.len).copied()
    }
}

impl Lanes {
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn lane(&self, ask: &Ask) -> Lane {
        let class = self.classes.get(ask.class);
        let lane = class.and_then(|class| class.lanes.get(ask.lane as usize));
        lane.copied().unwrap_or(EMPTY)
    }

    /// The lane that a tenant has.
    pub(super) fn of(&self, class: usize, tenant: u64) -> Lane {
        let class = self.classes.get(class);
        let place = class.and_then(|class| class.find(tenant));
        let lane = class.zip(place).map(|(class, place)| class.lanes[place]);
        lane.unwrap_or(EMPTY)
    }

    /// The lane of a tenant of whom one more comes.
    pub(super) fn assign(&mut self, class: usize, tenant: u64) -> u32 {
        let Some(class) = self.classes.get_mut(class) else {
            return 0;
        };
        let place = class.find(tenant).unwrap_or_else(|| {
            let empty = class.lanes.iter().position(|lane| lane.len == 0);
            let place = empty.unwrap_or(class.lanes.len());
            if place == class.lanes.len() {
                class.lanes.push(EMPTY);
            }
            class.lanes[place].tenant = tenant;
            place
        });
        u32::try_from(place).unwrap_or(0)
    }

    /// Changes a lane that becomes longer or shorter by one.
    pub(super) fn change(&mut self, ask: &Ask, by: i32, change: impl FnOnce(&mut Lane)) {
        let Some(class) = self.classes.get_mut(ask.class) else {
            return;
        };
        let bit = 1 << (ask.lane % LANES);
        let Some(lane) = class.lanes.get_mut(ask.lane as usize) else {
            return;
        };
        change(lane);
        lane.len = lane.len.saturating_add_signed(by);
        self.len = self.len.saturating_add_signed(by);
        match lane.len {
            0 => class.busy &= !bit,
            _ => class.busy |= bit,
        }
    }

    pub(super) fn served(&mut self, ask: &Ask) {
        if let Some(class) = self.classes.get_mut(ask.class) {
            class.turn = ask.lane % LANES;
        }
    }

    pub(super) fn next(&self, owed: [bool; CLASSES]) -> Option<Lane> {
        let first = self.classes.iter().zip(owed);
        let mut first = first.filter_map(|(class, owed)| if owed { class.next() } else { None });
        first
            .next()
            .or_else(|| self.classes.iter().find_map(Class::next))
    }

    /// The longest lane of the least important class below this one.
    pub(super) fn below(&self, class: usize) -> Option<Lane> {
        let below = self.classes.get(class + 1..).unwrap_or_default();
        below.iter().rev().find_map(Class::longest)
    }

    pub(super) fn longest(&self, class: usize) -> Option<Lane> {
        self.classes.get(class).and_then(Class::longest)
    }
}
