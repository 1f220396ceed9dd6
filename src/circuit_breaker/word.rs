//! What a call needs to know of its circuit, in one word.

use super::ends::Ticket;
use super::phases::Phases;
use super::policy::{Dropped, Kind};
use crate::clock::Tick;
use crate::event::CircuitState;

const STATE: u64 = 0b11;
const OPEN: u64 = 1;
const RAMP: u64 = 1 << 2;
const SHARE: u64 = 1 << 3;
const BANK: u64 = 1 << 4;
const TIMED: u64 = 1 << 5;
const WINDOW: u64 = 1 << 6;
const BY_AGE: u64 = 1 << 7;
const DROP_FAILS: u64 = 1 << 8;
/// Somebody listens, or there are more circuits: more than the word must be
/// looked at.
const LOUD: u64 = 1 << 9;
const GENERATION: u64 = !0 << 32;

/// The state with its generation, and what the policy wants of every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn of(phases: &Phases, loud: bool) -> Self {
        let policy = &phases.policy;
        let state = match phases.state() {
            CircuitState::Closed => 0,
            CircuitState::Open => OPEN,
            CircuitState::HalfOpen => 2,
        };
        let timed = policy.is_timed();
        let flags = [
            (phases.is_ramping(), RAMP),
            (policy.kind != Kind::States, SHARE),
            (phases.bank() == 1, BANK),
            (timed, TIMED),
            (timed || policy.time_window.is_some(), WINDOW),
            (policy.dropped == Dropped::ByAge, BY_AGE),
            (policy.dropped == Dropped::Failure, DROP_FAILS),
            (loud, LOUD),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(set, flag)| set.then_some(flag));
        let generation = u64::from(phases.generation()) << 32;
        Self(flags.fold(state | generation, |word, flag| word | flag))
    }

    /// Calls pass, and there is nothing to do for them but to count.
    #[inline]
    pub(super) fn is_simple(self) -> bool {
        self.0 & (STATE | RAMP | SHARE | TIMED | LOUD) == 0
    }

    /// The good end of a call with this ticket is only to be counted, unless the
    /// windows want to know.
    #[inline]
    pub(super) fn is_simple_end(self, ticket: Ticket) -> bool {
        let looked_at = GENERATION | STATE | SHARE | WINDOW | LOUD;
        let bits = u64::from(ticket.generation) << 32;
        ticket.probe == 0 && self.0 & looked_at == bits
    }

    /// Calls pass without another thought.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.0 & (STATE | RAMP | SHARE) == 0
    }

    /// A call needs to know the time when it comes.
    #[inline]
    pub(super) fn wants_time(self) -> bool {
        self.0 & (STATE | RAMP | SHARE | TIMED) != 0
    }

    #[inline]
    pub(super) fn is_closed(self) -> bool {
        self.0 & STATE == 0
    }

    /// Refuses a share of the requests.
    #[inline]
    pub(super) fn is_share(self) -> bool {
        self.0 & SHARE != 0
    }

    #[inline]
    pub(super) fn bank(self) -> usize {
        usize::from(self.0 & BANK != 0)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the upper half
    pub(super) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// How long a call takes matters: its begin is read at the admission.
    #[inline]
    pub(super) fn is_timed(self) -> bool {
        self.0 & TIMED != 0
    }

    /// When a call that comes `now` began, if that matters, as also where a neutral end
    /// is taken from the slot of its begin; else the end of time.
    #[inline]
    pub(super) fn start(self, now: Option<Tick>) -> Tick {
        now.filter(|_| self.0 & (TIMED | SHARE) != 0)
            .unwrap_or(Tick::MAX)
    }

    /// When a call ends matters.
    #[inline]
    pub(super) fn reads_end(self) -> bool {
        self.0 & (WINDOW | SHARE) == WINDOW
    }

    /// A dropped call is judged by its age: unless it is known, its begin is read
    /// when it is pending.
    #[inline]
    pub(super) fn judges_by_age(self) -> bool {
        self.0 & BY_AGE != 0
    }

    pub(super) fn drop_fails(self) -> bool {
        self.0 & DROP_FAILS != 0
    }
}
