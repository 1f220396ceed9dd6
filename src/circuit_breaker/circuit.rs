//! One circuit: the breaker of everything, or of one key.
//!
//! A good call through a closed circuit reads a word on its way in, and on its
//! way out counts on its thread's own stripe. Everything else takes the lock of
//! [`Phases`].

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::ends::Ticket;
use super::keys::Uses;
use super::locked::Cold;
use super::mode::Mode;
use super::odds::{self, Odds, WORDS};
use super::phases::Phases;
use super::policy::Policy;
use super::state::Common;
use super::word::Word;
use crate::clock::{Tick, nanos};
use crate::error::{Rejection, RejectionKind};
use crate::kernel::counter::Counters;
use crate::kernel::live::Live;
use crate::kernel::pending::{Pending, Place, width};
use crate::kernel::shared::pooled;
use crate::kernel::sync::{AtomicU32, AtomicU64, Mutex, Ordering, stripes};
use crate::kernel::window::Counts as Window;
use crate::key::KeyId;

/// Good ends by the bank they count in, then those that count in none.
pub(super) const SUCCESS: usize = 0;
pub(super) const SUCCESS_APART: usize = 2;
pub(super) const ADMITTED: usize = 3;
pub(super) const FAILED: usize = 4;
pub(super) const NEUTRAL: usize = 5;
pub(super) const CANCELLED: usize = 6;
pub(super) const REJECTED: usize = 7;
pub(super) const BYPASSED: usize = 8;
pub(super) const LATE: usize = 9;
pub(super) const TRIPS: usize = 10;
pub(super) const LEFT_CLOSED: usize = 11;
pub(super) const CLOSED: usize = 12;
/// For the kinds that refuse a share: calls that failed, requests, and requests that
/// were as if nobody had come. Nobody else reads them.
pub(super) const LOST: usize = 13;
pub(super) const ASKED: usize = 14;
pub(super) const FORGIVEN: usize = 15;
pub(super) type Counts = Counters<16>;

/// The sum of all good ends.
pub(super) fn succeeded(counters: &Counts) -> u64 {
    (SUCCESS..=SUCCESS_APART)
        .map(|which| counters.sum(which))
        .sum()
}

#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) common: Arc<Common>,
    pub(super) word: AtomicU64,
    /// Until when an open or half-open circuit refuses everything.
    pub(super) refuses_until: AtomicU64,
    /// The longest that it tells anybody to wait; of a kind that refuses a share, and
    /// tells nobody, how long its window is.
    pub(super) longest_wait: AtomicU64,
    /// The furthest ahead that `refuses_until` can lie.
    pub(super) longest_refusal: AtomicU64,
    /// Until when a good end needs no decision.
    pub(super) quiet_until: AtomicU64,
    pub(super) slow_threshold: AtomicU64,
    /// When calls that have not ended are looked at again.
    pub(super) sweep_at: AtomicU64,
    /// What the share of a kind that refuses one is calculated from.
    pub(super) odds: Live<WORDS>,
    pub(super) counters: Counts,
    pub(super) pending: OnceLock<Pending>,
    pub(super) cold: Mutex<Cold>,
    pub(super) uses: Uses,
    /// Which policy of the layer it follows.
    pub(super) version: AtomicU32,
}

pooled!(Circuit);

/// What an admission gives back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    /// [`Tick::MAX`]: not read.
    pub(super) start: Tick,
    pub(super) ticket: Ticket,
    /// Where it is counted while it is under way; `None` if it has never been
    /// pending.
    pub(super) place: Option<Place>,
}

/// In the place of a probe's number: whatever this call does says nothing.
pub(super) const OUTSIDE: u32 = u32::MAX;

impl Token {
    fn new(ticket: Ticket, start: Tick) -> Self {
        Self {
            start,
            ticket,
            place: None,
        }
    }

    /// Where it must be taken out when it ends.
    #[inline]
    pub(super) fn entered(&self) -> Option<Place> {
        self.place.filter(|place| *place != Place::NOWHERE)
    }

    #[inline]
    fn plain(word: Word, start: Tick) -> Self {
        let ticket = Ticket {
            generation: word.generation(),
            probe: 0,
        };
        Self::new(ticket, start)
    }
}

impl Circuit {
    pub(super) fn new(
        common: &Arc<Common>,
        policy: impl FnOnce() -> Policy,
        key: Option<KeyId>,
        now: Tick,
    ) -> Self {
        // Before the policy: one that is replaced in between is replaced here, too.
        let version = AtomicU32::new(common.version());
        let circuit = Self {
            common: Arc::clone(common),
            word: AtomicU64::new(0),
            refuses_until: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
            longest_refusal: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            slow_threshold: AtomicU64::new(0),
            sweep_at: AtomicU64::new(0),
            odds: Live::new([0; WORDS]),
            // There are many circuits with keys, and each is used by few threads.
            counters: Counters::with_owned(if key.is_some() { 0 } else { stripes() }),
            pending: OnceLock::new(),
            cold: Mutex::new(Cold {
                phases: Phases::new(policy(), key, now),
                past: None,
            }),
            uses: Uses::new(key.is_some()),
            version,
        };
        circuit.publish(&mut circuit.cold.lock(), now);
        circuit
    }

    /// Counts for the circuit, and for the layer if there are more of them.
    #[inline]
    pub(super) fn count(&self, which: usize) {
        self.counters.add(which, 1);
        if let Some(totals) = &self.common.totals {
            totals.add(which, 1);
        }
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    pub(super) fn now(&self) -> Tick {
        self.common.core.clock().now()
    }

    /// One more call through a circuit whose word is simple.
    #[inline]
    pub(super) fn begin(&self, word: Word) -> Token {
        self.counters.add(ADMITTED, 1);
        Token::plain(word, Tick::MAX)
    }

    /// One more call. `now` may be left out if the word does not want it.
    #[inline]
    pub(super) fn admit(&self, word: Word, now: Option<Tick>) -> Result<Token, Rejection> {
        if !word.is_plain() || self.common.core.is_overruled() {
            return self.admit_otherwise(now);
        }
        let start = word.start(now);
        if self.finds_overdue(start) {
            return self.admit_otherwise(now);
        }
        Ok(self.begin_at(word, start))
    }

    /// One more call through a circuit whose word is plain; a start that was not read
    /// is the end of time.
    #[inline]
    pub(super) fn begin_at(&self, word: Word, start: Tick) -> Token {
        self.count(ADMITTED);
        Token::plain(word, start)
    }

    /// Looks for calls that should have ended, if it is time for that; whether they
    /// have changed anything. A `now` that was not read is the end of time.
    #[inline]
    pub(super) fn finds_overdue(&self, now: Tick) -> bool {
        let due = now.as_nanos() >= self.sweep_at.load(Ordering::Relaxed);
        due && now != Tick::MAX && {
            self.sweep(now);
            !self.word().is_plain()
        }
    }

    #[cold]
    #[inline(never)]
    fn admit_otherwise(&self, now: Option<Tick>) -> Result<Token, Rejection> {
        let now = now.unwrap_or_else(|| self.now());
        let mode = self.common.mode();
        match mode {
            Mode::ForcedOpen => return Err(self.reject(RejectionKind::Closed, None)),
            Mode::Disabled => return Ok(self.outside()),
            Mode::ForcedClosed if !self.word().is_closed() => {
                self.with(now, |phases| self.keeps_closed(phases, now));
            }
            _ => {}
        }
        // In a ramp as well: what comes back half may hang again.
        let word = self.word();
        if word.is_closed() && !word.is_share() && word.is_timed() {
            self.finds_overdue(now);
        }
        let word = self.word();
        let asked = if word.is_share() {
            self.draw(word, now)
        } else if let Some(wait) = self.wait(now) {
            Err(Some(Duration::from_nanos(wait)))
        } else if word.is_plain() {
            Ok(Token::plain(word, word.start(Some(now))))
        } else {
            let ticket = self.with(now, |phases| phases.admit(now));
            let start = word.start(Some(now));
            ticket.map(|ticket| Token::new(ticket, start)).map_err(Some)
        };
        match asked {
            Ok(token) => {
                self.count(ADMITTED);
                Ok(token)
            }
            Err(_) if mode == Mode::Dark => {
                self.count(BYPASSED);
                Ok(self.outside())
            }
            Err(_) if mode == Mode::ForcedClosed => {
                self.count(BYPASSED);
                self.count(ADMITTED);
                let word = self.word();
                Ok(Token::plain(word, word.start(Some(now))))
            }
            Err(wait) => Err(self.reject(RejectionKind::Open, wait)),
        }
    }

    /// Draws whether a request is in the share that is refused.
    fn draw(&self, word: Word, now: Tick) -> Result<Token, Option<Duration>> {
        let left = self.quiet_until.load(Ordering::Acquire);
        let left = left.wrapping_sub(now.as_nanos()).wrapping_sub(1);
        // The slot is over; or the clock has gone back by a window.
        if left >= self.longest_wait.load(Ordering::Relaxed) {
            self.publish(&mut self.cold.lock(), now);
        }
        let share = self.refused_share();
        self.counters.add(ASKED, 1);
        if share > 0.0 && rand::random::<f64>() < share {
            return Err(None);
        }
        Ok(Token::plain(word, word.start(Some(now))))
    }

    /// The share of requests that is refused now.
    pub(super) fn refused_share(&self) -> f64 {
        if !self.word().is_share() {
            return 0.0;
        }
        let words = self.odds.load();
        let odds = Odds::from_words(&words);
        odds.share(odds::all(&words, self.sums(&odds)))
    }

    /// What that share is calculated from.
    pub(super) fn share_window(&self) -> Option<Window> {
        let words = self.word().is_share().then(|| self.odds.load())?;
        Some(odds::window(&words, self.sums(&Odds::from_words(&words))))
    }

    /// A call that the circuit does not look at.
    fn outside(&self) -> Token {
        self.count(ADMITTED);
        let ticket = Ticket {
            generation: 0,
            probe: OUTSIDE,
        };
        Token::new(ticket, Tick::MAX)
    }

    #[cold]
    pub(super) fn reject(&self, kind: RejectionKind, wait: Option<Duration>) -> Rejection {
        self.refuse(kind, wait.map(nanos))
    }

    #[inline]
    pub(super) fn refuse(&self, kind: RejectionKind, wait: Option<u64>) -> Rejection {
        self.count(REJECTED);
        let core = &self.common.core;
        let mut rejection = Rejection::before(kind, core.id());
        if let Some(wait) = wait {
            rejection = rejection.with_wait(wait);
        }
        if core.is_heard() {
            core.reject(rejection);
        }
        rejection
    }

    /// How many nanoseconds a call that comes at `now` is told to wait, if it is
    /// refused.
    #[inline]
    pub(super) fn wait(&self, now: Tick) -> Option<u64> {
        let left = || {
            let until = self.refuses_until.load(Ordering::Acquire);
            until.checked_sub(now.as_nanos()).filter(|left| *left > 0)
        };
        let mut wait = left()?;
        let longest = self.longest_wait.load(Ordering::Relaxed);
        if wait > longest && wait > self.longest_refusal.load(Ordering::Relaxed) {
            self.look_at_clock();
            wait = left()?;
        }
        Some(wait.min(longest))
    }

    /// Every request is refused, as far as one can tell without a clock.
    #[inline]
    pub(super) fn seems_shut(&self) -> bool {
        match self.common.mode() {
            Mode::ForcedOpen => true,
            Mode::Normal => self.refuses_until.load(Ordering::Relaxed) != 0,
            _ => false,
        }
    }

    /// Every request is refused at `now`. If not, it does not seem so any more.
    pub(super) fn is_shut(&self, now: impl FnOnce() -> Tick) -> bool {
        if !self.seems_shut() || self.common.mode() == Mode::ForcedOpen {
            return self.seems_shut();
        }
        let now = now();
        let until = self.refuses_until.load(Ordering::Acquire);
        if until != 0 && until <= now.as_nanos() {
            let (then, now) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.refuses_until.compare_exchange(until, 0, then, now);
        }
        self.seems_shut()
    }

    /// The call is not ready.
    #[inline]
    pub(super) fn pend(&self, token: &mut Token) {
        if token.place.is_none() {
            self.pend_first(token);
        }
    }

    #[inline(never)]
    fn pend_first(&self, token: &mut Token) {
        let word = self.word();
        token.place = Some(Place::NOWHERE);
        if token.start == Tick::MAX && word.judges_by_age() {
            token.start = self.now();
        } else if token.start != Tick::MAX && word.is_timed() && token.ticket.probe == 0 {
            token.place = self.enter(token).or(token.place);
        }
    }

    fn enter(&self, token: &Token) -> Option<Place> {
        let pending = self.pending.get().filter(|_| self.is_current(token))?;
        let limit = self.slow_threshold.load(Ordering::Relaxed);
        // The clock has gone back: nobody would look for long.
        let next = token.start.after_nanos(width(limit).saturating_mul(2));
        if self.sweep_at.load(Ordering::Relaxed) > next.as_nanos() {
            self.sweep_at.store(0, Ordering::Relaxed);
        }
        let place = pending.enter(token.start, limit, token.ticket.generation);
        // It may have opened in between; then this call is none of its business.
        place.filter(|place| self.is_current(token) || !pending.leave(*place))
    }

    fn is_current(&self, token: &Token) -> bool {
        let word = self.word();
        word.is_closed() && word.generation() == token.ticket.generation
    }
}
