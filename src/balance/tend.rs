//! Outliers go and return, and newcomers get their share.

use std::sync::{Arc, Weak};

use super::care;
use super::member::Member;
use super::state::State;
use crate::attempt::EndpointId;
use crate::clock::Tick;
use crate::event::EndpointChange;
use crate::kernel::sync::Ordering;

/// For so many nanoseconds no ejection is tried after one that could not be: it looks
/// at all endpoints, and where all fail there would be one for every few calls.
const FULL: u64 = 1_000_000_000;

impl State {
    /// This one has failed too often in a row.
    #[cold]
    pub(super) fn eject(&self, id: EndpointId) {
        let now = self.core.clock().now();
        let full = self.full_since.load(Ordering::Acquire);
        if full != 0 && now.as_nanos().wrapping_sub(full) < FULL {
            return;
        }
        let Some(outliers) = self.policy().rules().outliers else {
            return;
        };
        let (members, changed) = {
            let members = self.members.lock();
            let list = members.list();
            let Some(place) = list.iter().position(|member| member.id() == id) else {
                return;
            };
            let changed = care::eject(&list, place, &outliers, now);
            (list, changed)
        };
        if changed.ejected.is_empty() {
            self.full_since
                .swap(now.as_nanos().max(1), Ordering::AcqRel);
        }
        if let Some(next) = care::next_return(&members) {
            self.look_after_soon(next);
        }
        self.have_changed(&members, &changed);
    }

    /// The endpoints are to be looked after at this time, at the latest.
    pub(super) fn look_after_soon(&self, at: Tick) {
        self.care.bring_forward(at);
        if let Some(hub) = self.hub.get().and_then(Weak::upgrade) {
            hub.wake_driver();
        }
    }

    /// Looks after the endpoints, if it is time: when it will be again, if ever.
    pub(super) fn look_after(&self) -> Option<Tick> {
        let policy = self.policy();
        let rules = policy.rules();
        let now = self.core.clock().now();
        let interval = rules.outliers.map(|outliers| outliers.interval_end(now));
        let longest = interval.unwrap_or(Tick::MAX).saturating_since(now);
        if !self.care.claim(now, longest) {
            return self.next_care();
        }
        let (members, changed, growing) = {
            let mut members = self.members.lock();
            let list = members.list();
            let is_over = members.judged_at.is_none_or(|at| {
                // Further away than it is ever set, see `Due`.
                let gone_back = |end: Tick| at > end.saturating_add(longest);
                now >= at || interval.is_some_and(gone_back)
            });
            let mut changed = care::Changed::default();
            match rules.outliers {
                Some(outliers) if is_over => {
                    members.judged_at = interval;
                    changed = care::judge(&list, &outliers, now);
                }
                _ => changed.returned = care::release(&list, now),
            }
            let growing = care::ramp(&list, rules.slow_start.as_ref(), now);
            (list, changed, growing)
        };
        for at in [growing, care::next_return(&members)].into_iter().flatten() {
            self.care.bring_forward(at);
        }
        self.have_changed(&members, &changed);
        self.next_care()
    }

    fn next_care(&self) -> Option<Tick> {
        let at = self.care.at();
        (at != Tick::MAX).then_some(at)
    }

    /// Makes the set anew if anybody was ejected or has returned, and tells it.
    fn have_changed(&self, members: &[Arc<Member>], changed: &care::Changed) {
        if *changed == care::Changed::default() {
            return;
        }
        self.republish();
        let tell = |places: &[usize], change| {
            for member in places.iter().filter_map(|place| members.get(*place)) {
                self.tell_change(member.endpoint(), change);
            }
        };
        tell(&changed.returned, EndpointChange::Restored);
        tell(&changed.ejected, EndpointChange::Ejected);
    }
}
