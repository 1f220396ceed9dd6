//! Counts of the calls that ended lately: among the last so many, and within
//! the last so much time. Both have fixed memory, and take steps that do not
//! depend on the traffic.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Tick, nanos};

/// Calls in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// Calls that ended, or were counted as slow before their end.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, whatever their outcome.
    pub slow: u64,
}

/// The way a call was bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bad {
    /// It failed.
    pub failed: bool,
    /// It was slow.
    pub slow: bool,
}

impl Counts {
    /// So many good calls.
    #[must_use]
    pub(crate) fn good(calls: u64) -> Self {
        Self {
            calls,
            ..Self::default()
        }
    }

    /// A bad call.
    #[must_use]
    pub(crate) fn bad(bad: Bad) -> Self {
        Self {
            calls: 1,
            failures: bad.failed.into(),
            slow: bad.slow.into(),
        }
    }
}

/// What a [`TimeWindow`] adds up.
pub trait Sum: Copy + Default {
    /// Adds.
    fn add(&mut self, other: Self);
    /// Takes off what was added before.
    fn sub(&mut self, other: Self);
}

impl Sum for Counts {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn sub(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

impl<const N: usize> Sum for [u64; N]
where
    Self: Default,
{
    fn add(&mut self, other: Self) {
        for (mine, other) in self.iter_mut().zip(other) {
            *mine = mine.saturating_add(other);
        }
    }

    fn sub(&mut self, other: Self) {
        for (mine, other) in self.iter_mut().zip(other) {
            *mine = mine.saturating_sub(other);
        }
    }
}

/// The last `size` calls. Good ones are told as a number and cost nothing; of
/// bad ones it keeps which in the sequence of all they were.
#[derive(Debug)]
pub struct CountWindow {
    size: u64,
    total: u64,
    /// The calls up to this number are unknown.
    before: u64,
    bads: VecDeque<(u64, Bad)>,
    failures: u64,
    slow: u64,
}

impl CountWindow {
    /// Nothing is known of the `total` calls until now. It has `room` for so many
    /// bad ones, and makes more when it needs it.
    #[must_use]
    pub fn new(size: u32, total: u64, room: usize) -> Self {
        let size = size.max(1);
        Self {
            size: size.into(),
            total,
            before: total,
            bads: VecDeque::with_capacity(room.min(size as usize)),
            failures: 0,
            slow: 0,
        }
    }

    /// So many calls without fault.
    pub fn good(&mut self, calls: u64) {
        self.total = self.total.saturating_add(calls);
        self.forget();
    }

    /// A call with a fault.
    pub fn bad(&mut self, bad: Bad) {
        self.good(1);
        self.failures += u64::from(bad.failed);
        self.slow += u64::from(bad.slow);
        self.bads.push_back((self.total, bad));
    }

    /// The bad call of this number has failed, too.
    pub fn amend(&mut self, number: u64) {
        let found = self
            .bads
            .binary_search_by_key(&number, |(number, _)| *number);
        if let Some((_, bad)) = found.ok().and_then(|at| self.bads.get_mut(at)) {
            self.failures += u64::from(!bad.failed);
            bad.failed = true;
        }
    }

    fn forget(&mut self) {
        let past = self.total.saturating_sub(self.size);
        while let Some(&(number, bad)) = self.bads.front()
            && number <= past
        {
            self.bads.pop_front();
            self.failures -= u64::from(bad.failed);
            self.slow -= u64::from(bad.slow);
        }
    }

    /// Most calls in the window.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is in the window.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            calls: (self.total - self.before).min(self.size),
            failures: self.failures,
            slow: self.slow,
        }
    }

    /// Another size: what is known of the last calls is kept, and no more is known
    /// than before.
    pub fn resize(&mut self, size: u32) {
        self.before = self.total - self.counts().calls;
        self.size = size.max(1).into();
        self.forget();
    }
}

/// The last `span` of time, in slots of equal width: the current one, which is
/// not over, and those before it.
#[derive(Debug)]
pub struct TimeWindow<T = Counts> {
    width: u64,
    /// The number of the current slot since the beginning of time.
    current: u64,
    slots: Box<[T]>,
    sum: T,
}

impl<T: Sum> TimeWindow<T> {
    /// Nothing yet, at `now`.
    #[must_use]
    pub fn new(span: Duration, slots: usize, now: Tick) -> Self {
        let slots = slots.max(1);
        let width = nanos(span).div_ceil(slots as u64).max(1);
        Self {
            width,
            current: now.as_nanos() / width,
            slots: vec![T::default(); slots].into(),
            sum: T::default(),
        }
    }

    /// When the current slot ends.
    #[must_use]
    pub fn slot_end(&self) -> Tick {
        Tick::from_nanos(self.current.saturating_add(1).saturating_mul(self.width))
    }

    /// How many slots end until `now`.
    #[must_use]
    pub fn slots_until(&self, now: Tick) -> u64 {
        (now.as_nanos() / self.width).saturating_sub(self.current)
    }

    fn slot(&mut self, number: u64) -> &mut T {
        let slots = self.slots.len() as u64;
        let at = usize::try_from(number % slots).unwrap_or(0);
        &mut self.slots[at]
    }

    /// Its length in nanoseconds, in whole slots.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.width.saturating_mul(self.slots.len() as u64)
    }

    /// Whether the current slot lies a whole window ahead of `now`: the clock has gone
    /// back.
    #[must_use]
    pub fn is_far_ahead(&self, now: Tick) -> bool {
        self.current.saturating_sub(now.as_nanos() / self.width) >= self.slots.len() as u64
    }

    /// Moves on to `now`, and not back: what is less than a window ahead waits, and
    /// what is further ahead is forgotten.
    pub fn advance(&mut self, now: Tick) {
        let steps = self.slots_until(now);
        if steps >= self.slots.len() as u64 || self.is_far_ahead(now) {
            self.slots.fill(T::default());
            self.sum = T::default();
            self.current = now.as_nanos() / self.width;
            return;
        }
        let target = self.current + steps;
        for step in 1..=steps {
            let old = std::mem::take(self.slot(self.current + step));
            self.sum.sub(old);
        }
        self.current = target;
    }

    /// Whether this time is in the current slot.
    #[must_use]
    pub fn is_current(&self, at: Tick) -> bool {
        at.as_nanos() / self.width == self.current
    }

    /// Counts in the current slot.
    pub fn add(&mut self, counts: T) {
        self.add_to(self.current, counts);
    }

    /// Counts in the slot of another time, if it is in the window yet.
    pub fn add_at(&mut self, at: Tick, counts: T) {
        if self.covers(at) {
            self.add_to(at.as_nanos() / self.width, counts);
        }
    }

    /// Whether the slot of this time is in the window.
    #[must_use]
    pub fn covers(&self, at: Tick) -> bool {
        (self.oldest()..=self.current).contains(&(at.as_nanos() / self.width))
    }

    fn oldest(&self) -> u64 {
        self.current.saturating_sub(self.slots.len() as u64 - 1)
    }

    fn add_to(&mut self, number: u64, counts: T) {
        self.slot(number).add(counts);
        self.sum.add(counts);
    }

    /// What is in the window.
    #[must_use]
    pub fn counts(&self) -> T {
        self.sum
    }

    /// The last moment of the current slot.
    #[must_use]
    pub fn latest(&self) -> Tick {
        self.last_of(self.current)
    }

    /// The last moment of the slot that this time is in.
    #[must_use]
    pub fn latest_at(&self, at: Tick) -> Tick {
        self.last_of(at.as_nanos() / self.width)
    }

    fn last_of(&self, number: u64) -> Tick {
        Tick::from_nanos(number.saturating_add(1).saturating_mul(self.width) - 1)
    }

    /// Another span from `now` on: what it still covers is kept, at most a slot too
    /// long.
    pub fn resize(&mut self, span: Duration, slots: usize, now: Tick) {
        let oldest = self.oldest();
        let mut resized = Self::new(span, slots, self.last_of(oldest).min(now));
        for number in oldest..=self.current {
            resized.advance(self.last_of(number).min(now));
            resized.add(*self.slot(number));
        }
        *self = resized;
    }
}
