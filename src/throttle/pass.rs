//! What a request is told that may pass, and its place in a bucket's future.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::state::{ADMITTED, BYPASSED, CANCELLED, Draw, State, WAITED};
use crate::clock::Tick;
use crate::error::{Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::gcra::Reservation;
use crate::kernel::shared::Shared;
use crate::policy::Override;

/// A request may pass: now, or when its reserved time has come.
#[derive(Debug)]
pub(super) enum Pass {
    Now,
    Later(Reserved),
}

/// A place in a bucket's future; dropped before [`Reserved::take`], it is given
/// back.
#[derive(Debug)]
pub(super) struct Reserved {
    state: Shared<State>,
    draw: Draw,
    /// Gone once it was used or given back.
    reservation: Option<Reservation>,
    pub(super) due: Tick,
    wait: Duration,
}

impl Reserved {
    /// A place that was taken at `now`, `wait` ahead.
    pub(super) fn new(
        state: Shared<State>,
        draw: Draw,
        reservation: Reservation,
        now: Tick,
        wait: Duration,
    ) -> Self {
        Self {
            state,
            draw,
            reservation: Some(reservation),
            due: now.saturating_add(wait),
            wait,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Its time has come.
    pub(super) fn take(&mut self) {
        if self.reservation.take().is_some() {
            self.state.counters.add(WAITED, 1);
            self.state.counters.add(ADMITTED, 1);
            self.state.core.tell(Event::Waited(self.wait));
        }
    }

    /// What an operator has ordered meanwhile: to pass, or not to.
    pub(super) fn ordered(&mut self) -> Option<Result<(), Rejection>> {
        Some(match self.state.core.order() {
            Override::None => return None,
            Override::Close => Err(self.refuse(RejectionKind::Closed)),
            Override::Bypass => {
                self.give_back();
                self.state.counters.add(BYPASSED, 1);
                Ok(())
            }
        })
    }

    /// Refuses it after all.
    pub(super) fn refuse(&mut self, kind: RejectionKind) -> Rejection {
        self.give_back();
        self.state.reject(kind)
    }

    fn give_back(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            // Where a thread ends, the map of keys may be unusable already: then
            // the place stays empty.
            let cancel = || self.state.cancel(self.draw, reservation);
            let _ = catch_unwind(AssertUnwindSafe(cancel));
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.reservation.is_some() {
            self.state.counters.add(CANCELLED, 1);
            self.give_back();
        }
    }
}
