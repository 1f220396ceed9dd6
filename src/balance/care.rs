//! What is done for the endpoints of a set now and then: outliers are ejected,
//! those whose time is over return, and those that are new get a greater share.
//! The caller holds the lock of the set.

use std::borrow::Borrow;
use std::time::Duration;

use super::member::Member;
use super::outlier::{Calls, Outliers};
use super::slow_start::SlowStart;
use crate::clock::Tick;

/// What has changed: places in the set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Changed {
    pub(super) ejected: Vec<usize>,
    pub(super) returned: Vec<usize>,
}

/// Shares grow by steps of this part of the ramp.
const STEPS: u32 = 256;

/// Ejects the member at `place`, if one more may be out. Those that are ejected but
/// whose time is over are not: they return, too.
pub(super) fn eject<M: Borrow<Member>>(
    members: &[M],
    place: usize,
    outliers: &Outliers,
    now: Tick,
) -> Changed {
    let mut changed = Changed {
        returned: release(members, now),
        ..Changed::default()
    };
    if one_more(members, place, outliers, now) {
        changed.ejected.push(place);
    }
    changed
}

/// The end of an interval: judges what the calls of everybody were like since the
/// last one.
pub(super) fn judge<M: Borrow<Member>>(members: &[M], outliers: &Outliers, now: Tick) -> Changed {
    let mut changed = Changed {
        returned: release(members, now),
        ..Changed::default()
    };
    let calls: Vec<Calls> = members
        .iter()
        .map(|member| member.borrow().interval())
        .collect();
    for place in outliers.judge(&calls) {
        if one_more(members, place, outliers, now) {
            changed.ejected.push(place);
        }
    }
    for member in members {
        let member = member.borrow();
        let is_in = member.ejected_until().is_none();
        if is_in && now >= outliers.interval_end(member.since()) {
            member.forgive();
        }
    }
    changed
}

/// Lets those return whose time is over.
pub(super) fn release<M: Borrow<Member>>(members: &[M], now: Tick) -> Vec<usize> {
    let over = |(place, member): (usize, &M)| member.borrow().release(now).then_some(place);
    members.iter().enumerate().filter_map(over).collect()
}

fn one_more<M: Borrow<Member>>(
    members: &[M],
    place: usize,
    outliers: &Outliers,
    now: Tick,
) -> bool {
    let is_out = |member: &M| member.borrow().ejected_until().is_some();
    let Some(member) = members.get(place).filter(|member| !is_out(member)) else {
        return false;
    };
    let out = members.iter().filter(|member| is_out(member)).count();
    let may = outliers.may_eject(out, members.len());
    if may {
        member.borrow().eject(now, |times| outliers.time(times));
    }
    may
}

/// Sets everybody's share by now, as a part of the greatest: where all are new, nobody
/// is. The next time it is to be done, if anybody's is still growing.
pub(super) fn ramp<M: Borrow<Member>>(
    members: &[M],
    slow_start: Option<&SlowStart>,
    now: Tick,
) -> Option<Tick> {
    let share =
        |member: &M| slow_start.map_or(1.0, |ramp| ramp.share(member.borrow().since(), now));
    let shares: Vec<f64> = members.iter().map(share).collect();
    let greatest = shares.iter().copied().fold(0.0, f64::max);
    let mut growing = false;
    for (member, share) in members.iter().zip(shares) {
        growing |= share < 1.0;
        let part = if greatest > 0.0 {
            share / greatest
        } else {
            1.0
        };
        member.borrow().set_ramp(part);
    }
    let step = slow_start.filter(|_| growing)?.window() / STEPS;
    Some(now.saturating_add(step.max(Duration::from_nanos(1))))
}

/// The first time at which somebody is to return.
pub(super) fn next_return<M: Borrow<Member>>(members: &[M]) -> Option<Tick> {
    let until = |member: &M| member.borrow().ejected_until();
    members.iter().filter_map(until).min()
}
