//! A *sliding log*: the time of every permit that was given, so that no window of the
//! width holds more than the permits, wherever it begins. Eight bytes a permit.
//!
//! A ring whose slots are numbered on and on. A slot holds a time, how many slots the
//! request takes, and the parity of its turn around the ring. A request is admitted
//! by one compare-and-swap of its first slot; whoever meets it next fills its other
//! slots and moves the head on, if that has not been done. As times only rise, a slot
//! never holds the same value again, so a swap that comes too late fails.

use super::meter::Look;
use super::sync::{AtomicU64, Ordering};
use crate::clock::Tick;

/// How much may pass in any window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recent {
    width: u64,
    permits: u64,
}

impl Recent {
    /// The most permits.
    pub const MOST: u64 = 65_535;

    /// `None` if `permits` are none, more than [`MOST`](Self::MOST), or more than a
    /// slot can tell: for a width of `2^b` ns, `2^(b-13) - 1`.
    #[must_use]
    pub fn new(permits: u32, nanos: u64) -> Option<Self> {
        let permits = u64::from(permits);
        let fits = nanos >= 1 << 14
            && (1..=Self::MOST).contains(&permits)
            && permits < 1 << (shift(nanos) - 1).min(32);
        fits.then_some(Self {
            width: nanos,
            permits,
        })
    }

    /// As words.
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        [self.width, self.permits]
    }

    /// The one of [`to_words`](Self::to_words).
    #[must_use]
    pub fn from_words([width, permits]: [u64; 2]) -> Self {
        Self { width, permits }
    }
}

/// Bits of a time that are left out: times are rounded up to a 4096th of the width, or
/// less.
fn shift(width: u64) -> u32 {
    let log = 63_u32.saturating_sub(width.max(1).leading_zeros());
    log.saturating_sub(12).max(2)
}

const DEAD: u64 = u64::MAX;
/// A clock that is further back than this, and the width, was wrong before.
const UNLIKELY: u64 = 1 << 42;

/// One log.
#[derive(Debug)]
pub struct Log {
    /// The number of the next slot, or of one before it, until someone has helped.
    head: AtomicU64,
    shift: u32,
    slots: Box<[AtomicU64]>,
}

impl Log {
    /// An empty one, which holds so many permits as `quota` has, rounded up to a power
    /// of two: those of a later quota above that are of no use.
    #[must_use]
    pub fn new(quota: &Recent) -> Self {
        let slots = quota.permits.clamp(1, Recent::MOST).next_power_of_two();
        Self {
            head: AtomicU64::new(0),
            shift: shift(quota.width),
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn cap(&self) -> u64 {
        self.slots.len() as u64
    }

    fn permits(&self, quota: &Recent) -> u64 {
        let told = !(u64::MAX << (self.shift - 1));
        quota.permits.min(self.cap()).min(told)
    }

    #[allow(clippy::cast_possible_truncation)] // below the number of slots
    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.slots[(number & (self.cap() - 1)) as usize]
    }

    /// The parity of a number's turn: the first is odd, as an empty slot is even.
    fn turn(&self, number: u64) -> u64 {
        (number / self.cap() + 1) & 1
    }

    fn pack(&self, time: u64, cost: u64, number: u64) -> u64 {
        time << self.shift | cost << 1 | self.turn(number)
    }

    fn is_of(&self, value: u64, number: u64) -> bool {
        value != 0 && value & 1 == self.turn(number)
    }

    fn cost(&self, value: u64) -> u64 {
        value >> 1 & !(u64::MAX << (self.shift - 1))
    }

    /// Times as slots have them: rounded up, and never 0 or that of the mark.
    fn time(&self, now: Tick) -> u64 {
        let last = (u64::MAX >> self.shift) - 1;
        let unit = 1_u64 << self.shift;
        (now.as_nanos().div_ceil(unit)).saturating_add(1).min(last)
    }

    /// In how many nanoseconds a slot no longer counts. What a clock that was wrong has
    /// written does not: the log begins anew.
    fn counts_for(&self, value: u64, quota: &Recent, now: Tick) -> u64 {
        let expires = match value >> self.shift {
            0 => 0,
            time => ((time - 1) << self.shift).saturating_add(quota.width),
        };
        let left = expires.saturating_sub(now.as_nanos());
        let likely = left <= quota.width.saturating_add(UNLIKELY);
        if likely { left } else { 0 }
    }

    /// The head, and what is in its slot, of an earlier turn; `Err` if it is dead.
    fn ends(&self) -> Result<(u64, u64), Look> {
        loop {
            let head = self.head.load(Ordering::Acquire);
            let first = self.slot(head).load(Ordering::Acquire);
            if first == DEAD {
                return Err(Look::Dead);
            }
            if self.head.load(Ordering::Acquire) != head {
                continue;
            }
            if !self.is_of(first, head) {
                return Ok((head, first));
            }
            self.help(head, first);
        }
    }

    /// Ends what began with `first` in the slot of `head`.
    fn help(&self, head: u64, first: u64) {
        let cost = self.cost(first).max(1);
        for number in head + 1..head + cost {
            let slot = self.slot(number);
            let value = slot.load(Ordering::Acquire);
            // Read before the head was: of this turn, or the one before.
            if self.head.load(Ordering::Acquire) != head {
                return;
            }
            if !self.is_of(value, number) {
                let follower = self.pack(first >> self.shift, 0, number);
                swap(slot, value, follower);
            }
        }
        swap(&self.head, head, head + cost);
    }

    /// The slot whose permit would be used again.
    fn oldest(&self, quota: &Recent, head: u64, cost: u64) -> u64 {
        let number = (head + cost).checked_sub(self.permits(quota) + 1);
        number.map_or(0, |number| self.slot(number).load(Ordering::Acquire))
    }

    /// The slot of the last permit.
    fn last(&self, head: u64) -> u64 {
        let last = head.checked_sub(1);
        last.map_or(0, |last| self.slot(last).load(Ordering::Acquire))
    }

    /// Takes `cost` at `now`, or says why not.
    pub fn take(&self, quota: &Recent, now: Tick, cost: u32) -> Result<(), Look> {
        let cost = u64::from(cost.max(1));
        if cost > self.permits(quota) {
            return Err(Look::Never);
        }
        loop {
            let (head, first) = self.ends()?;
            let oldest = self.oldest(quota, head, cost);
            let last = match self.last(head) {
                last if self.counts_for(last, quota, now) > 0 => last >> self.shift,
                _ => 0,
            };
            if self.head.load(Ordering::Acquire) != head {
                continue;
            }
            if oldest == DEAD {
                return Err(Look::Dead);
            }
            let wait = self.counts_for(oldest, quota, now);
            if wait > 0 {
                return Err(Look::Late(wait));
            }
            let entry = self.pack(self.time(now).max(last), cost, head);
            if swap(self.slot(head), first, entry) {
                self.help(head, entry);
                return Ok(());
            }
        }
    }

    /// What [`take`](Self::take) would say; it takes nothing.
    pub fn look(&self, quota: &Recent, now: Tick, cost: u32) -> Look {
        let cost = u64::from(cost.max(1));
        if cost > self.permits(quota) {
            return Look::Never;
        }
        loop {
            let (head, _) = match self.ends() {
                Ok(ends) => ends,
                Err(look) => return look,
            };
            let oldest = self.oldest(quota, head, cost);
            if self.head.load(Ordering::Acquire) != head {
                continue;
            }
            let wait = self.counts_for(oldest, quota, now);
            return match wait {
                _ if oldest == DEAD => Look::Dead,
                0 => Look::Free,
                wait => Look::Late(wait),
            };
        }
    }

    /// Takes as much of `cost` as there is: a log owes nothing.
    pub fn charge(&self, quota: &Recent, now: Tick, cost: u32) {
        let (left, _) = self.left(quota, now);
        let mut cost = cost.min(left);
        // Others may have come first.
        while cost > 0 && matches!(self.take(quota, now, cost), Err(Look::Late(_))) {
            cost /= 2;
        }
    }

    /// What may still come at `now`, and in how many nanoseconds nothing counts any
    /// more.
    pub fn left(&self, quota: &Recent, now: Tick) -> (u32, u64) {
        let Ok((head, _)) = self.ends() else {
            return (0, 0);
        };
        // Times rise with the numbers: by halves.
        let (mut free, mut over) = (0, self.permits(quota) + 1);
        while over - free > 1 {
            let cost = free.midpoint(over);
            let oldest = self.oldest(quota, head, cost);
            match self.counts_for(oldest, quota, now) {
                0 => free = cost,
                _ => over = cost,
            }
        }
        let reset = self.counts_for(self.last(head), quota, now);
        (u32::try_from(free).unwrap_or(u32::MAX), reset)
    }

    /// Retires it if nothing counts at `now`; what it was, for
    /// [`revive`](Self::revive).
    pub fn retire(&self, quota: &Recent, now: Tick) -> Option<u64> {
        let (head, first) = self.ends().ok()?;
        let idle = self.counts_for(self.last(head), quota, now) == 0;
        (idle && swap(self.slot(head), first, DEAD)).then_some(first)
    }

    /// Takes back a retirement.
    pub fn revive(&self, word: u64) {
        let head = self.head.load(Ordering::Acquire);
        swap(self.slot(head), DEAD, word);
    }
}

fn swap(word: &AtomicU64, old: u64, new: u64) -> bool {
    word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}
