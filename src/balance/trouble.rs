//! How an endpoint fails: the share of its latest calls, and how many in a row.
//!
//! An endpoint that fails at once has no calls in flight and the shortest times,
//! and who goes by load sends it everything. So who compares two endpoints asks
//! first whether one of them is in trouble.

use crate::kernel::sync::{AtomicU64, Ordering};

/// The word: how many failures in a row above, the share below.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    word: AtomicU64,
}

/// The share of all, as the word holds it.
const WHOLE: u64 = 1 << 16;
/// Each call weighs an eighth: after six failures, most of the latest are.
const SHIFT: u32 = 3;
const ROW: u32 = 32;

impl Trouble {
    /// A call failed. How many have in a row, with it: everyone who is told a
    /// number is the only one.
    pub(crate) fn failed(&self) -> u32 {
        let mut row = 0;
        let next = |word: u64| {
            let share = word % WHOLE;
            row = (row_of(word)).saturating_add(1);
            let share = share + ((WHOLE - share) >> SHIFT);
            Some(u64::from(row) << ROW | share.min(WHOLE - 1))
        };
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        row
    }

    /// A call succeeded. Without any trouble before, nothing is written.
    #[inline]
    pub(crate) fn succeeded(&self) {
        if self.word.load(Ordering::Acquire) != 0 {
            self.recover();
        }
    }

    #[cold]
    fn recover(&self) {
        let next = |word: u64| {
            let share = word % WHOLE;
            Some(share.saturating_sub((share >> SHIFT).max(1)))
        };
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.word.swap(0, Ordering::AcqRel);
    }

    /// What is known now.
    #[inline]
    pub(crate) fn now(&self) -> Troubles {
        Troubles(self.word.load(Ordering::Relaxed))
    }
}

#[allow(clippy::cast_possible_truncation)] // its upper half
fn row_of(word: u64) -> u32 {
    (word >> ROW) as u32
}

/// How an endpoint failed, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Troubles(u64);

impl Troubles {
    /// The share of the latest calls that failed: 0 to below 1, each call weighing
    /// seven eighths of the one after it.
    #[inline]
    #[allow(clippy::cast_precision_loss)] // 16 bits
    pub(crate) fn share(self) -> f64 {
        (self.0 % WHOLE) as f64 / WHOLE as f64
    }

    /// Whether most of the latest calls failed.
    #[inline]
    pub(crate) fn is_suspect(self) -> bool {
        self.0 % WHOLE > WHOLE / 2
    }
}

/// A suspect is compared as if it were none, once in so many times, by chance: or
/// nobody would see it recover.
const TRIAL: u64 = 64;

/// Whether this comparison, by its random word, is one where suspects are not told
/// from others.
#[inline]
pub(crate) fn is_trial(word: u64) -> bool {
    word.is_multiple_of(TRIAL)
}
