//! A throttle of more than the plain bucket.

use std::sync::Arc;
use std::time::Duration;

use super::buckets::Bucket;
use super::limit::OverTotal;
use super::pass::{Pass, Reserved};
use super::policy::{Headers, Policy, WhenFull};
use super::several::{Group, Late, No, Tickets};
use super::state::{ADMITTED, BYPASSED, Draw, State};
use super::words::{LENGTH, Plan, Rules, Way, pack};
use crate::clock::Tick;
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::keyed::Overflow;
use crate::kernel::live::Live;
use crate::kernel::shared::Shared;
use crate::key::KeyId;
use crate::policy::Override;

impl State {
    /// Runs `f` on the limits of a request, until it does not find them dead.
    fn with_group<R>(
        &self,
        draw: Draw,
        now: Tick,
        mut f: impl FnMut(&Group<'_>) -> Option<R>,
    ) -> Result<R, Overflow> {
        let all = Plan::of(&self.live);
        if let (Draw::Key(key), Some(buckets)) = (draw, &self.keyed) {
            buckets.go_over();
            let fresh = || buckets.fresh(key, &self.live);
            let group = |bucket: &Bucket| bucket.with_group(&all, &self.total, &mut f);
            return buckets.map.with(key, now, fresh, group);
        }
        // It never dies.
        f(&Group {
            gcra: &self.common,
            more: &self.common_more,
            total: &self.total,
            plan: &all,
        })
        .ok_or(Overflow)
    }

    /// As [`with_group`](Self::with_group), and for a key that finds no place on those
    /// that all of them share, if they may.
    fn with_any_group<R>(
        &self,
        draw: Draw,
        now: Tick,
        mut f: impl FnMut(&Group<'_>) -> Option<R>,
    ) -> Result<R, Overflow> {
        let found = self.with_group(draw, now, &mut f);
        match (found, &self.keyed) {
            (Err(Overflow), Some(buckets))
                if Rules::of(&self.live).when_full() == WhenFull::Share =>
            {
                f(&Group {
                    gcra: &buckets.overflow,
                    more: &buckets.overflow_more,
                    total: &self.total,
                    plan: &Plan::of(&self.live),
                })
                .ok_or(Overflow)
            }
            (found, _) => found,
        }
    }

    /// Takes `cost` from all limits, or from none: then why.
    pub(super) fn ask_all(&self, draw: Draw, cost: u32, now: Tick) -> Result<Tickets, No> {
        let clock = self.core.clock();
        let asked = self.with_any_group(draw, now, |group| {
            let asked = group.ask(now, cost, clock)?;
            self.tell_quotas(group, asked.as_ref().err(), now);
            Some(asked)
        });
        asked.unwrap_or(Err(No::Full))
    }

    /// What [`ask_all`](Self::ask_all) would say; it counts and tells nothing.
    pub(super) fn look_all(&self, draw: Draw, cost: u32, now: Tick) -> Result<(), Rejection> {
        let looked = self.observe(draw, |group| group.look(now, cost));
        let looked = looked.unwrap_or(Err(No::Full));
        looked.map_err(|no| self.refusal(no))
    }

    /// Runs `f` on the limits of a request. A key that has none gets none.
    fn observe<R>(&self, draw: Draw, f: impl Fn(&Group<'_>) -> Option<R>) -> Option<R> {
        let (Draw::Key(key), Some(buckets)) = (draw, &self.keyed) else {
            return self.with_group(draw, Tick::from_nanos(0), f).ok();
        };
        let all = Plan::of(&self.live);
        let group = |bucket: &Bucket| bucket.with_group(&all, &self.total, &f);
        let look = || buckets.map.get(key, group).flatten();
        look().or_else(|| {
            let alike = buckets.likeness(key, &self.live);
            // It may have taken over from the plain one before that was looked at.
            look().or_else(|| group(&alike))
        })
    }

    pub(super) fn refuse_all(&self, no: No) -> Rejection {
        self.count_refusal(self.refusal(no))
    }

    fn refusal(&self, no: No) -> Rejection {
        let (kind, wait) = match no {
            No::Over { wait, late } => (self.kind_of(late), wait),
            No::Never => (RejectionKind::CostAboveBurst, 0),
            No::Full => (RejectionKind::KeysExhausted, 0),
        };
        Rejection::before(kind, self.core.id()).with_wait(wait)
    }

    fn kind_of(&self, late: Late) -> RejectionKind {
        let overload = Rules::of(&self.live).over_total() == OverTotal::Overload;
        match overload && late.is_total_only() {
            true => RejectionKind::TotalRate,
            false => RejectionKind::Throttled,
        }
    }

    /// As [`decide`](State::decide) for the plain bucket. Nobody reserves: who waits asks
    /// again when the time has come.
    #[inline(never)]
    pub(super) fn decide_all(
        state: &Shared<Self>,
        draw: Draw,
        cost: u32,
        now: Tick,
        patience: Duration,
        order: Override,
    ) -> Result<Pass, Rejection> {
        let Err(no) = state.ask_all(draw, cost, now) else {
            state.counters.add(ADMITTED, 1);
            return Ok(Pass::Now);
        };
        if order == Override::Bypass {
            state.counters.add(BYPASSED, 1);
            return Ok(Pass::Now);
        }
        if let No::Over { wait, .. } = no {
            let wait = Duration::from_nanos(wait);
            if wait <= patience {
                let until = now.saturating_add(patience);
                let again = Reserved::again(state.clone(), draw, cost, now, wait, until);
                return Ok(Pass::Later(again));
            }
        }
        Err(state.refuse_all(no))
    }

    /// Gives back what was taken.
    pub(super) fn refund(&self, draw: Draw, tickets: &Tickets) {
        let clock = self.core.clock();
        let all = Plan::of(&self.live);
        match (draw, &self.keyed) {
            (Draw::Key(key), Some(buckets)) => {
                // One that is gone was full. What came from those that all share, who
                // find no place, stays taken.
                buckets.map.get(key, |bucket| {
                    bucket.with_group(&all, &self.total, |group| group.refund(tickets, clock));
                });
            }
            _ => {
                let _ = self.with_group(draw, clock.now(), |group| {
                    group.refund(tickets, clock);
                    Some(())
                });
            }
        }
    }

    pub(super) fn charge(&self, draw: Draw, cost: u32) {
        let now = self.core.clock().now();
        let debt = self.policy().max_debt;
        let _ = self.with_any_group(draw, now, |group| {
            group.alive()?;
            group.charge(now, cost, debt);
            Some(())
        });
    }

    /// What could pass now of every limit: the fewest.
    pub(super) fn remaining_of(&self, draw: Draw, now: Tick) -> u32 {
        let left = self.observe(draw, |group| {
            group.alive()?;
            group.left(now).map(|(_, (left, _))| left).min()
        });
        left.unwrap_or(0)
    }

    /// Gives a key a quota of its own, or takes it away.
    pub(super) fn set_own(&self, key: KeyId, policy: Option<&Policy>) -> Result<(), Rejection> {
        let Some(buckets) = &self.keyed else {
            return Ok(());
        };
        let (max_keys, patience) = self.promised();
        let now = self.core.clock().now();
        {
            let mut own = buckets.own.lock();
            let known = own.get(&key).cloned();
            let fresh = || known.unwrap_or_else(|| Arc::new(Live::new([0; LENGTH])));
            let words = match policy {
                Some(_) => {
                    if own.len() >= max_keys && !own.contains_key(&key) {
                        return Err(self.reject(RejectionKind::KeysExhausted));
                    }
                    let words = fresh();
                    own.insert(key, Arc::clone(&words));
                    Some(words)
                }
                None => own.remove(&key),
            };
            drop(own);
            if let Some(words) = words {
                // A bucket in use may have had one before. One that is being made may not
                // have seen this one, so it is waited for.
                let mut used = None;
                let own = |bucket: &Bucket| used = Some(bucket.own(&words));
                buckets.map.visit(key, own);
                let quota = policy.and_then(|policy| policy.quota(patience, &self.leases).ok());
                let numbers = match (policy, quota) {
                    (Some(policy), Some(quota)) => {
                        pack(quota.since(now), policy, patience, Way::Several)
                    }
                    _ => [0; LENGTH],
                };
                for words in [Some(words), used].into_iter().flatten() {
                    words.store(numbers);
                }
            }
        }
        self.publish_again();
        self.core.tell(Event::Updated);
        Ok(())
    }

    /// Reports every limit to the layer that writes headers, if there is one.
    fn tell_quotas(&self, group: &Group<'_>, no: Option<&No>, now: Tick) {
        let headers = Rules::of(&self.live).headers();
        let told = match no {
            None => headers == Headers::Always,
            // It is let through all the same.
            _ if self.core.order() == Override::Bypass => false,
            _ => headers != Headers::Never,
        };
        #[cfg(feature = "http")]
        if told && crate::http::report::is_open() {
            for (at, (left, reset)) in group.left(now) {
                let (limit, window) = group.plan.rate(at);
                let mut quota = crate::http::report::Quota {
                    layer: self.core.id(),
                    refused: false,
                    name: self.name_of(at),
                    limit,
                    window: Duration::from_nanos(window),
                    remaining: u64::from(left).min(limit),
                    reset: Duration::from_nanos(reset),
                };
                if let Some(No::Over { wait, late }) = no
                    && late.has(at)
                {
                    quota.refused = true;
                    quota.remaining = 0;
                    quota.reset = Duration::from_nanos(*wait);
                }
                crate::http::report::report(quota);
            }
        }
        #[cfg(not(feature = "http"))]
        let _ = (group, now, told);
    }

    #[cfg(feature = "http")]
    fn name_of(&self, at: usize) -> Arc<str> {
        Arc::clone(&self.quota_names[at])
    }
}
