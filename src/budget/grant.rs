//! What a request has paid, and what an attempt was granted.

use super::{Balance, State};
use crate::classify::Outcome;
use crate::kernel::shared::Shared;

/// What a request has to do with a budget after its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paid {
    /// Nothing more: it has paid, here or further outside.
    Done,
    /// Its ends count.
    Open,
}

/// One further attempt, until it is dropped.
#[derive(Debug)]
#[must_use = "an attempt that is under way holds its grant"]
pub(crate) struct Grant {
    pub(super) state: Shared<State>,
    pub(super) taken: Taken,
    /// The attempt has not begun: what was taken goes back unless it does.
    pub(super) waits: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Taken {
    /// Nothing is to be given back.
    Free,
    /// Of what requests have paid in.
    Share,
    /// Thousandths of tokens, which a success may bring back.
    Tokens(u64),
    /// A place among the attempts under way.
    Place,
}

impl Grant {
    /// The attempt is still to begin.
    #[cfg(any(feature = "retry", feature = "hedge"))]
    pub(crate) fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// It begins.
    #[cfg(any(feature = "retry", feature = "hedge"))]
    pub(crate) fn begin(&mut self) {
        self.waits = false;
    }

    /// The attempt ended.
    pub(crate) fn ended(&self, outcome: Outcome) {
        let price = match self.taken {
            Taken::Tokens(price) => price,
            Taken::Free | Taken::Share | Taken::Place => 0,
        };
        self.state.ended(outcome, price);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        match (self.taken, &self.state.balance) {
            (Taken::Place, Balance::InFlight { flight, .. }) => flight.give_back(),
            (Taken::Share, Balance::Ratio { share, terms, .. }) if self.waits => {
                share.give_back(*terms);
            }
            (Taken::Tokens(price), Balance::Tokens(tokens, _)) if self.waits => {
                tokens.bring(price);
            }
            _ => {}
        }
    }
}
