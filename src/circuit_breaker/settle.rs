//! How the end of a call reaches its circuit.

use super::circuit::{
    CANCELLED, Circuit, FAILED, LATE, LOST, NEUTRAL, OUTSIDE, SUCCESS, SUCCESS_APART, Token,
};
use super::ends::{End, EndKind, Settled};
use super::word::Word;
use crate::classify::{Failure, Outcome};
use crate::clock::Tick;
use crate::kernel::guard::Settle;
use crate::kernel::sync::Ordering;

impl Settle for Circuit {
    type Token = Token;

    #[inline]
    fn settle(&self, token: &Token, outcome: Outcome) {
        let word = self.word();
        let simple = matches!(outcome, Outcome::Success)
            && word.is_simple_end(token.ticket)
            && token.entered().is_none()
            && self.quiet_until.load(Ordering::Relaxed) != 0;
        if simple {
            self.counters.add(SUCCESS + word.bank(), 1);
        } else {
            self.settle_usually(word, token, outcome);
        }
    }
}

impl Circuit {
    #[inline(never)]
    fn settle_usually(&self, word: Word, token: &Token, outcome: Outcome) {
        let entered = token.place.is_some();
        let overdue = if entered {
            self.leave_place(token)
        } else {
            None
        };
        let usual = matches!(outcome, Outcome::Success)
            && token.ticket.probe == 0
            && word.is_closed()
            && word.generation() == token.ticket.generation
            && overdue.is_none();
        if usual && self.is_quiet(word, token) {
            self.count(SUCCESS + word.bank());
        } else {
            self.settle_otherwise(word, token, outcome, overdue);
        }
        self.uses.leave();
        self.common.core.tell_finished(outcome);
    }

    /// Takes the call out of those under way; or tells its slice, if a sweep had
    /// done that before.
    #[inline(never)]
    fn leave_place(&self, token: &Token) -> Option<u32> {
        let place = token.entered()?;
        let left = self.pending.get()?.leave(place);
        (!left).then(|| place.slice())
    }

    /// A good end that was not slow, at a time when good ends decide nothing.
    #[inline]
    fn is_quiet(&self, word: Word, token: &Token) -> bool {
        if word.is_share() {
            return true;
        }
        let now = match word.reads_end() {
            true => self.now(),
            false => Tick::ZERO,
        };
        !(word.is_timed() && self.is_old(token, now))
            && now.as_nanos() < self.quiet_until.load(Ordering::Acquire)
    }

    /// Whether the call has lasted for too long until `now`, as far as one knows.
    #[inline]
    fn is_old(&self, token: &Token, now: Tick) -> bool {
        let took = now.as_nanos().saturating_sub(token.start.as_nanos());
        token.start != Tick::MAX && took >= self.slow_threshold.load(Ordering::Relaxed)
    }

    #[cold]
    #[inline(never)]
    fn settle_otherwise(&self, word: Word, token: &Token, outcome: Outcome, overdue: Option<u32>) {
        let now = self.now();
        let kind = match outcome {
            Outcome::Success => EndKind::Success,
            Outcome::Failure(Failure::Overload { retry_after }) => EndKind::Failure { retry_after },
            Outcome::Failure(_) => EndKind::Failure { retry_after: None },
            Outcome::Neutral => EndKind::Neutral,
            Outcome::Cancelled => self.dropped(word, token, now),
        };
        let counted = match outcome {
            Outcome::Success => SUCCESS_APART,
            Outcome::Failure(_) => FAILED,
            Outcome::Neutral => NEUTRAL,
            Outcome::Cancelled => CANCELLED,
        };
        let slow = match outcome {
            // It has not begun.
            Outcome::Cancelled if token.place.is_none() => None,
            _ => (word.is_timed() && self.is_old(token, now))
                .then(|| now.saturating_since(token.start)),
        };
        let is_neutral = matches!(kind, EndKind::Neutral);
        let current = word.generation() == token.ticket.generation;
        let says_nothing = is_neutral
            && token.ticket.probe == 0
            && slow.is_none()
            && overdue.filter(|_| current).is_none();
        let is_evidence = !says_nothing || (word.is_share() && current);
        if token.ticket.probe == OUTSIDE || !is_evidence {
            self.count(counted);
            return;
        }
        if !current || word.is_share() {
            self.count(counted);
            match kind {
                _ if !current => self.count(LATE),
                EndKind::Neutral => self.forgive(token.start, now),
                EndKind::Failure { .. } => self.counters.add(LOST, 1),
                EndKind::Success => {}
            }
            return;
        }
        let end = End {
            ticket: token.ticket,
            kind,
            slow,
            overdue,
        };
        let settled = self.with(now, |phases| {
            self.keeps_closed(phases, now);
            let settled = phases.settle(end, now);
            if settled == Settled::Usual {
                self.count(SUCCESS + phases.bank());
                phases.take_good(self.banks());
            } else {
                self.count(counted);
            }
            let retry_after = match kind {
                EndKind::Failure { retry_after } => retry_after,
                _ => None,
            };
            self.decide(phases, now, retry_after);
            settled
        });
        if settled == Settled::Late {
            self.count(LATE);
        }
    }

    /// What counts for a call that its caller dropped.
    fn dropped(&self, word: Word, token: &Token, now: Tick) -> EndKind {
        let old = || token.place.is_some() && self.is_old(token, now);
        match word.drop_fails() || (word.judges_by_age() && old()) {
            true => EndKind::Failure { retry_after: None },
            false => EndKind::Neutral,
        }
    }
}
