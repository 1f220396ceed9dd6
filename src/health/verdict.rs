//! What is known of a check, and what it means for a group: pure decisions over
//! (state, time, observation).

use std::borrow::Cow;
use std::time::Duration;

use super::policy::Criticality;
use crate::clock::Tick;
use crate::probe::{Hysteresis, Observation, Observed, Schedule, Status};

/// What is known of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It has not answered yet.
    NotYet,
    /// It has not been heard of for too long.
    Stale,
    /// What is believed of it.
    Believed(Status),
}

impl Known {
    /// What it means for a group; `unknown` before the first answer.
    pub(super) fn weigh(self, criticality: Criticality, unknown: Status) -> Status {
        let status = match self {
            Self::NotYet => unknown,
            Self::Stale => Status::Fail,
            Self::Believed(status) => status,
        };
        match criticality {
            Criticality::Critical => status,
            Criticality::Degrading => status.min(Status::Warn),
        }
    }

    /// How well the check itself is.
    pub(super) fn status(self) -> Status {
        self.weigh(Criticality::Critical, Status::Fail)
    }
}

/// What is remembered of a check.
#[derive(Debug)]
pub(super) struct Record {
    schedule: Schedule,
    pub(super) stale_after: Duration,
    hysteresis: Hysteresis,
    /// When it was last heard of, or set up.
    heard: Tick,
    pub(super) last: Option<Last>,
    pub(super) runs: u64,
    pub(super) failures: u64,
}

/// The last answer.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) output: Cow<'static, str>,
    pub(super) observed: Option<Observed>,
    pub(super) took: Duration,
    pub(super) finished: Tick,
}

/// Of what is believed of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: Option<Status>,
    pub(super) to: Status,
}

impl Record {
    pub(super) fn new(schedule: Schedule, stale_after: Duration, now: Tick) -> Self {
        Self {
            schedule,
            stale_after,
            hysteresis: Hysteresis::new(),
            heard: now,
            last: None,
            runs: 0,
            failures: 0,
        }
    }

    /// From when on it is stale unless it is heard of.
    pub(super) fn fresh_until(&self) -> Tick {
        self.heard.saturating_add(self.stale_after)
    }

    pub(super) fn known(&self, now: Tick) -> Known {
        if now >= self.fresh_until() {
            return Known::Stale;
        }
        let believed = self.hysteresis.believed();
        believed.map_or(Known::NotYet, Known::Believed)
    }

    /// It has run once more.
    pub(super) fn observe(&mut self, seen: Observation) -> Option<Change> {
        let known = self.known(seen.finished);
        let from = match known {
            Known::NotYet => None,
            Known::Believed(status) => Some(status),
            Known::Stale => Some(Status::Fail),
        };
        if known == Known::Stale && self.hysteresis.believed().is_some() {
            // It has been taken for failed: what it says from now on must be believed
            // again.
            self.hysteresis.set(Status::Fail);
        }
        let status = seen.finding.status();
        self.hysteresis.observe(&self.schedule, status);
        self.runs = self.runs.saturating_add(1);
        self.failures += u64::from(!status.works());
        self.heard = self.heard.max(seen.finished);
        self.last = Some(Last {
            took: seen.took(),
            finished: seen.finished,
            observed: seen.finding.observed(),
            output: seen.finding.into_output(),
        });
        let to = self.hysteresis.believed()?;
        (from != Some(to)).then_some(Change { from, to })
    }
}

/// A group's status with the time up to which it stays so by itself, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Status,
    pub(super) until: Tick,
}

impl Verdict {
    /// What nothing but an event changes.
    pub(super) const fn for_good(status: Status) -> Self {
        Self {
            status,
            until: Tick::MAX,
        }
    }

    /// The worst of all, up to the first time that one of them becomes stale.
    pub(super) fn worst_of(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter()
            .fold(Self::for_good(Status::Pass), |a, b| Self {
                status: a.status.max(b.status),
                until: a.until.min(b.until),
            })
    }

    pub(super) fn to_word(self) -> u64 {
        self.until.as_nanos() & !3 | self.status as u64
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self {
            status: match word & 3 {
                0 => Status::Pass,
                1 => Status::Warn,
                _ => Status::Fail,
            },
            until: Tick::from_nanos(word & !3),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::probe::{End, Finding};

    fn status() -> impl Strategy<Value = Status> {
        prop_oneof![Just(Status::Pass), Just(Status::Warn), Just(Status::Fail)]
    }

    proptest! {
        #[test]
        fn a_verdict_survives_its_word(status in status(), nanos: u64) {
            let verdict = Verdict { status, until: Tick::from_nanos(nanos) };
            let back = Verdict::from_word(verdict.to_word());
            prop_assert_eq!(back.status, status);
            // Never later than it was, and earlier by less than a clock can tell.
            prop_assert!(back.until <= verdict.until);
            prop_assert!(verdict.until.saturating_since(back.until).as_nanos() < 4);
        }

        /// Against who keeps every answer with its time.
        #[test]
        fn fault_083_a_stuck_check_is_a_failure(
            answers in prop::collection::vec((1_u64..50, status()), 0..30), asked in 0_u64..100,
        ) {
            let schedule = Schedule::builder().fall(1).rise(1).build().unwrap();
            let stale = Duration::from_nanos(25);
            let mut record = Record::new(schedule, stale, Tick::ZERO);
            let mut now = 0;
            let mut last = None;
            for (wait, status) in answers {
                now += wait;
                let finished = Tick::from_nanos(now);
                let finding = Finding::from(status);
                let seen = Observation { finding, end: End::Answered, started: finished, finished };
                record.observe(seen);
                last = Some(status);
            }
            let expected = match last {
                _ if asked >= 25 => Known::Stale,
                None => Known::NotYet,
                Some(status) => Known::Believed(status),
            };
            prop_assert_eq!(record.known(Tick::from_nanos(now + asked)), expected);
            // A clock that goes back makes nothing stale.
            prop_assert_ne!(record.known(Tick::ZERO), Known::Stale);
        }
    }

    #[test]
    fn worst_of_by_the_draft() {
        let good = |status| Verdict {
            status,
            until: Tick::from_nanos(8),
        };
        for (of, worst) in [
            (&[][..], Status::Pass),
            (&[Status::Pass, Status::Warn, Status::Pass], Status::Warn),
            (&[Status::Pass, Status::Fail, Status::Warn], Status::Fail),
        ] {
            assert_eq!(Verdict::worst_of(of.iter().map(|s| good(*s))).status, worst);
        }
        let sooner = Verdict {
            until: Tick::from_nanos(4),
            ..good(Status::Pass)
        };
        let both = Verdict::worst_of([good(Status::Warn), sooner]);
        assert_eq!((both.status, both.until.as_nanos()), (Status::Warn, 4));
    }

    #[test]
    fn what_a_check_means_by_its_criticality() {
        use Criticality::{Critical, Degrading};
        use Status::{Fail, Pass, Warn};
        for (known, criticality, unknown, weight) in [
            (Known::NotYet, Critical, Pass, Pass),
            (Known::NotYet, Critical, Fail, Fail),
            (Known::NotYet, Degrading, Fail, Warn),
            (Known::Stale, Critical, Pass, Fail),
            (Known::Stale, Degrading, Pass, Warn),
            (Known::Believed(Warn), Critical, Pass, Warn),
            (Known::Believed(Fail), Critical, Pass, Fail),
            (Known::Believed(Fail), Degrading, Pass, Warn),
            (Known::Believed(Pass), Degrading, Fail, Pass),
        ] {
            assert_eq!(known.weigh(criticality, unknown), weight, "{known:?}");
        }
    }

    #[test]
    fn what_was_stale_must_be_believed_again() {
        let schedule = Schedule::builder().rise(2).build().unwrap();
        let mut record = Record::new(schedule, Duration::from_nanos(10), Tick::ZERO);
        let mut observe = |at| {
            let finished = Tick::from_nanos(at);
            let (finding, end) = (Finding::pass(), End::Answered);
            record.observe(Observation {
                finding,
                end,
                started: finished,
                finished,
            })
        };
        let change = |from, to| Some(Change { from, to });
        assert_eq!(observe(1), change(None, Status::Pass));
        assert_eq!(observe(20), None, "still failed");
        assert_eq!(observe(21), change(Some(Status::Fail), Status::Pass));
    }
}
