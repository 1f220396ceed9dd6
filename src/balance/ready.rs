//! Who may be chosen: a snapshot that never changes.

use std::sync::Arc;

use super::member::Member;
use super::pick::{Draw, Pick, Picker};
use crate::clock::Tick;

/// Endpoints of one level of priority, and the choice among them.
pub(super) struct Level {
    pub(super) members: Box<[Arc<Member>]>,
    pub(super) pick: Box<dyn Pick>,
}

impl Level {
    pub(super) fn new(members: Box<[Arc<Member>]>, picker: &dyn Picker) -> Self {
        let pick = picker.prepare(&members);
        Self { members, pick }
    }

    /// Somebody of it; `None` if there is nobody.
    #[inline]
    pub(super) fn pick(&self, now: Tick, draw: &mut Draw) -> Option<usize> {
        let len = self.members.len();
        match self.pick.pick(&self.members, now, draw) {
            place if place < len => Some(place),
            _ => len.checked_sub(1).map(|_| draw.below(len)),
        }
    }
}
