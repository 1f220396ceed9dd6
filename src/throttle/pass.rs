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

/// What a request waits for.
#[derive(Debug)]
enum Place {
    /// A place in a bucket's future.
    Kept(Reservation),
    /// To ask again, if it is not too late then.
    Asks { cost: u32, until: Tick },
}

/// A request that waits; dropped before [`Reserved::take`], its place is given
/// back.
#[derive(Debug)]
pub(super) struct Reserved {
    state: Shared<State>,
    draw: Draw,
    /// Gone once it was used or given back.
    place: Option<Place>,
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
            place: Some(Place::Kept(reservation)),
            due: now.saturating_add(wait),
            wait,
        }
    }

    /// Nothing but the promise to ask again, `wait` after `now`.
    pub(super) fn again(
        state: Shared<State>,
        draw: Draw,
        cost: u32,
        now: Tick,
        wait: Duration,
        until: Tick,
    ) -> Self {
        Self {
            state,
            draw,
            place: Some(Place::Asks { cost, until }),
            due: now.saturating_add(wait),
            wait,
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Its time has come: to pass, to wait on until this time, or to be refused.
    pub(super) fn take(&mut self) -> Result<Option<Tick>, Rejection> {
        match self.place.take() {
            None => return Ok(None),
            Some(Place::Kept(_)) => self.state.counters.add(ADMITTED, 1),
            Some(Place::Asks { cost, until }) => {
                let now = self.state.core.clock().now();
                let patience = until.saturating_since(now);
                let asked = State::decide(&self.state, self.draw, cost, now, patience);
                if let Pass::Later(mut next) = asked? {
                    self.place = next.place.take();
                    self.wait = self.wait.saturating_add(next.wait);
                    self.due = next.due;
                    return Ok(Some(self.due));
                }
            }
        }
        self.state.counters.add(WAITED, 1);
        self.state.core.tell(Event::Waited(self.wait));
        Ok(None)
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
        if let Some(Place::Kept(reservation)) = self.place.take() {
            // Where a thread ends, the map of keys may be unusable already: then
            // the place stays empty.
            let cancel = || self.state.cancel(self.draw, reservation);
            let _ = catch_unwind(AssertUnwindSafe(cancel));
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.state.counters.add(CANCELLED, 1);
            self.give_back();
        }
    }
}
