//! Who may be chosen: a snapshot that never changes.

use std::fmt;
use std::sync::Arc;

use super::member::Member;
use super::pick::{Draw, End, Pick};
use super::state::State;
use crate::classify::Outcome;
use crate::clock::Tick;
use crate::kernel::core::Core;
use crate::kernel::guard::Settle;
use crate::kernel::shared::pooled;

/// The endpoints that may be called, in levels, and the choice among them. It
/// holds no service: threads keep handles on it for a while after its end.
pub(super) struct Set {
    pub(super) core: Arc<Core>,
    pub(super) state: Arc<State>,
    pub(super) members: Box<[Arc<Member>]>,
    pub(super) levels: Box<[Level]>,
    /// Whether any choice needs the time.
    pub(super) timed: bool,
}

pooled!(Set);

/// Members that follow each other, and are chosen from together.
pub(super) struct Level {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Draws below this, and above that of the level before, fall on it.
    pub(super) upto: u64,
    pub(super) pick: Box<dyn Pick>,
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Picked {
    pub(super) level: usize,
    /// The place among all members.
    pub(super) place: usize,
}

/// What a call gives back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    picked: Picked,
    began: Tick,
    /// That were in flight when it began.
    others: u32,
}

impl Set {
    /// The level whose turn it is.
    #[inline]
    pub(super) fn level(&self, draw: &mut Draw) -> usize {
        if self.levels.len() <= 1 {
            return 0;
        }
        let word = draw.word();
        let level = self.levels.iter().position(|level| word < level.upto);
        level.unwrap_or(0)
    }

    /// Somebody of a level; `None` if there is nobody.
    #[inline]
    pub(super) fn pick(&self, level: usize, now: Tick, draw: &mut Draw) -> Option<Picked> {
        let Level {
            start, end, pick, ..
        } = self.levels.get(level)?;
        let members = self.members.get(*start..*end)?;
        let pick = || pick.pick(members, now, draw);
        let place = match self.core.contain("picker", pick) {
            Some(place) if place < members.len() => place,
            _ => draw.below(members.len()),
        };
        let place = start + place;
        (place < *end).then_some(Picked { level, place })
    }

    /// A call begins.
    #[inline]
    pub(super) fn begin(&self, picked: Picked, now: Tick) -> Token {
        let member = self.members.get(picked.place);
        let others = member.map_or(0, |member| member.load.0.tally.began());
        self.state.began();
        Token {
            picked,
            began: now,
            others,
        }
    }
}

impl Settle for Set {
    type Token = Token;

    #[inline]
    fn settle(&self, token: &Token, outcome: Outcome) {
        let Some(member) = self.members.get(token.picked.place) else {
            return;
        };
        if self.timed {
            self.tell_picker(member, token, outcome);
        }
        self.state.ended(member, outcome);
    }
}

impl Set {
    fn tell_picker(&self, member: &Member, token: &Token, outcome: Outcome) {
        let end = End {
            began: token.began,
            others: token.others,
            now: self.core.clock().now(),
            outcome,
        };
        if let Some(level) = self.levels.get(token.picked.level) {
            let ended = || level.pick.ended(member, end);
            self.core.contain("picker", ended);
        }
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("members", &self.members)
            .field("levels", &self.levels.len())
            .finish_non_exhaustive()
    }
}
