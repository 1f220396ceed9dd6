//! What a closed circuit has counted, and whether that opens it.

use std::cmp::Reverse;
use std::collections::VecDeque;

use super::policy::{Policy, Recent};
use crate::clock::Tick;
use crate::event::Reason;
use crate::kernel::pending::Taken;
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
    /// The numbers of the latest calls that failed, for [`Recent`].
    latest: VecDeque<u64>,
    /// Calls that were counted as slow and have not ended.
    overdue: Vec<Overdue>,
}

/// Calls of one slice that a sweep has counted as slow.
#[derive(Debug, Clone, Copy)]
struct Overdue {
    slice: u32,
    calls: u64,
    /// That of the last of them; each that ends takes one.
    number: u64,
    /// The end of their slot in the time window.
    at: Option<Tick>,
}

const SLOW: Bad = Bad {
    failed: false,
    slow: true,
};

impl Tally {
    /// Nothing yet. A `spacious` one has room for all it may have to remember,
    /// another makes it when it is needed.
    pub(super) fn new(policy: &Policy, now: Tick, spacious: bool) -> Self {
        let room = |most: u32| if spacious { most as usize } else { 0 };
        let latest = policy.recent.map_or(0, |recent| room(recent.failures));
        let count_window = policy.counted_calls();
        Self {
            count: count_window.map(|size| CountWindow::new(size, 0, room(size))),
            time: policy
                .counted_time()
                .map(|span| TimeWindow::new(span, SLOTS, now)),
            run: 0,
            total: 0,
            latest: VecDeque::with_capacity(latest),
            overdue: Vec::new(),
        }
    }

    pub(super) fn advance(&mut self, now: Tick) {
        if let Some(time) = &mut self.time {
            if time.is_far_ahead(now) {
                // Forgotten: the same time may come again, but not its calls.
                self.overdue.iter_mut().for_each(|entry| entry.at = None);
            }
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

    /// A bad end of a call that was not counted before.
    pub(super) fn bad(&mut self, bad: Bad, policy: &Policy) {
        self.enter(bad);
        match bad.failed {
            true => self.failed(self.total, policy),
            false => self.run = 0,
        }
    }

    /// A call that was slow, and says nothing else.
    pub(super) fn slow(&mut self) {
        self.enter(SLOW);
    }

    fn enter(&mut self, bad: Bad) {
        self.total = self.total.saturating_add(1);
        if let Some(count) = &mut self.count {
            count.bad(bad);
        }
        if let Some(time) = &mut self.time {
            time.add(Counts::bad(bad));
        }
    }

    /// The call of this number has failed.
    fn failed(&mut self, number: u64, policy: &Policy) {
        self.run += 1;
        let Some(Recent { failures, .. }) = policy.recent else {
            return;
        };
        let at = self.latest.partition_point(|other| *other <= number);
        self.latest.insert(at, number);
        while self.latest.len() > failures as usize {
            self.latest.pop_front();
        }
    }

    /// The end of a call that a sweep has taken; `false` if it was not counted as
    /// slow then. One call is one entry: if it failed, its entry says so from now
    /// on, as long as there is one.
    pub(super) fn ended(&mut self, slice: u32, failed: Option<bool>, policy: &Policy) -> bool {
        let mine = |entry: &Overdue| entry.slice == slice;
        let Some(at) = self.overdue.iter().rposition(mine) else {
            return false;
        };
        let Overdue {
            number, at: slot, ..
        } = self.overdue[at];
        self.overdue[at].number -= 1;
        self.overdue[at].calls -= 1;
        if self.overdue[at].calls == 0 {
            self.overdue.remove(at);
        }
        match failed {
            None => {}
            Some(false) => self.run = 0,
            Some(true) => {
                if let Some(count) = &mut self.count {
                    count.amend(number);
                }
                if let Some((time, slot)) = self.time.as_mut().zip(slot) {
                    time.add_at(
                        slot,
                        Counts {
                            failures: 1,
                            ..Counts::default()
                        },
                    );
                }
                self.failed(number, policy);
            }
        }
        true
    }

    /// Calls that are too slow and have not ended.
    pub(super) fn overdue(&mut self, mut taken: Vec<Taken>) {
        taken.sort_by_key(|taken| Reverse(taken.age));
        for Taken { calls, slice, .. } in taken {
            self.total = self.total.saturating_add(calls);
            if let Some(time) = &mut self.time {
                let slow = Counts {
                    calls,
                    slow: calls,
                    failures: 0,
                };
                time.add(slow);
            }
            if let Some(count) = &mut self.count {
                // More of them than the window holds leave only themselves in it.
                let last = calls.min(count.size());
                count.good(calls - last);
                (0..last).for_each(|_| count.bad(SLOW));
            }
            self.overdue.push(Overdue {
                slice,
                calls,
                number: self.total,
                at: self.time.as_ref().map(TimeWindow::latest),
            });
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
    pub(super) fn is_clean(&self, policy: &Policy) -> bool {
        let of = policy.recent.map_or(0, |recent| recent.of.into());
        let recently = |number: &u64| self.total.saturating_sub(*number) < of;
        self.run == 0
            && !self.latest.back().is_some_and(recently)
            && self
                .windows()
                .all(|counts| counts.failures + counts.slow == 0)
    }

    /// Follows a policy, and keeps what still applies.
    pub(super) fn update(&mut self, policy: &Policy, now: Tick) {
        match (&mut self.count, policy.counted_calls()) {
            (Some(count), Some(size)) => count.resize(size),
            (count, size) => {
                *count = size.map(|size| CountWindow::new(size, self.total, 0));
            }
        }
        match (&mut self.time, policy.counted_time()) {
            (Some(time), Some(span)) => {
                for entry in &mut self.overdue {
                    entry.at = entry.at.filter(|at| time.covers(*at));
                }
                time.resize(span, SLOTS, now);
                for entry in &mut self.overdue {
                    entry.at = entry.at.map(|at| time.latest_at(at.min(now)));
                }
            }
            (time, span) => {
                *time = span.map(|span| TimeWindow::new(span, SLOTS, now));
                self.overdue.iter_mut().for_each(|entry| entry.at = None);
            }
        }
        let latest = policy.recent.map_or(0, |recent| recent.failures as usize);
        while self.latest.len() > latest {
            self.latest.pop_front();
        }
    }
}
