//! How calls have ended: the first counters of a pattern's block.

use super::counter::Counters;
use crate::classify::Outcome;

/// The first counter that is a pattern's own.
pub const OWN: usize = 4;

/// How many calls ended how.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// As they should.
    pub succeeded: u64,
    /// In a failure.
    pub failed: u64,
    /// In what says nothing.
    pub neutral: u64,
    /// By being dropped.
    pub cancelled: u64,
}

#[cfg(any(
    feature = "adaptive",
    feature = "retry",
    feature = "fallback",
    feature = "hedge"
))]
impl Ends {
    /// All of them.
    #[must_use]
    pub fn all(self) -> u64 {
        self.succeeded + self.failed + self.neutral + self.cancelled
    }
}

impl<const N: usize> Counters<N> {
    /// Counts a call that ended.
    #[inline]
    pub fn ended(&self, outcome: Outcome) {
        let which = match outcome {
            Outcome::Success => 0,
            Outcome::Failure(_) => 1,
            Outcome::Neutral => 2,
            Outcome::Cancelled => 3,
        };
        self.add(which, 1);
    }

    /// How many have ended. Who asks for the beginnings asks for these first: so a
    /// call that ends in between is not missed.
    #[must_use]
    pub fn ends(&self) -> Ends {
        let [succeeded, failed, neutral, cancelled] = std::array::from_fn(|which| self.sum(which));
        Ends {
            succeeded,
            failed,
            neutral,
            cancelled,
        }
    }
}
