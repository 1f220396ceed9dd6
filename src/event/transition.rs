//! What a circuit breaker tells when it changes its state.

use std::time::Duration;

use crate::key::KeyId;

/// The state of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum CircuitState {
    /// Calls pass, and their ends are counted.
    #[default]
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// A few calls pass to see whether it works again.
    HalfOpen,
}

impl CircuitState {
    /// The name in metrics and reports: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a circuit changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// Too large a share of calls failed.
    FailureRatio,
    /// Too large a share of calls was slow.
    SlowRatio,
    /// Too many failures in a row.
    Consecutive,
    /// Too many failures among the last few calls.
    Recent,
    /// The wait of the open state is over.
    WaitOver,
    /// The probes did not fare better.
    ProbesFailed,
    /// The probes went well.
    ProbesSucceeded,
    /// An operator wanted it.
    Operator,
}

impl Reason {
    /// The name in metrics and reports: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FailureRatio => "failure_ratio",
            Self::SlowRatio => "slow_ratio",
            Self::Consecutive => "consecutive",
            Self::Recent => "recent",
            Self::WaitOver => "wait_over",
            Self::ProbesFailed => "probes_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Operator => "operator",
        }
    }
}

/// A circuit changed its state: told once for each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Transition {
    /// Which change of this circuit it is, counted from 1. Two threads that change
    /// a circuit shortly after each other may tell of it in either order: the
    /// numbers say what came first.
    pub number: u64,
    /// The state before.
    pub from: CircuitState,
    /// The state from now on.
    pub to: CircuitState,
    /// Why.
    pub reason: Reason,
    /// The calls, in the window that decided or among the probes.
    pub calls: u64,
    /// Those of them that failed; for [`Reason::Consecutive`], in a row.
    pub failures: u64,
    /// Those of them that were slow.
    pub slow: u64,
    /// How long it stays open, if it opened.
    pub wait: Option<Duration>,
    /// Whose circuit, if there is one per key.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub key: Option<KeyId>,
}
