//! Requests counted in windows of the clock, in one word and one compare-and-swap:
//! a *fixed window*, or a *sliding-window counter* that weighs the window before
//! (as Cloudflare's: `previous × (1 − elapsed / width) + current`).
//!
//! The word holds the number of the window and what was counted in it (and in the
//! one before). A width of `2^b` nanoseconds leaves `b - 1` bits for counts, without
//! the number ever wrapping. The highest bit says by which of two widths it is to be
//! read, as in [`Gcra`](super::gcra::Gcra).

use super::meter::Look;
use super::sync::{AtomicU64, Ordering, spin};
use crate::clock::Tick;

/// How much may pass in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Nanoseconds, shifted up by one; the lowest bit is set in a sliding one.
    form: u64,
    permits: u64,
    /// How far below nothing a charge can leave it.
    debt: u64,
}

const DEAD: u64 = u64::MAX;
const BUSY: u64 = u64::MAX - 1;
const FORM: u64 = 1 << 63;
/// A clock that is further back than this (and a window) was wrong before.
const UNLIKELY: u64 = 1 << 42;

/// One count.
#[derive(Debug, Default)]
pub struct Tally {
    word: AtomicU64,
    /// Written while the word is `BUSY`.
    forms: [AtomicU64; 2],
}

/// What was counted, for [`Tally::refund`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    form: u64,
    window: u64,
    cost: u64,
}

/// A word, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    window: u64,
    before: u64,
    current: u64,
}

impl View {
    fn new(window: u64, before: u64, current: u64) -> Self {
        Self {
            window,
            before,
            current,
        }
    }
}

impl Window {
    /// `None` if `permits` are none, or more than the word can count: for a width of
    /// `2^b` ns, `2^(b-1) - 1`, and sliding `2^((b-1)/2) - 1`.
    #[must_use]
    pub fn new(permits: u32, nanos: u64, sliding: bool, debt: u32) -> Option<Self> {
        let form = nanos.checked_mul(2)?.checked_add(u64::from(sliding))?;
        let quota = Self {
            form,
            permits: permits.into(),
            debt: debt.into(),
        };
        let fits = nanos >= 16 && (1..=quota.count()).contains(&quota.permits);
        fits.then_some(quota)
    }

    /// As words.
    #[must_use]
    pub fn to_words(self) -> [u64; 3] {
        [self.form, self.permits, self.debt]
    }

    /// The one of [`to_words`](Self::to_words).
    #[must_use]
    pub fn from_words([form, permits, debt]: [u64; 3]) -> Self {
        Self {
            form,
            permits,
            debt,
        }
    }

    fn width(self) -> u64 {
        (self.form >> 1).max(1)
    }

    fn sliding(self) -> bool {
        self.form & 1 != 0
    }

    /// Bits of one count.
    fn bits(self) -> u32 {
        let both = 62_u32.saturating_sub(self.width().leading_zeros());
        if self.sliding() { both / 2 } else { both }
    }

    /// The highest count.
    fn count(self) -> u64 {
        !(u64::MAX << self.bits())
    }

    /// Nobody counts further than this.
    fn most(self) -> u64 {
        self.permits.saturating_add(self.debt).min(self.count())
    }

    fn shift(self) -> u32 {
        if self.sliding() {
            self.bits() * 2
        } else {
            self.bits()
        }
    }

    fn number(self, now: Tick) -> u64 {
        // The last one would read as a mark.
        let last = !(u64::MAX << (63 - self.shift())) - 1;
        (now.as_nanos() / self.width()).min(last)
    }

    fn read(self, word: u64) -> View {
        let word = word & !FORM;
        let current = word & self.count();
        let before = match self.sliding() {
            true => word >> self.bits() & self.count(),
            false => 0,
        };
        View::new(word >> self.shift(), before, current)
    }

    fn write(self, view: View) -> u64 {
        let before = match self.sliding() {
            true => view.before.min(self.count()) << self.bits(),
            false => 0,
        };
        view.window << self.shift() | before | view.current.min(self.count())
    }

    /// What a word says at `now`. Whoever is late, by a window that another thread has
    /// begun already, is in that window too.
    fn at(self, view: View, now: Tick) -> (View, u64) {
        let number = self.number(now);
        let elapsed = now.as_nanos() - number * self.width();
        if view.window > number {
            let ahead = (view.window - number).saturating_mul(self.width());
            if ahead > UNLIKELY.saturating_add(self.width()) {
                // The clock was wrong: as empty as it can be.
                let view = View::new(number, 0, self.permits);
                return (view, elapsed);
            }
            return (view, 0);
        }
        let passed = number - view.window;
        let owes = view.current.min(self.most());
        let view = match (passed, self.sliding()) {
            (0, _) => return (view, elapsed),
            (1, true) => View::new(number, view.current, 0),
            (_, true) => View::new(number, 0, 0),
            (_, false) => View::new(
                number,
                0,
                owes.saturating_sub(self.permits.saturating_mul(passed)),
            ),
        };
        (view, elapsed)
    }

    /// When `cost` fits, in nanoseconds after the beginning of the view's window.
    fn fits_after(self, view: View, cost: u64) -> u64 {
        let width = self.width();
        let room = self.permits.saturating_sub(cost);
        if !self.sliding() {
            let over = view.current.min(self.most()).saturating_sub(room);
            return over.div_ceil(self.permits.max(1)).saturating_mul(width);
        }
        // The share of the window before may be at most what is left.
        let after = |before: u64, room: u64| match before {
            0 => 0,
            before => {
                let share = u128::from(room) * u128::from(width) / u128::from(before);
                width - u64::try_from(share).unwrap_or(width).min(width)
            }
        };
        let here = match room.checked_sub(view.current) {
            Some(room) => after(view.before, room),
            None => width,
        };
        match here < width {
            true => here,
            // In the next one, or the one after that.
            false => width.saturating_add(after(view.current, room)),
        }
    }
}

impl Tally {
    /// Takes `cost` at `now`: what, or why not.
    pub fn take(&self, quota: &Window, now: Tick, cost: u32) -> Result<Counted, Look> {
        let cost = u64::from(cost.max(1));
        if cost > quota.permits {
            return Err(Look::Never);
        }
        loop {
            let word = self.load(quota, now).ok_or(Look::Dead)?;
            let (view, elapsed) = quota.at(quota.read(word), now);
            let wait = quota.fits_after(view, cost).saturating_sub(elapsed);
            if wait > 0 {
                // A clock that went back shows as a window that is written anew.
                let moved = quota.read(word).window > view.window;
                if !moved || self.swap(word, word & FORM | quota.write(view)) {
                    return Err(Look::Late(Self::wait(quota, view, now, wait)));
                }
                continue;
            }
            let next = View {
                current: view.current.saturating_add(cost),
                ..view
            };
            if self.swap(word, word & FORM | quota.write(next)) {
                return Ok(Counted {
                    form: quota.form,
                    window: view.window,
                    cost,
                });
            }
        }
    }

    /// What [`take`](Self::take) would say; it writes nothing.
    pub fn look(&self, quota: &Window, now: Tick, cost: u32) -> Look {
        let cost = u64::from(cost.max(1));
        if cost > quota.permits {
            return Look::Never;
        }
        let Some(word) = self.load(quota, now) else {
            return Look::Dead;
        };
        let seen = quota.read(word);
        let (view, elapsed) = quota.at(seen, now);
        match quota.fits_after(view, cost).saturating_sub(elapsed) {
            0 => Look::Free,
            // A clock that was wrong is set right by taking.
            _ if seen.window > view.window => Look::Free,
            wait => Look::Late(Self::wait(quota, view, now, wait)),
        }
    }

    /// For those whose clock is behind the window, it begins later.
    fn wait(quota: &Window, view: View, now: Tick, wait: u64) -> u64 {
        let begins = view.window.saturating_mul(quota.width());
        wait.saturating_add(begins.saturating_sub(now.as_nanos()))
    }

    /// Gives back what was counted, if its window still counts.
    pub fn refund(&self, counted: &Counted) {
        let quota = Window {
            form: counted.form,
            permits: 0,
            debt: 0,
        };
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word >= BUSY || self.form(word) != counted.form {
                return;
            }
            let mut view = quota.read(word);
            match view.window.checked_sub(counted.window) {
                Some(0) => view.current = view.current.saturating_sub(counted.cost),
                Some(1) => view.before = view.before.saturating_sub(counted.cost),
                _ => return,
            }
            if self.swap(word, word & FORM | quota.write(view)) {
                return;
            }
        }
    }

    /// Counts `cost` whatever there is, up to the debt that the quota allows.
    pub fn charge(&self, quota: &Window, now: Tick, cost: u32) {
        while let Some(word) = self.load(quota, now) {
            let (mut view, _) = quota.at(quota.read(word), now);
            let sum = view.current.saturating_add(cost.into());
            view.current = sum.min(quota.most()).max(view.current);
            if self.swap(word, word & FORM | quota.write(view)) {
                return;
            }
        }
    }

    /// What may still come at `now`, and in how many nanoseconds nothing is counted
    /// any more; nothing of a retired one.
    pub fn left(&self, quota: &Window, now: Tick) -> (u32, u64) {
        let Some(word) = self.load(quota, now) else {
            return (0, 0);
        };
        let (view, elapsed) = quota.at(quota.read(word), now);
        let width = quota.width();
        let rest = u128::from(width - elapsed.min(width)) * u128::from(view.before);
        let before = u64::try_from(rest.div_ceil(width.into())).unwrap_or(u64::MAX);
        let used = view.current.saturating_add(before);
        let windows = match (view.current, view.before) {
            (0, 0) => return (saturated(quota.permits), 0),
            (0, _) => 1,
            _ if quota.sliding() => 2,
            (current, _) => current.div_ceil(quota.permits.max(1)),
        };
        let reset = width.saturating_mul(windows).saturating_sub(elapsed);
        (saturated(quota.permits.saturating_sub(used)), reset)
    }

    /// Retires it if nothing is counted at `now`; what it was, for
    /// [`revive`](Self::revive).
    pub fn retire(&self, quota: &Window, now: Tick) -> Option<u64> {
        let word = self.load(quota, now)?;
        let (view, _) = quota.at(quota.read(word), now);
        let idle = (view.current, view.before) == (0, 0);
        (idle && self.swap(word, DEAD)).then_some(word)
    }

    /// Takes back a retirement.
    pub fn revive(&self, word: u64) {
        self.swap(DEAD, word);
    }

    fn form(&self, word: u64) -> u64 {
        self.forms[usize::from(word & FORM != 0)].load(Ordering::Acquire)
    }

    fn swap(&self, old: u64, new: u64) -> bool {
        self.word
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The word in the form of `quota`; `None` if it is dead.
    fn load(&self, quota: &Window, now: Tick) -> Option<u64> {
        loop {
            let word = self.word.load(Ordering::Acquire);
            if word < BUSY && self.form(word) == quota.form {
                return Some(word);
            }
            if word == DEAD {
                return None;
            }
            self.carry_over(quota, now, word);
        }
    }

    /// Counts in windows of another width. What was counted in a window that reaches
    /// into the new one stays counted, also above the new permits: so going there and
    /// back mints nothing.
    #[cold]
    fn carry_over(&self, quota: &Window, now: Tick, word: u64) {
        if word == BUSY || !self.swap(word, BUSY) {
            spin();
            return;
        }
        let mut view = View::new(quota.number(now), 0, 0);
        let form = self.form(word);
        if form != 0 {
            let old = Window { form, ..*quota };
            let counted = old.read(word);
            let begins = view.window.saturating_mul(quota.width());
            let turn = counted.window.saturating_mul(old.width());
            let end = turn.saturating_add(old.width());
            let earlier = begins.saturating_sub(quota.width());
            for (end, count) in [(end, counted.current), (turn, counted.before)] {
                if end > begins {
                    view.current = view.current.saturating_add(count);
                } else if end > earlier {
                    view.before = view.before.saturating_add(count);
                }
            }
        }
        let side = !word & FORM;
        self.forms[usize::from(side != 0)].store(quota.form, Ordering::Release);
        self.word.store(side | quota.write(view), Ordering::Release);
    }
}

fn saturated(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
