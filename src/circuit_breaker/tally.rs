//! What a closed circuit has counted, and whether that opens it.

use std::collections::VecDeque;

use super::policy::{Policy, Recent};
use crate::clock::Tick;
use crate::event::Reason;
use crate::kernel::window::{Bad, CountWindow, Counts, TimeWindow};
use crate::policy::Ratio;

/// Slots of a time window.
pub(super) const SLOTS: usize = 10;

#[derive(Debug)]
pub(super) struct Tally {
    count: Option<CountWindow>,
    time: Option<TimeWindow>,
    /// Failures since the last success.
    run: u64,
    /// Calls since the beginning.
    total: u64,
    /// The numbers of the latest failures, for [`Recent`].
    latest: VecDeque<u64>,
}

impl Tally {
    pub(super) fn new(policy: &Policy, now: Tick) -> Self {
        let latest = policy.recent.map_or(0, |recent| recent.failures as usize);
        Self {
            count: policy.count_window.map(CountWindow::new),
            time: policy
                .time_window
                .map(|span| TimeWindow::new(span, SLOTS, now)),
            run: 0,
            total: 0,
            latest: VecDeque::with_capacity(latest),
        }
    }

    pub(super) fn advance(&mut self, now: Tick) {
        if let Some(time) = &mut self.time {
            time.advance(now);
        }
    }

    pub(super) fn good(&mut self, calls: u64) {
        if calls == 0 {
            return;
        }
        self.run = 0;
        self.total = self.total.saturating_add(calls);
        if let Some(count) = &mut self.count {
            count.good(calls);
        }
        if let Some(time) = &mut self.time {
            time.add(Counts::good(calls));
        }
    }

    /// A bad end. `again`: of a call that was counted as slow before.
    pub(super) fn bad(&mut self, bad: Bad, again: bool, policy: &Policy) {
        self.total = self.total.saturating_add(u64::from(!again));
        self.enter(bad, again);
        if !bad.failed {
            self.run = 0;
            return;
        }
        self.run += 1;
        if let Some(Recent { failures, .. }) = policy.recent {
            while self.latest.len() >= failures as usize {
                self.latest.pop_front();
            }
            self.latest.push_back(self.total);
        }
    }

    /// The good end of a call that was counted as slow before.
    pub(super) fn ended_well(&mut self) {
        self.run = 0;
    }

    /// Calls that are too slow and have not ended.
    pub(super) fn overdue(&mut self, calls: u64) {
        self.total = self.total.saturating_add(calls);
        let slow = Bad {
            failed: false,
            slow: true,
        };
        if let Some(time) = &mut self.time {
            time.add(Counts {
                calls,
                slow: calls,
                failures: 0,
            });
        }
        if let Some(count) = &mut self.count {
            // More of them than the window holds leave only themselves in it.
            let last = calls.min(count.size());
            count.good(calls - last);
            (0..last).for_each(|_| count.bad(slow, false));
        }
    }

    fn enter(&mut self, bad: Bad, again: bool) {
        if let Some(count) = &mut self.count {
            count.bad(bad, again);
        }
        if let Some(time) = &mut self.time {
            time.add(Counts::bad(bad, again));
        }
    }

    /// The condition that is met, and the figures that meet it.
    pub(super) fn trips(&self, policy: &Policy) -> Option<(Reason, Counts)> {
        let run = Counts {
            calls: self.run,
            failures: self.run,
            slow: 0,
        };
        if policy
            .consecutive
            .is_some_and(|most| self.run >= most.into())
        {
            return Some((Reason::Consecutive, run));
        }
        if let Some(Recent { failures, of }) = policy.recent
            && self.latest.len() >= failures as usize
            && let Some(first) = self.latest.front()
            && self.total.saturating_sub(*first) < of.into()
        {
            let counts = Counts {
                calls: self.total.min(of.into()),
                failures: failures.into(),
                slow: 0,
            };
            return Some((Reason::Recent, counts));
        }
        self.windows().find_map(|counts| {
            let over = |ratio: Option<Ratio>, minimum: u32, bad: u64| {
                let enough = counts.calls >= minimum.into();
                enough && ratio.is_some_and(|ratio| ratio.is_reached(bad, counts.calls))
            };
            if over(policy.failure_ratio, policy.minimum_calls, counts.failures) {
                return Some((Reason::FailureRatio, counts));
            }
            over(policy.slow_ratio, policy.slow_minimum_calls, counts.slow)
                .then_some((Reason::SlowRatio, counts))
        })
    }

    /// Until when a good end can neither open the circuit nor belongs to another
    /// slot than now: then it need not come here. A ratio can be met by a good
    /// end only while it lacks calls, and never without a bad one.
    pub(super) fn quiet_until(&self, policy: &Policy) -> Tick {
        let settled = |counts: Counts| {
            let enough = |ratio: Option<Ratio>, minimum: u32, bad: u64| {
                ratio.is_none() || bad == 0 || counts.calls >= minimum.into()
            };
            enough(policy.failure_ratio, policy.minimum_calls, counts.failures)
                && enough(policy.slow_ratio, policy.slow_minimum_calls, counts.slow)
        };
        match &self.time {
            // A window that moved on while nobody decided.
            _ if self.trips(policy).is_some() => Tick::ZERO,
            _ if !self.windows().all(settled) => Tick::ZERO,
            Some(time) => time.slot_end(),
            None => Tick::MAX,
        }
    }

    fn windows(&self) -> impl Iterator<Item = Counts> {
        let count = self.count.as_ref().map(CountWindow::counts);
        let time = self.time.as_ref().map(TimeWindow::counts);
        count.into_iter().chain(time)
    }

    pub(super) fn count(&self) -> Option<Counts> {
        self.count.as_ref().map(CountWindow::counts)
    }

    pub(super) fn time(&self) -> Option<Counts> {
        self.time.as_ref().map(TimeWindow::counts)
    }

    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Whether nothing bad is remembered.
    pub(super) fn is_clean(&self) -> bool {
        self.run == 0
            && self
                .windows()
                .all(|counts| counts.failures + counts.slow == 0)
    }

    /// Follows a policy, and keeps what still applies.
    pub(super) fn update(&mut self, policy: &Policy, now: Tick) {
        match (&mut self.count, policy.count_window) {
            (Some(count), Some(size)) => count.resize(size),
            (count, size) => *count = size.map(CountWindow::new),
        }
        match (&mut self.time, policy.time_window) {
            (Some(time), Some(span)) => time.resize(span, SLOTS),
            (time, span) => *time = span.map(|span| TimeWindow::new(span, SLOTS, now)),
        }
        let latest = policy.recent.map_or(0, |recent| recent.failures as usize);
        while self.latest.len() > latest {
            self.latest.pop_front();
        }
    }
}
