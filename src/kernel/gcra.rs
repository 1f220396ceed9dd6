//! The generic cell rate algorithm (ITU-T I.371, in its virtual scheduling
//! form) in one word and one compare-and-swap.
//!
//! The word is the *theoretical arrival time* (TAT): when the bucket will be
//! full again. Whole nanoseconds are too coarse for it: at 3·10⁸ a second the
//! emission interval would round from 3.33 to 3 ns, 11 % too fast. So time is
//! counted in **units of which an emission interval has a whole number**: up to
//! eight per nanosecond, 64 bits hold at least 73 years of them. Where the
//! interval is a whole number of nanoseconds, or halves, thirds or quarters of
//! one (100 a second, 30, 1024), a tick is a whole number of units
//! too, and everything is exact. Elsewhere (7 a second, 999) the current time is
//! rounded down, by less than a quarter of a nanosecond and without accumulating:
//! less than the clock itself rounds.
//!
//! All such times are even. The lowest bit of the word says by which of two *forms*
//! it is to be read: a bucket goes over to another quota by writing the form that
//! is not in use, and then the word. So whoever has read a word has read its form,
//! or cannot swap that word.

mod form;
#[cfg(feature = "throttle")]
mod refund;

use std::time::Duration;

use self::form::Form;
#[cfg(feature = "throttle")]
pub use self::refund::Taken;
use super::quota::{LAST, units};
pub use super::quota::{Level, Quota, QuotaError};
use super::sync::{AtomicU64, Ordering, spin};
use crate::clock::Tick;

/// What a bucket answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Now.
    Admit(Level),
    /// Now would be too early.
    Wait {
        /// Until it may pass: exact, if nobody else comes first.
        wait: Duration,
        /// Its place, if it offered to wait that long: then it is sure.
        reserved: Option<Reservation>,
        /// How full the bucket is.
        level: Level,
    },
    /// The cost is above the burst: never.
    Never,
    /// The bucket was retired: look its key up again.
    Dead,
}

/// What a bucket answers at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Now.
    Admit,
    /// Now would be too early, by so many nanoseconds: [`Decision::Wait`] without a
    /// place.
    Late(u64),
    /// Nothing yet: [`Gcra::admit`] knows.
    Unsure,
}

/// A place in a bucket's future, for [`Gcra::cancel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    before: u64,
    after: u64,
    /// What both are to be read by.
    quota: Quota,
}

/// The word of a bucket that was retired.
const DEAD: u64 = u64::MAX;
/// The word of a bucket that is being carried over to another quota.
const BUSY: u64 = u64::MAX - 1;

/// The word of a bucket that nobody has drawn from: its form is that of no quota, and the first
/// draw writes the other one, which lies beside the word.
const FRESH: u64 = 1;

/// One bucket.
#[derive(Debug)]
#[repr(C)]
pub struct Gcra {
    word: AtomicU64,
    /// Written while the word is `BUSY`.
    forms: [Form; 2],
    #[cfg(feature = "throttle")]
    refunds: refund::Refunds,
}

/// What a word holds: a TAT, and which form it has.
#[derive(Debug, Clone, Copy)]
struct Word(u64);

impl Word {
    #[inline]
    fn tat(self) -> u64 {
        self.0 & !1
    }

    /// Another TAT of this form.
    #[inline]
    fn with(self, tat: u64) -> u64 {
        tat | (self.0 & 1)
    }
}

impl Default for Gcra {
    fn default() -> Self {
        Self::new()
    }
}

impl Gcra {
    /// A full bucket.
    #[must_use]
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(FRESH),
            forms: Default::default(),
            #[cfg(feature = "throttle")]
            refunds: refund::Refunds::default(),
        }
    }

    /// Asks for `cost` at `now` and without patience: [`admit`](Self::admit) in the
    /// fewest steps, which leaves to it whatever is out of the ordinary.
    #[inline]
    pub fn ask(&self, quota: &Quota, now: Tick, cost: u32) -> Answer {
        self.ask_if(quota, now, cost, || true)
    }

    /// As [`ask`](Self::ask), of a bucket that may be another one's by now: `is_current` says so
    /// once the bucket has been read.
    #[inline]
    pub fn ask_if(
        &self,
        quota: &Quota,
        now: Tick,
        cost: u32,
        is_current: impl FnOnce() -> bool,
    ) -> Answer {
        match self.take_first(quota, now, [cost], is_current) {
            Ok(_) => Answer::Admit,
            Err(answer) => answer,
        }
    }

    /// Takes the first of these costs that is there, and tells which; else it
    /// answers as [`ask`](Self::ask) does for the last of them.
    #[inline(always)]
    pub(super) fn take_first<const N: usize>(
        &self,
        quota: &Quota,
        now: Tick,
        costs: [u32; N],
        is_current: impl FnOnce() -> bool,
    ) -> Result<usize, Answer> {
        let word = Word(self.word.load(Ordering::Acquire));
        if !self.form(word).is_of(quota) || !is_current() {
            return Err(Answer::Unsure);
        }
        let units = quota.units(now);
        let tat = word.tat();
        let mut last = None;
        for (at, cost) in costs.into_iter().enumerate() {
            last = None;
            if let Some(cost) = quota.units_of(cost) {
                // A mark in place of a time is too far ahead to pass.
                let (next, earliest) = quota.after(tat, units, cost);
                if units >= earliest {
                    let taken = self.swap(word, word.with(next));
                    return taken.then_some(at).ok_or(Answer::Unsure);
                }
                last = Some(earliest);
            }
        }
        let changed = || self.word.load(Ordering::Relaxed) != word.0;
        match last {
            Some(earliest) if word.0 < BUSY && !quota.is_unlikely(tat, units) && !changed() => {
                Err(Answer::Late(quota.wait(earliest, now)))
            }
            _ => Err(Answer::Unsure),
        }
    }

    /// Asks for `cost` at `now`, offering to wait for up to `patience` (at most
    /// the quota's). A cost of 0 counts as 1. A refusal writes nothing, but for
    /// the first one after the clock went back.
    #[inline]
    pub fn admit(&self, quota: &Quota, now: Tick, cost: u32, patience: Duration) -> Decision {
        self.admit_if(quota, now, cost, patience, || true)
    }

    /// As [`admit`](Self::admit), of a bucket that may be another one's by now: it is then a
    /// dead one.
    #[inline]
    pub fn admit_if(
        &self,
        quota: &Quota,
        now: Tick,
        cost: u32,
        patience: Duration,
        is_current: impl Fn() -> bool,
    ) -> Decision {
        let Some(cost) = quota.units_of(cost.max(1)) else {
            return Decision::Never;
        };
        let units = quota.units(now);
        loop {
            let Some(word) = self.load_if(quota, now, &is_current) else {
                return Decision::Dead;
            };
            let tat = word.tat();
            let (next, earliest) = quota.after(tat, units, cost);
            if units >= earliest {
                if self.swap(word, word.with(next)) {
                    return Decision::Admit(Level(next));
                }
                continue;
            }
            let wait = Duration::from_nanos(quota.wait(earliest, now));
            if wait <= patience && next <= quota.most(units) {
                let (before, after) = (word.0, word.with(next));
                if !self.swap(word, after) {
                    continue;
                }
                let quota = *quota;
                return Decision::Wait {
                    wait,
                    reserved: Some(Reservation {
                        before,
                        after,
                        quota,
                    }),
                    level: Level(next),
                };
            }
            // The clock was wrong and went back: the bucket is set to as empty as it
            // can be, or it would refuse until the clock is there again.
            if quota.is_unlikely(tat, units) {
                self.swap(word, word.with(quota.most(units)));
            } else if self.word.load(Ordering::Relaxed) == word.0 {
                return Decision::Wait {
                    wait,
                    reserved: None,
                    level: Level(tat),
                };
            }
        }
    }

    /// Goes over to another quota, which `publish` puts in force meanwhile. What
    /// the bucket has is kept, up to the new burst: a burst that is lowered leaves
    /// no debt, and one that is raised again mints nothing.
    pub fn change(&self, old: &Quota, new: &Quota, now: Tick, publish: impl FnOnce()) {
        if new.is_like(old) {
            return publish();
        }
        let word = loop {
            match self.load(old, now) {
                None => return publish(),
                Some(word) if self.swap(word, BUSY) => break word,
                Some(_) => {}
            }
        };
        publish();
        let lacks = word.tat().saturating_sub(old.units(now));
        self.enter(
            word,
            new,
            now,
            new.lacks_after(lacks, old.scale, old.cell, old.full),
        );
    }

    /// How full the bucket is at `now`; `None` if it was retired.
    #[must_use]
    pub fn level(&self, quota: &Quota, now: Tick) -> Option<Level> {
        self.load(quota, now).map(|word| Level(word.tat()))
    }

    /// Gives a reservation back, if nobody has reserved behind it and the quota is
    /// still the same. Otherwise its place stays empty: those behind it were told
    /// their times already.
    pub fn cancel(&self, reservation: Reservation) {
        self.cancel_if(reservation, || true);
    }

    /// As [`cancel`](Self::cancel), in a bucket that may be another one's by now; it says
    /// whether it did.
    pub fn cancel_if(&self, reservation: Reservation, is_current: impl FnOnce() -> bool) -> bool {
        let after = Word(reservation.after);
        // Under another quota the same number is another time.
        self.form(after).is_of(&reservation.quota)
            && is_current()
            && self.swap(after, reservation.before)
    }

    /// Retires the bucket if it was full before `now`, that is, like a new one. A new one in
    /// its place then has a later word: nobody takes one for the other.
    pub fn try_retire(&self, quota: &Quota, now: Tick) -> bool {
        match self.load(quota, now) {
            None => true,
            Some(word) => word.tat() < quota.units(now) && self.swap(word, DEAD),
        }
    }

    /// Makes a dead bucket a full one.
    pub fn renew(&self) {
        self.form(Word(FRESH)).cell.store(0, Ordering::Relaxed);
        self.word.store(FRESH, Ordering::Release);
    }

    #[inline]
    fn form(&self, word: Word) -> &Form {
        &self.forms[usize::from(word.0 & 1 != 0)]
    }

    #[inline]
    fn swap(&self, old: Word, new: u64) -> bool {
        self.word
            .compare_exchange(old.0, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The word, in the form of `quota`; `None` if the bucket is dead.
    #[inline]
    fn load(&self, quota: &Quota, now: Tick) -> Option<Word> {
        self.load_if(quota, now, || true)
    }

    /// As [`load`](Self::load); `None` also if the bucket is another one's by now.
    #[inline]
    fn load_if(&self, quota: &Quota, now: Tick, is_current: impl Fn() -> bool) -> Option<Word> {
        loop {
            // First the word, then its form: whoever reads a word also reads the form
            // it was written in, or, if the bucket has gone over twice meanwhile, a
            // newer one: but then cannot swap the word.
            let word = Word(self.word.load(Ordering::Acquire));
            if word.0 == DEAD || !is_current() {
                return None;
            }
            if word.0 < BUSY && self.form(word).is_of(quota) {
                return Some(word);
            }
            self.carry_over(quota, now, word);
        }
    }

    /// Expresses a bucket in the units of another quota. What it has is kept as a
    /// number of requests, so that going there and back mints nothing; a faster
    /// rate refills it faster from now on.
    #[cold]
    fn carry_over(&self, quota: &Quota, now: Tick, word: Word) {
        if word.0 == BUSY || !self.swap(word, BUSY) {
            spin();
            return;
        }
        let form = self.form(word);
        let scale = form.scale.load(Ordering::Relaxed);
        let cell = form.cell.load(Ordering::Relaxed);
        let full = form.full.load(Ordering::Relaxed);
        let since = form.since.load(Ordering::Relaxed);
        // The later quota has filled the bucket since it came into force, whether or
        // not anybody asked: the earlier one has not. Which of the two is the later
        // one depends on whether who asks has heard of the change.
        let at = match since.max(quota.since) {
            // Nobody has said, or nobody has drawn.
            since if since == 0 || cell == 0 => now,
            since => now.min(Tick::from_nanos(since)),
        };
        let lacks = match cell {
            0 => 0,
            _ => {
                let lacks = word.tat().saturating_sub(units(scale, at));
                quota.lacks_after(lacks, scale, cell, full)
            }
        };
        self.enter(word, quota, at, lacks);
    }

    /// Ends what began with `BUSY` in the place of `word`: at that time the bucket
    /// lacks so many units of `quota`.
    fn enter(&self, word: Word, quota: &Quota, at: Tick, lacks: u128) {
        let lacks = u64::try_from(lacks).unwrap_or(u64::MAX).min(quota.ahead());
        #[cfg(feature = "throttle")]
        self.refunds.void();
        // Rounded up to what is even. Of a full one, too, this time and not zero: a
        // word that is the same under two quotas could be taken for the other.
        let fresh = (quota.units(at).saturating_add(lacks).min(LAST - 1) + 1) & !1;
        let next = Word((word.0 & 1) ^ 1);
        self.form(next).set(quota);
        self.word.store(next.with(fresh), Ordering::Release);
    }
}
