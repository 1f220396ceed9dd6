//! Calls in flight and calls that succeeded, in one word: so that the end of a call is
//! one write.

use crate::kernel::sync::{AtomicU64, Ordering};

/// In flight below, up to 16,777,215; above those that succeeded, modulo 2^40.
#[derive(Debug, Default)]
pub(super) struct Tally {
    word: AtomicU64,
}

const ONE: u64 = 1 << 24;
/// The successes are counted modulo this: a trillion.
pub(super) const MODULUS: u64 = 1 << 40;

impl Tally {
    /// A call begins. How many others are in flight.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked
    pub(super) fn began(&self) -> u32 {
        (self.word.fetch_add(1, Ordering::Relaxed) % ONE) as u32
    }

    /// It has succeeded.
    #[inline]
    pub(super) fn succeeded(&self) {
        self.word.fetch_add(ONE - 1, Ordering::Release);
    }

    /// It has ended otherwise.
    #[inline]
    pub(super) fn ended(&self) {
        self.word.fetch_sub(1, Ordering::Release);
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // masked
    pub(super) fn in_flight(&self) -> u32 {
        (self.word.load(Ordering::Relaxed) % ONE) as u32
    }

    pub(super) fn successes(&self) -> u64 {
        self.word.load(Ordering::Acquire) / ONE
    }
}
