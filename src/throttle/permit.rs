//! What was taken and may be given back.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::several::Tickets;
use super::state::{ADMITTED, BYPASSED, Draw, REFUNDED, State};
use crate::clock::Tick;
use crate::error::{Rejection, RejectionKind};
use crate::kernel::shared::Shared;
use crate::policy::Override;

/// What a request has taken.
pub(super) struct Spent {
    state: Shared<State>,
    draw: Draw,
    tickets: Tickets,
}

impl fmt::Debug for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spent").field(&self.draw).finish()
    }
}

impl Spent {
    /// Takes `cost`; `None` if the request may pass and has taken nothing.
    pub(super) fn take(
        state: &Shared<State>,
        draw: Draw,
        cost: u32,
        now: Tick,
    ) -> Result<Option<Self>, Rejection> {
        let order = state.core.order();
        if order == Override::Close {
            return Err(state.reject(RejectionKind::Closed));
        }
        if cost == 0 {
            state.counters.add(ADMITTED, 1);
            return Ok(None);
        }
        match state.ask_all(draw, cost, now) {
            Ok(tickets) => {
                state.counters.add(ADMITTED, 1);
                let state = state.clone();
                Ok(Some(Self {
                    state,
                    draw,
                    tickets,
                }))
            }
            Err(_) if order == Override::Bypass => {
                state.counters.add(BYPASSED, 1);
                Ok(None)
            }
            Err(no) => Err(state.refuse_all(no)),
        }
    }

    pub(super) fn refund(self) {
        // Where a thread ends, the map of keys may be unusable already: then what was
        // taken stays so.
        let refund = || self.state.refund(self.draw, &self.tickets);
        if catch_unwind(AssertUnwindSafe(refund)).is_ok() {
            self.state.counters.add(REFUNDED, 1);
        }
    }
}

/// What [`Handle::reserve`](super::Handle::reserve) has taken. Dropped, it is given
/// back; [`spend`](Self::spend) keeps it.
#[derive(Debug)]
#[must_use = "dropped, it is given back at once"]
pub struct Permit {
    spent: Option<Spent>,
}

impl Permit {
    pub(super) fn new(spent: Option<Spent>) -> Self {
        Self { spent }
    }

    /// The request was sent: nothing is given back.
    pub fn spend(mut self) {
        self.spent = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(spent) = self.spent.take() {
            spent.refund();
        }
    }
}
