//! How many further attempts all callers may make together.
//!
//! A retry or a hedge helps the one request, and is one request more for a
//! service that has too much to do. A [`Budget`] bounds them for all. Give clones
//! of one budget to as many layers as call the same service, retries and hedges
//! alike: where one is inside another, a request pays in at the outermost, once (with
//! a layer of *another* budget between them, once more). Of several retries, each is
//! paid for.
//!
//! ```
//! use tower_keep::Setup;
//! use tower_keep::budget::{Budget, Policy};
//!
//! // One further attempt for twenty requests, and five a second besides.
//! let policy = Policy::builder().ratio(1, 20).floor(5).build()?;
//! let budget = Budget::with(policy, Setup::named("payments"));
//! assert_eq!(budget.snapshot().granted, 0);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! A budget bounds what is added; **it does not end an overload**. Where a
//! service runs close to its capacity, the work that has piled up keeps every
//! call late although nobody retries: what ends that is a service that drops
//! what nobody waits for (its deadline, a short queue).
//!
//! A retry asks before its pause, a hedge before its service is ready. If it never
//! begins, because the caller has gone, the service does not get ready or the
//! deadline comes, what it was granted goes back,
//! but for what the `floor` gave: that is a rate, and the time has passed.
//!
//! # Cost
//! A request: a store or two into counters of its own thread; no clock reading,
//! no lock. A budget by tokens: one load, and a write while tokens are missing.
//! A further attempt: one read-modify-write; a ratio reads the clock when what
//! was saved is spent.

mod grant;
mod rule;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::grant::Taken;
pub(crate) use self::grant::{Grant, Paid};
use self::rule::{Costs, Rule};
pub use self::rule::{Policy, PolicyBuilder};
use crate::attempt;
use crate::classify::Outcome;
use crate::error::LayerId;
use crate::kernel::budget::{InFlight, Share, Terms, Tokens};
use crate::kernel::core::{Core, enter};
use crate::kernel::counter::Counters;
use crate::kernel::gcra::{Decision, Gcra, Quota};
use crate::kernel::shared::{Shared, pooled};
use crate::policy::{Override, Ratio};
use crate::registry::{Inspect, Report, Setup};

/// A budget for further attempts. Clones are the same budget.
#[derive(Clone)]
pub struct Budget {
    state: Shared<State>,
}

#[derive(Debug)]
struct State {
    core: Core,
    policy: Policy,
    balance: Balance,
    granted: Counters<1>,
    refused: Counters<1>,
}

#[derive(Debug)]
enum Balance {
    Ratio {
        share: Share,
        terms: Terms,
        floor: Option<(Quota, Gcra)>,
    },
    Tokens(Tokens, Costs),
    InFlight {
        flight: InFlight,
        share: Ratio,
        least: u32,
    },
}

pooled!(State);

/// Where a budget stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Further attempts that would be granted now, one after the other.
    pub balance: u64,
    /// Further attempts that were granted, those among them that never began.
    pub granted: u64,
    /// Those that were not.
    pub refused: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Budget {
    /// A budget of this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with(policy, Setup::default())
    }

    /// As [`new`](Self::new), with a name, a clock, a registry.
    #[must_use]
    pub fn with(policy: Policy, setup: Setup) -> Self {
        let (core, registry) = Core::new("budget", setup);
        let balance = match policy.rule {
            Rule::Ratio { terms, floor } => Balance::Ratio {
                share: Share::default(),
                terms,
                floor: floor.map(|quota| (quota, Gcra::new())),
            },
            Rule::Tokens(costs) => Balance::Tokens(Tokens::default(), costs),
            Rule::InFlight { share, least } => Balance::InFlight {
                flight: InFlight::default(),
                share,
                least,
            },
        };
        let state = Arc::new(State {
            core,
            policy,
            balance,
            granted: Counters::with_owned(0),
            refused: Counters::with_owned(0),
        });
        enter(registry, state.core.id(), &state);
        Self {
            state: Shared::from_arc(state),
        }
    }

    /// The budget of a layer that was given none: it has the layer's name and
    /// clock, and stands beside it in the registry.
    pub(crate) fn of_layer(policy: Policy, setup: &Setup) -> Self {
        let setup = Setup {
            listeners: Vec::new(),
            ..setup.clone()
        };
        Self::with(policy, setup)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.state.core.name()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.state.policy
    }

    /// Where it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.snapshot()
    }

    /// Overrules the policy, until it is called with [`Override::None`]:
    /// [`Override::Bypass`] grants every further attempt, [`Override::Close`]
    /// none.
    pub fn set_override(&self, order: Override) {
        self.state.core.set_order(order);
    }

    /// Which one it is, for the attempts of those that have paid in.
    #[inline]
    pub(crate) fn id(&self) -> LayerId {
        self.state.core.id()
    }

    /// A request begins, of this thread: once for each, whatever number of attempts
    /// and of layers it takes.
    #[inline]
    pub(crate) fn begin(&self, thread: usize) -> Paid {
        let state = &*self.state;
        if attempt::has_paid_into(state.core.id()) {
            return Paid::Done;
        }
        match &state.balance {
            Balance::Ratio { share, .. } => {
                share.pay_from(thread);
                Paid::Done
            }
            Balance::Tokens(..) => Paid::Open,
            Balance::InFlight { flight, .. } => {
                flight.begin();
                Paid::Open
            }
        }
    }

    /// It ended: once for each that began.
    #[inline]
    pub(crate) fn end(&self, paid: Paid) {
        if let (Paid::Open, Balance::InFlight { flight, .. }) = (paid, &self.state.balance) {
            flight.end();
        }
    }

    /// The first attempt of a request ended. Those after it tell their [`Grant`].
    #[inline]
    pub(crate) fn first_ended(&self, paid: Paid, outcome: Outcome) {
        if let Paid::Open = paid {
            self.state.ended(outcome, 0);
        }
    }

    /// Asks for a further attempt after one that ended so; of a hedge, after one
    /// that is late ([`Outcome::Neutral`]).
    pub(crate) fn withdraw(&self, cause: Outcome) -> Option<Grant> {
        let taken = match self.state.core.order() {
            Override::Bypass => Some(Taken::Free),
            Override::Close => None,
            Override::None => self.state.take(cause),
        };
        let count = match taken {
            Some(_) => &self.state.granted,
            None => &self.state.refused,
        };
        count.add(0, 1);
        Some(Grant {
            state: self.state.clone(),
            taken: taken?,
            waits: false,
        })
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("name", &self.name())
            .field("policy", &self.policy())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}

impl State {
    /// An attempt of this price ended.
    #[inline]
    fn ended(&self, outcome: Outcome, price: u64) {
        let Balance::Tokens(tokens, costs) = &self.balance else {
            return;
        };
        match outcome {
            Outcome::Success if costs.refunds && price > 0 => tokens.bring(price),
            Outcome::Success => tokens.bring(costs.success),
            Outcome::Failure(_) if costs.failure > 0 => tokens.lose(costs.most, costs.failure),
            _ => {}
        }
    }

    fn take(&self, cause: Outcome) -> Option<Taken> {
        let (taken, what) = match &self.balance {
            Balance::Ratio {
                share,
                terms,
                floor,
            } => {
                let one = |(quota, floor): &(Quota, Gcra)| {
                    let decision = floor.admit(quota, self.core.clock().now(), 1, Duration::ZERO);
                    matches!(decision, Decision::Admit(_))
                };
                match share.take(*terms) {
                    true => (true, Taken::Share),
                    false => (floor.as_ref().is_some_and(one), Taken::Free),
                }
            }
            Balance::Tokens(tokens, costs) => {
                let price = costs.of(cause);
                let taken = tokens.take(costs.most, price, costs.reserve);
                (taken, Taken::Tokens(price))
            }
            Balance::InFlight {
                flight,
                share,
                least,
            } => (
                flight.take(|requests| allowed(*share, *least, requests)),
                Taken::Place,
            ),
        };
        taken.then_some(what)
    }

    fn snapshot(&self) -> Snapshot {
        let balance = match &self.balance {
            Balance::Ratio {
                share,
                terms,
                floor,
            } => {
                let floor = floor.as_ref().and_then(|(quota, floor)| {
                    let now = self.core.clock().now();
                    Some(quota.remaining(floor.level(quota, now)?, now))
                });
                share.balance(*terms) / terms.cost.max(1) + u64::from(floor.unwrap_or(0))
            }
            Balance::Tokens(tokens, costs) => costs.worth(tokens.left(costs.most)),
            Balance::InFlight {
                flight,
                share,
                least,
            } => {
                let allowed = allowed(*share, *least, flight.requests());
                allowed.saturating_sub(flight.attempts())
            }
        };
        Snapshot {
            balance,
            granted: self.granted.sum(0),
            refused: self.refused.sum(0),
        }
    }
}

/// How many further attempts may be under way beside so many requests.
fn allowed(share: Ratio, least: u32, requests: u64) -> u64 {
    share.of(requests).max(least.into())
}

impl Inspect for State {
    fn report(&self) -> Report {
        let snapshot = self.snapshot();
        self.core.report([
            ("balance", snapshot.balance.into()),
            ("granted", snapshot.granted.into()),
            ("refused", snapshot.refused.into()),
        ])
    }
}

#[cfg(test)]
mod tests;
