//! Which stage a request is in, told from inside of it.

use std::cell::Cell;
use std::sync::Arc;

use super::state::State;
use crate::kernel::shared::{give_back, lend};

thread_local! {
    static CURRENT: Cell<Option<(Arc<State>, u32)>> = const { Cell::new(None) };
}

/// The request that is being worked on here, if a [`Watchdog`](super::Watchdog)'s layer
/// is around it, has come to this stage: `"authorise"`, `"database"`. Of a longer name,
/// the first 24 bytes are kept.
///
/// It holds until the next one, for the innermost layer. It costs a few stores, and
/// nothing where there is no layer. `tokio::spawn` leaves the scope.
pub fn stage(name: &'static str) {
    let _ = CURRENT.try_with(|cell| {
        let current = cell.take();
        if let Some((state, slot)) = &current {
            state.table.set_stage(*slot, name);
        }
        cell.set(current);
    });
}

/// Puts a call in force until it is dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Scope {
    before: Option<(Arc<State>, u32)>,
}

impl Scope {
    #[inline]
    pub(super) fn enter(state: &Arc<State>, slot: u32) -> Self {
        let current = (lend(state), slot);
        Self {
            before: CURRENT
                .try_with(|cell| cell.replace(Some(current)))
                .unwrap_or(None),
        }
    }
}

impl Drop for Scope {
    #[inline]
    fn drop(&mut self) {
        let before = self.before.take();
        if let Ok(Some((state, _))) = CURRENT.try_with(|cell| cell.replace(before)) {
            give_back(state);
        }
    }
}
