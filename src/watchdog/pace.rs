//! Time as the watchdog counts it.

use std::time::Duration;

use crate::clock::Tick;

/// Counts the time that a thread was there to see.
///
/// What passes while the thread itself does not run, because the machine sleeps, the
/// process is stopped or the clock jumps, speaks against nobody: of each step, no more
/// is counted than the thread meant to nap, and some slack.
#[derive(Debug)]
pub(super) struct Pace {
    last: Tick,
    counted: Tick,
    longest: Duration,
}

impl Pace {
    /// Nothing is counted yet.
    pub(super) fn new(now: Tick) -> Self {
        Self {
            last: now,
            counted: Tick::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// The time counted until now; it never goes back.
    pub(super) fn count(&mut self, now: Tick) -> Tick {
        let step = now.saturating_since(self.last).min(self.longest);
        self.last = now;
        self.counted = self.counted.saturating_add(step);
        self.counted
    }

    /// The next step is meant to be a nap of this length.
    pub(super) fn expect(&mut self, nap: Duration, slack: Duration) {
        self.longest = nap.saturating_add(slack);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// All of each step up to its nap and the slack, and nothing of a step back.
        #[test]
        fn what_nobody_saw_is_not_counted(
            steps in prop::collection::vec((0..50_u64, 0..20_u64, any::<bool>()), 1..40)
        ) {
            let mut now = Tick::from_nanos(1_000);
            let mut pace = Pace::new(now);
            let slack = Duration::from_nanos(5);
            let (mut counted, mut longest) = (0, 0);
            for (step, nap, back) in steps {
                let step = Duration::from_nanos(step);
                now = if back { now.saturating_sub(step) } else { now.saturating_add(step) };
                if !back {
                    counted += u64::try_from(step.as_nanos()).unwrap().min(longest);
                }
                prop_assert_eq!(pace.count(now).as_nanos(), counted);
                pace.expect(Duration::from_nanos(nap), slack);
                longest = nap + 5;
            }
        }
    }
}
