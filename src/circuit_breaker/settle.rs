//! How the end of a call reaches its circuit.

use std::time::Duration;

use super::circuit::{
    CANCELLED, Circuit, DROPPED, FAILED, LATE, NEUTRAL, OUTSIDE, SUCCESS, SUCCESS_APART, Token,
};
use super::ends::{End, EndKind};
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
            && token.place.is_none()
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
        let overdue = self.leave_place(token);
        let usual = matches!(outcome, Outcome::Success)
            && token.ticket.probe == 0
            && word.is_closed()
            && word.generation() == token.ticket.generation
            && !overdue;
        if usual && self.is_quiet(word, token) {
            self.count(SUCCESS + word.bank());
        } else {
            self.settle_otherwise(word, token, outcome, overdue);
        }
        self.uses.leave();
        self.common.core.tell_finished(outcome);
    }

    /// Takes the call out of those under way, and says whether a sweep had done
    /// that before.
    #[inline]
    fn leave_place(&self, token: &Token) -> bool {
        match (token.place, self.pending.get()) {
            (Some(place), Some(pending)) => !pending.leave(place),
            _ => false,
        }
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
        self.slow_by(word, token, now).is_none()
            && now.as_nanos() < self.quiet_until.load(Ordering::Acquire)
    }

    /// How long the call took until now, if that was too long and matters.
    #[inline]
    fn slow_by(&self, word: Word, token: &Token, now: Tick) -> Option<Duration> {
        self.age(token, now).filter(|_| word.is_timed())
    }

    /// How long the call took until now, if that was too long.
    #[inline]
    fn age(&self, token: &Token, now: Tick) -> Option<Duration> {
        let threshold = self.slow_threshold.load(Ordering::Relaxed);
        let took = now.saturating_since(token.start);
        let started = token.start != Tick::MAX;
        (started && took >= Duration::from_nanos(threshold)).then_some(took)
    }

    #[cold]
    #[inline(never)]
    fn settle_otherwise(&self, word: Word, token: &Token, outcome: Outcome, overdue: bool) {
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
        let says_nothing = matches!(kind, EndKind::Neutral) && token.ticket.probe == 0;
        if word.is_share() || says_nothing || token.ticket.probe == OUTSIDE {
            self.count(counted);
            if matches!(
                (outcome, kind),
                (Outcome::Cancelled, EndKind::Failure { .. })
            ) {
                self.count(DROPPED);
            }
            return;
        }
        if word.generation() != token.ticket.generation {
            self.count(counted);
            self.count(LATE);
            return;
        }
        let end = End {
            ticket: token.ticket,
            kind,
            slow: match kind {
                EndKind::Neutral => None,
                _ => self.slow_by(word, token, now),
            },
            overdue,
        };
        let in_time = self.with(now, |phases| {
            let in_time = phases.settle(end, now);
            // A good end in the closed state is taken from its bank.
            if in_time && phases.is_usual(&end) {
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
            in_time
        });
        if !in_time {
            self.count(LATE);
        }
    }

    /// What counts for a call that its caller dropped.
    fn dropped(&self, word: Word, token: &Token, now: Tick) -> EndKind {
        match word.drop_fails() || (word.judges_by_age() && self.age(token, now).is_some()) {
            true => EndKind::Failure { retry_after: None },
            false => EndKind::Neutral,
        }
    }
}
