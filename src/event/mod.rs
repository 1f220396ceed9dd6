//! What the layers tell: every refusal, and every end of a call that they admitted
//! and hold (a throttle holds none).
//!
//! A [`Listener`] is given to a layer by its [`Setup`](crate::Setup), or to all
//! layers of a [`Registry`](crate::Registry). [`Trace`] writes to `tracing`, and is
//! a listener like yours. Without one, a call pays nothing.
#![cfg_attr(
    feature = "metrics",
    doc = "Another one is [`Metrics`], which feeds the `metrics` facade."
)]

mod endpoint;
mod guarding;
mod health;
#[cfg(feature = "metrics")]
mod metrics;
mod retry;
mod trace;
mod transition;
mod watched;

use std::fmt;
use std::time::Duration;

pub use self::endpoint::EndpointChange;
pub use self::guarding::{Guarding, Step, Trouble};
pub use self::health::{Checked, Subject};
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
pub use self::retry::{Concluded, Conclusion, Retrying};
pub use self::trace::Trace;
pub use self::transition::{CircuitState, Reason, Transition};
pub use self::watched::{Expired, Kicked, OnWatch, Stall, Stuck};
use crate::classify::{Cause, Outcome};
use crate::error::{LayerId, Rejection};

/// Which layer tells.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Source<'a> {
    /// The pattern, as its module is called: `"timeout"`, `"bulkhead"`.
    pub pattern: &'static str,
    /// The name given by [`Setup::named`](crate::Setup::named), else the pattern's.
    pub name: &'a str,
    /// The same as in a [`Rejection`].
    pub layer: LayerId,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request was refused, or given up on.
    Rejected(Rejection),
    /// An admitted call ended.
    Finished(Outcome),
    /// A call that had to wait was admitted.
    Waited(Duration),
    /// throttle: so many requests have had no key until now. Told at 1, 2, 4, 8 and
    /// so on.
    Keyless(u64),
    /// fallback: a call that ended so got another answer.
    Answered(Cause),
    /// fallback: a call that ended so was to get another answer, and there was
    /// none.
    Unanswered(Cause),
    /// chaos: a call meets this fault.
    Injected(&'static str),
    /// hedge: what became of another attempt.
    Hedged(Hedged),
    /// A circuit breaker changed its state.
    Transition(Transition),
    /// retry: an attempt has failed, and another one will be made.
    Retrying(Retrying),
    /// retry: a request has ended that was tried more than once, or was to be.
    Concluded(Concluded),
    /// adaptive: the limit has changed.
    Limit {
        /// The limit before.
        from: u32,
        /// The limit from now on.
        to: u32,
    },
    /// health: what is believed of a check or a group has changed.
    Checked(Checked<'a>),
    /// balance: something has become of an endpoint.
    Endpoint {
        /// Its address.
        address: &'a str,
        /// What.
        change: EndpointChange,
    },
    /// balance: discovery has failed, and will be asked again.
    DiscoveryFailed,
    /// watchdog: what is watched has made no progress within its interval.
    Expired(Expired<'a>),
    /// watchdog: what had expired makes progress again.
    Recovered(OnWatch<'a>),
    /// watchdog: a request has been in flight for too long. Told once of each.
    Stuck(Stuck<'a>),
    /// watchdog: how long a task's last progress is ago. Told some times in each of its
    /// intervals.
    Kicked(Kicked<'a>),
    /// throttle, learned: a server has said that it was too much. From now on one
    /// request is sent in so much time.
    Paced(Duration),
    /// idempotency: what became of a request with a key.
    Guarding(Guarding),
    /// The policy was replaced by its handle.
    Updated,
    /// A callback of the user panicked; the call went on without it.
    CallbackPanicked(&'a str),
}

/// What became of another attempt that was made beside a slow one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hedged {
    /// It began.
    Started {
        /// Its number: the first attempt of a call is 1.
        attempt: u32,
        /// After the first attempt had been under way for so long.
        after: Duration,
    },
    /// It was the first to succeed.
    Won {
        /// Its number.
        attempt: u32,
    },
    /// It ended otherwise.
    Failed {
        /// Its number.
        attempt: u32,
        /// How it ended.
        cause: Cause,
    },
    /// It was dropped: another one had the answer, or it could not begin in time.
    CalledOff {
        /// Its number.
        attempt: u32,
    },
    /// It was due, and the budget had none.
    NoBudget,
}

impl Hedged {
    /// The name in metrics: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Won { .. } => "won",
            Self::Failed { .. } => "failed",
            Self::CalledOff { .. } => "called_off",
            Self::NoBudget => "no_budget",
        }
    }
}

/// Hears events.
///
/// It is called in the middle of a call, outside all locks: be quick. It may
/// call back into handles. A panic is counted and goes no further.
pub trait Listener: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, source: &Source<'_>, event: &Event<'_>);
}

impl<F> Listener for F
where
    F: Fn(&Source<'_>, &Event<'_>) + Send + Sync + 'static,
{
    fn on_event(&self, source: &Source<'_>, event: &Event<'_>) {
        self(source, event);
    }
}

impl fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
