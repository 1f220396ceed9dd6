//! How many further attempts may be made: three rules, each exact in one word
//! that is written where an attempt is granted.

use super::counter::Counters;
use super::sync::{AtomicU64, Ordering};

/// A share of what comes in.
///
/// Each request pays in so many units, each further attempt takes out so many,
/// and at most `most` units are saved. The word is what was ever taken out, or
/// lost because nothing more could be saved: between two attempts the balance
/// only grows, so the cap can be applied when the next one is asked for. A
/// request is a count of its own thread, and neither reads a clock nor writes
/// what another thread writes.
#[derive(Debug, Default)]
pub struct Share {
    requests: Counters<1>,
    spent: AtomicU64,
}

/// The terms of a [`Share`], in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What a request pays in.
    pub income: u64,
    /// What an attempt takes out.
    pub cost: u64,
    /// What can be saved.
    pub most: u64,
}

impl Share {
    /// One with `owned` stripes for its count of requests.
    #[must_use]
    pub fn with_owned(owned: usize) -> Self {
        Self {
            requests: Counters::with_owned(owned),
            spent: AtomicU64::new(0),
        }
    }

    /// A request comes in.
    #[inline]
    pub fn pay(&self) {
        self.requests.add(0, 1);
    }

    /// As [`pay`](Self::pay), for a thread whose number the caller knows.
    #[inline]
    pub(crate) fn pay_from(&self, thread: usize) {
        self.requests.add_from(thread, 0, 1);
    }

    fn income(&self, terms: Terms) -> u64 {
        self.requests.sum(0).saturating_mul(terms.income)
    }

    /// Takes out the cost of an attempt, if it is there.
    #[must_use]
    pub fn take(&self, terms: Terms) -> bool {
        let income = self.income(terms);
        let pay = |spent: u64| {
            let spent = spent.max(income.saturating_sub(terms.most));
            spent
                .checked_add(terms.cost)
                .filter(|after| *after <= income)
        };
        self.spent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, pay)
            .is_ok()
    }

    /// Puts back what was taken for an attempt that was not made.
    pub fn give_back(&self, terms: Terms) {
        self.spent.fetch_sub(terms.cost, Ordering::AcqRel);
    }

    /// What is saved, in units.
    #[must_use]
    pub fn balance(&self, terms: Terms) -> u64 {
        let spent = self.spent.load(Ordering::Acquire);
        self.income(terms).saturating_sub(spent).min(terms.most)
    }
}

/// A number of tokens that failures or further attempts use up, and successes
/// bring back. Full at first.
#[derive(Debug, Default)]
pub struct Tokens {
    /// Those that are gone.
    gone: AtomicU64,
}

impl Tokens {
    /// Takes `cost`, if after it more than `reserve` of `most` are left.
    #[must_use]
    pub fn take(&self, most: u64, cost: u64, reserve: Option<u64>) -> bool {
        let take = |gone: u64| {
            let left = most.checked_sub(gone.checked_add(cost)?)?;
            reserve
                .is_none_or(|reserve| left > reserve)
                .then_some(gone + cost)
        };
        self.gone
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .is_ok()
    }

    /// Takes `n`, or what is left of them.
    pub fn lose(&self, most: u64, n: u64) {
        self.change(|gone| gone.saturating_add(n).min(most));
    }

    /// Brings back `n`, or as many as are gone. Nothing is written while none is.
    #[inline]
    pub fn bring(&self, n: u64) {
        if self.gone.load(Ordering::Relaxed) != 0 {
            self.change(|gone| gone.saturating_sub(n));
        }
    }

    fn change(&self, to: impl Fn(u64) -> u64) {
        let change = |gone| Some(to(gone)).filter(|new| *new != gone);
        let _ = self
            .gone
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
    }

    /// How many are left of `most`.
    #[must_use]
    pub fn left(&self, most: u64) -> u64 {
        most.saturating_sub(self.gone.load(Ordering::Acquire))
    }
}

const BEGUN: usize = 0;
const ENDED: usize = 1;

/// A share of the requests that are under way.
#[derive(Debug, Default)]
pub struct InFlight {
    requests: Counters<2>,
    attempts: AtomicU64,
}

impl InFlight {
    /// One with `owned` stripes for its counts of requests.
    #[must_use]
    pub fn with_owned(owned: usize) -> Self {
        Self {
            requests: Counters::with_owned(owned),
            attempts: AtomicU64::new(0),
        }
    }

    /// A request begins.
    #[inline]
    pub fn begin(&self) {
        self.requests.add(BEGUN, 1);
    }

    /// A request ends.
    #[inline]
    pub fn end(&self) {
        self.requests.add(ENDED, 1);
    }

    /// The requests under way: while others begin and end, never too many.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let begun = self.requests.sum(BEGUN);
        begun.saturating_sub(self.requests.sum(ENDED))
    }

    /// A further attempt begins, if that makes no more than `allowed`, which is
    /// told the requests under way.
    #[must_use]
    pub fn take(&self, allowed: impl Fn(u64) -> u64) -> bool {
        let allowed = allowed(self.requests());
        let take = |attempts: u64| (attempts < allowed).then_some(attempts + 1);
        self.attempts
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .is_ok()
    }

    /// A further attempt ends.
    pub fn give_back(&self) {
        self.attempts.fetch_sub(1, Ordering::AcqRel);
    }

    /// The further attempts under way.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Acquire)
    }
}
