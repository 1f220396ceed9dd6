//! What is believed of many answers.

use super::{Schedule, Status};

/// What is believed, after so many answers in a row that said otherwise.
///
/// The first answer is believed at once. From then on `fall` answers in a row that
/// are worse than what is believed make it worse, by as little as all of them agree
/// on; and `rise` answers in a row that are better make it better in the same way.
/// So between two changes there are always at least as many answers as the smaller
/// of both: something that flaps faster does not change what is believed.
///
/// ```
/// use tower_keep::probe::{Hysteresis, Schedule, Status::{Fail, Pass}};
///
/// let schedule = Schedule::builder().fall(2).build()?;
/// let mut believed = Hysteresis::new();
/// assert_eq!(believed.observe(&schedule, Pass), Some(Pass));
/// assert_eq!(believed.observe(&schedule, Fail), None);
/// assert_eq!(believed.observe(&schedule, Fail), Some(Fail));
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Hysteresis {
    believed: Option<Status>,
    /// Answers in a row that are all better, or all worse.
    streak: u32,
    /// What all of them agree on.
    agreed: Status,
}

impl Hysteresis {
    /// Nothing is believed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            believed: None,
            streak: 0,
            agreed: Status::Pass,
        }
    }

    /// What is believed; `None` before the first answer.
    #[must_use]
    pub const fn believed(&self) -> Option<Status> {
        self.believed
    }

    /// Believes this from now on, whatever the answers were.
    pub const fn set(&mut self, status: Status) {
        self.believed = Some(status);
        self.streak = 0;
    }

    /// One more answer: what is believed from now on, if that has changed.
    pub fn observe(&mut self, schedule: &Schedule, answer: Status) -> Option<Status> {
        let Some(believed) = self.believed else {
            self.set(answer);
            return Some(answer);
        };
        if answer == believed {
            self.streak = 0;
            return None;
        }
        let is_worse = answer > believed;
        let goes_on = self.streak > 0 && (self.agreed > believed) == is_worse;
        (self.streak, self.agreed) = match (goes_on, is_worse) {
            (false, _) => (1, answer),
            (true, true) => (self.streak.saturating_add(1), self.agreed.min(answer)),
            (true, false) => (self.streak.saturating_add(1), self.agreed.max(answer)),
        };
        let needed = if is_worse {
            schedule.fall
        } else {
            schedule.rise
        };
        if self.streak < needed {
            return None;
        }
        self.set(self.agreed);
        Some(self.agreed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks at the last answers, all of them, every time.
    fn naive(all: &[Status], rise: usize, fall: usize) -> Vec<Status> {
        let mut shown = Vec::new();
        let (mut believed, mut changed) = (all[0], 0);
        for now in 0..all.len() {
            let since = &all[changed + 1..=now.max(changed)];
            let last = |n: usize| since.len().checked_sub(n).map(|from| &since[from..]);
            if let Some(worse) = last(fall).filter(|l| l.iter().all(|s| *s > believed)) {
                (believed, changed) = (*worse.iter().min().unwrap(), now);
            } else if let Some(better) = last(rise).filter(|l| l.iter().all(|s| *s < believed)) {
                (believed, changed) = (*better.iter().max().unwrap(), now);
            }
            shown.push(believed);
        }
        shown
    }

    fn statuses() -> impl Strategy<Value = Vec<Status>> {
        let one = prop_oneof![Just(Status::Pass), Just(Status::Warn), Just(Status::Fail)];
        prop::collection::vec(one, 1..200)
    }

    proptest! {
        #[test]
        fn fault_083_it_agrees_with_who_looks_at_everything(
            all in statuses(), rise in 1_u32..6, fall in 1_u32..6,
        ) {
            let schedule = Schedule::builder().rise(rise).fall(fall).build().unwrap();
            let mut believed = Hysteresis::new();
            let mut changes = Vec::new();
            let mut shown = Vec::new();
            for (at, answer) in all.iter().enumerate() {
                let before = believed.believed();
                let change = believed.observe(&schedule, *answer);
                prop_assert_eq!(change.is_some(), believed.believed() != before);
                if change.is_some() {
                    changes.push(at);
                }
                shown.extend(believed.believed());
            }
            prop_assert_eq!(shown, naive(&all, rise as usize, fall as usize));
            for pair in changes.windows(2) {
                prop_assert!(pair[1] - pair[0] >= rise.min(fall) as usize);
            }
        }
    }
}
