//! One limit of any kind: how it measures, and what it has measured.

use super::gcra::{self, Decision, Gcra, Quota};
use super::log::{Log, Recent};
use super::tally::{Counted, Tally, Window};
use super::warm::{Paid, Ramp, Warm};
use crate::clock::{Tick, nanos};

/// What a limit says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It fits now.
    Free,
    /// It fits in so many nanoseconds, if nobody else comes first.
    Late(u64),
    /// It never fits.
    Never,
    /// The state was retired: look its key up again.
    Dead,
}

/// How a limit measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// A token bucket.
    Bucket(Quota),
    /// A window of the clock, or a sliding-window counter.
    Window(Window),
    /// A sliding log.
    Log(Recent),
    /// A rate that warms up.
    Warm(Ramp),
}

/// What was taken, to give it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// From a bucket.
    Bucket(gcra::Taken),
    /// From a window.
    Window(Counted),
    /// From a log, which takes nothing back.
    Log,
    /// From a rate that warms up.
    Warm(Paid),
}

impl Measure {
    /// The same, in force since when the other quota is.
    #[must_use]
    pub fn in_force_like(self, other: &Quota) -> Self {
        match self {
            Self::Bucket(quota) => Self::Bucket(quota.since_like(other)),
            other => other,
        }
    }

    /// As words, for [`Live`](super::live::Live); the first is below 256, and 0 stands
    /// for none.
    #[must_use]
    pub fn to_words(self) -> [u64; 6] {
        match self {
            Self::Bucket(quota) => words(1, quota.to_words()),
            Self::Window(window) => words(2, window.to_words()),
            Self::Log(recent) => words(3, recent.to_words()),
            Self::Warm(ramp) => words(4, ramp.to_words()),
        }
    }

    /// The one of [`to_words`](Self::to_words).
    #[must_use]
    pub fn from_words([kind, a, b, c, d, e]: [u64; 6]) -> Option<Self> {
        Some(match kind & 0xff {
            1 => Self::Bucket(Quota::from_words([a, b, c, d, e])),
            2 => Self::Window(Window::from_words([a, b, c])),
            3 => Self::Log(Recent::from_words([a, b])),
            4 => Self::Warm(Ramp::from_words([a, b, c, d, e])),
            _ => return None,
        })
    }
}

fn words<const N: usize>(kind: u64, numbers: [u64; N]) -> [u64; 6] {
    let mut words = [kind, 0, 0, 0, 0, 0];
    for (word, number) in words[1..].iter_mut().zip(numbers) {
        *word = number;
    }
    words
}

/// What a limit has measured.
#[derive(Debug)]
pub enum Meter {
    /// A token bucket.
    Bucket(Gcra),
    /// A count in windows.
    Window(Tally),
    /// A log.
    Log(Log),
    /// A rate that warms up.
    Warm(Warm),
}

impl Meter {
    /// One that has measured nothing.
    #[must_use]
    pub fn new(measure: &Measure) -> Self {
        match measure {
            Measure::Bucket(_) => Self::Bucket(Gcra::new()),
            Measure::Window(_) => Self::Window(Tally::default()),
            Measure::Log(recent) => Self::Log(Log::new(recent)),
            Measure::Warm(_) => Self::Warm(Warm::default()),
        }
    }

    /// To use it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Bucket(gcra) => View::Bucket(gcra),
            Self::Window(tally) => View::Window(tally),
            Self::Log(log) => View::Log(log),
            Self::Warm(warm) => View::Warm(warm),
        }
    }
}

/// A [`Meter`], wherever it lies. Each method wants a measure of its kind.
#[derive(Debug, Clone, Copy)]
pub enum View<'a> {
    /// A token bucket.
    Bucket(&'a Gcra),
    /// A count in windows.
    Window(&'a Tally),
    /// A log.
    Log(&'a Log),
    /// A rate that warms up.
    Warm(&'a Warm),
}

impl View<'_> {
    /// Whether it measures so.
    #[must_use]
    pub fn is_of(&self, measure: &Measure) -> bool {
        matches!(
            (self, measure),
            (Self::Bucket(_), Measure::Bucket(_))
                | (Self::Window(_), Measure::Window(_))
                | (Self::Log(_), Measure::Log(_))
                | (Self::Warm(_), Measure::Warm(_))
        )
    }

    /// What [`take`](Self::take) would say; it writes nothing.
    #[inline]
    #[must_use]
    pub fn look(&self, measure: &Measure, now: Tick, cost: u32) -> Look {
        match (self, measure) {
            (Self::Bucket(gcra), Measure::Bucket(quota)) => gcra.look(quota, now, cost),
            (Self::Window(tally), Measure::Window(window)) => tally.look(window, now, cost),
            (Self::Log(log), Measure::Log(recent)) => log.look(recent, now, cost),
            (Self::Warm(warm), Measure::Warm(ramp)) => warm.look(ramp, now, cost),
            _ => Look::Never,
        }
    }

    /// Takes `cost` at `now`.
    ///
    /// # Errors
    /// [`Look`] says why not; it is never [`Look::Free`].
    #[inline]
    pub fn take(&self, measure: &Measure, now: Tick, cost: u32) -> Result<Taken, Look> {
        match (self, measure) {
            (Self::Bucket(gcra), Measure::Bucket(quota)) => match gcra.take(quota, now, cost) {
                Ok((taken, _)) => Ok(Taken::Bucket(taken)),
                Err(Decision::Dead) => Err(Look::Dead),
                Err(Decision::Wait { wait, .. }) => Err(Look::Late(nanos(wait))),
                Err(_) => Err(Look::Never),
            },
            (Self::Window(tally), Measure::Window(window)) => {
                tally.take(window, now, cost).map(Taken::Window)
            }
            (Self::Log(log), Measure::Log(recent)) => {
                log.take(recent, now, cost).map(|()| Taken::Log)
            }
            (Self::Warm(warm), Measure::Warm(ramp)) => warm.take(ramp, now, cost).map(Taken::Warm),
            _ => Err(Look::Never),
        }
    }

    /// Gives back what was taken, as far as it still counts: never too much. `clock`
    /// tells the time.
    pub fn refund(&self, measure: &Measure, taken: &Taken, clock: impl Fn() -> Tick) {
        match (self, taken) {
            (Self::Bucket(gcra), Taken::Bucket(taken)) => {
                if let Measure::Bucket(quota) = measure {
                    gcra.refund(quota, taken, clock);
                }
            }
            (Self::Window(tally), Taken::Window(counted)) => tally.refund(counted),
            (Self::Warm(warm), Taken::Warm(paid)) => warm.refund(paid),
            _ => {}
        }
    }

    /// Takes `cost` whatever there is, up to `debt` requests below nothing.
    pub fn charge(&self, measure: &Measure, now: Tick, cost: u32, debt: u32) {
        match (self, measure) {
            (Self::Bucket(gcra), Measure::Bucket(quota)) => gcra.charge(quota, now, cost, debt),
            (Self::Window(tally), Measure::Window(window)) => tally.charge(window, now, cost),
            (Self::Log(log), Measure::Log(recent)) => log.charge(recent, now, cost),
            (Self::Warm(warm), Measure::Warm(ramp)) => warm.charge(ramp, now, cost),
            _ => {}
        }
    }

    /// What may still come at `now`, and in how many nanoseconds it is as if nobody had
    /// come.
    #[must_use]
    pub fn left(&self, measure: &Measure, now: Tick) -> (u32, u64) {
        match (self, measure) {
            (Self::Bucket(gcra), Measure::Bucket(quota)) => match gcra.level(quota, now) {
                Some(level) => (quota.remaining(level, now), nanos(quota.reset(level, now))),
                None => (0, 0),
            },
            (Self::Window(tally), Measure::Window(window)) => tally.left(window, now),
            (Self::Log(log), Measure::Log(recent)) => log.left(recent, now),
            (Self::Warm(warm), Measure::Warm(_)) => warm.left(now),
            _ => (0, 0),
        }
    }

    /// Retires it if it is like a new one at `now`; what it was, for
    /// [`revive`](Self::revive).
    #[must_use]
    pub fn retire(&self, measure: &Measure, now: Tick) -> Option<u64> {
        match (self, measure) {
            (Self::Bucket(gcra), Measure::Bucket(quota)) => gcra.retire(quota, now),
            (Self::Window(tally), Measure::Window(window)) => tally.retire(window, now),
            (Self::Log(log), Measure::Log(recent)) => log.retire(recent, now),
            (Self::Warm(warm), Measure::Warm(_)) => warm.retire(now),
            _ => None,
        }
    }

    /// Takes back a retirement.
    pub fn revive(&self, word: u64) {
        match self {
            Self::Bucket(gcra) => gcra.revive(word),
            Self::Window(tally) => tally.revive(word),
            Self::Log(log) => log.revive(word),
            Self::Warm(warm) => warm.revive(word),
        }
    }
}
