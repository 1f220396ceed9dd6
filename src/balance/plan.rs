//! Who may be chosen, in which order, and how the requests are spread over the
//! levels.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::level::{Fitness, spread};
use super::member::Member;
use super::standing::Condition;
use super::state::State;
use crate::policy::Override;

/// The members of a set by their places, level by level.
pub(super) struct Plan {
    pub(super) order: Vec<usize>,
    pub(super) spans: Vec<Span>,
}

/// A level: see [`Level`](super::set::Level).
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) upto: u64,
}

/// Which level an endpoint belongs to: of weight 0 last, then by priority, and those
/// of other zones after the own one.
type Rank = (bool, u32, bool);

fn rank(member: &Member, zone: Option<&str>) -> Rank {
    let endpoint = member.endpoint();
    let is_remote = zone.is_some_and(|zone| endpoint.get_zone() != Some(zone));
    (
        endpoint.get_weight() == 0,
        endpoint.get_priority(),
        is_remote,
    )
}

#[derive(Default)]
struct Group {
    fit: Vec<usize>,
    connected: Vec<usize>,
    all: usize,
}

/// By how many percent the endpoints of a level are taken to be more than are needed:
/// Envoy's overprovisioning factor.
const OVERPROVISIONING: u32 = 140;

/// The plan for these, some of which are connected.
pub(super) fn plan(state: &State, members: &[Arc<Member>]) -> Plan {
    state.ramp(members);
    let policy = state.policy();
    let rules = policy.rules();
    let ignores_health = state.core.order() == Override::Bypass;
    let mut groups: BTreeMap<Rank, Group> = BTreeMap::new();
    for (place, member) in members.iter().enumerate() {
        let condition = member.condition();
        // Who is out by hand is out.
        if condition == Condition::Ejected && !ignores_health {
            continue;
        }
        let rank = rank(member, rules.zone.as_deref());
        let group = groups.entry(rank).or_default();
        group.all += 1;
        if condition != Condition::Connecting {
            group.connected.push(place);
            if ignores_health || condition == Condition::Usable {
                group.fit.push(place);
            }
        }
    }
    let fitness: Vec<_> = groups
        .values()
        .map(|group| Fitness {
            fit: group.fit.len(),
            all: group.all,
        })
        .collect();
    let portions = spread(&fitness, OVERPROVISIONING, rules.panic_threshold);
    let mut plan = Plan {
        order: Vec::with_capacity(members.len()),
        spans: Vec::new(),
    };
    let mut percent = 0;
    for (group, portion) in groups.values().zip(portions) {
        percent += portion.percent;
        let start = plan.order.len();
        plan.order.extend(match portion.panics {
            true => &group.connected,
            false => &group.fit,
        });
        if plan.order.len() > start {
            plan.spans.push(Span {
                start,
                end: plan.order.len(),
                upto: u64::MAX / 100 * u64::from(percent),
            });
        }
    }
    plan
}
