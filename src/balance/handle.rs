//! A balancer from outside: to watch it and to steer it.

use super::member::Member;
use super::set::{Set, Token};
use super::standing::Condition;
use super::state::State;
use crate::attempt::EndpointId;
use crate::event::EndpointChange;
use crate::kernel::limited::has_permit;
use crate::kernel::macros::steers;
use crate::kernel::shared::Shared;

/// A balancer from outside. Clones are the same balancer; it holds no connection.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a balancer has counted, and where it stands.
///
/// Every admitted call is in one of `in_flight`, `succeeded`, `failed`, `neutral` and
/// `cancelled`; their sum is exact while nothing happens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// All endpoints, in the order in which they came.
    pub endpoints: Vec<EndpointSnapshot>,
    /// Calls in flight, also to endpoints that were removed.
    pub in_flight: u64,
    /// Calls that ended as they should.
    pub succeeded: u64,
    /// Calls that ended in a failure.
    pub failed: u64,
    /// Calls whose end says nothing.
    pub neutral: u64,
    /// Calls that were dropped.
    pub cancelled: u64,
    /// Requests refused.
    pub rejected: u64,
    /// Requests that wait for an endpoint.
    pub waiting: u32,
    /// Calls that had to wait for an endpoint.
    pub waited: u64,
    /// Choices that fell on an endpoint that was not ready.
    pub skipped: u64,
    /// Services that the factory has made.
    pub connected: u64,
    /// Services that it has failed to make, or not in time.
    pub connects_failed: u64,
    /// Errors of discovery.
    pub discovery_failed: u64,
    /// Endpoints that were refused: of an address that is known, or too many.
    pub endpoints_refused: u64,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// Its number, for [`Handle::eject`] and the like.
    #[cfg_attr(feature = "serde", serde(serialize_with = "number"))]
    pub id: EndpointId,
    /// Its address.
    pub address: String,
    /// Its weight.
    pub weight: u32,
    /// Its priority.
    pub priority: u32,
    /// Whether it may be chosen, and why not.
    pub condition: Condition,
    /// Calls in flight.
    pub in_flight: u32,
    /// Calls that ended as they should, modulo 2^40.
    pub succeeded: u64,
    /// Calls that ended in a failure.
    pub failed: u64,
    /// Whether most of its latest calls failed.
    pub is_suspect: bool,
}

#[cfg(feature = "serde")]
fn number<S: serde::Serializer>(id: &EndpointId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(id.get())
}

impl EndpointSnapshot {
    pub(super) fn of(member: &Member) -> Self {
        let endpoint = member.endpoint();
        let (succeeded, failed) = member.ends();
        Self {
            id: member.id(),
            address: endpoint.address().to_owned(),
            weight: endpoint.get_weight(),
            priority: endpoint.get_priority(),
            condition: member.condition(),
            in_flight: member.in_flight(),
            succeeded,
            failed,
            is_suspect: member.is_suspect(),
        }
    }

    /// Whether it is connected and in good health.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.condition == Condition::Usable
    }
}

/// What a prober, or anybody, says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Healthy,
    /// It does not.
    Unhealthy,
}

steers! {
    State,
    {
        /// Connections stay; the choice begins anew. What the factory is doing goes on
        /// under the old policy.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) health is ignored, and so
        /// are ejections.
        set_override then republish
    }
}

impl Handle {
    /// No more requests to this endpoint, until [`restore`](Self::restore). Those in
    /// flight finish.
    ///
    /// # Errors
    /// If there is no such endpoint.
    pub fn eject(&self, endpoint: EndpointId) -> Result<(), UnknownEndpoint> {
        self.state
            .change(endpoint, EndpointChange::Ejected, |member| {
                member.set_ejected(true)
            })
    }

    /// Requests again to an endpoint that was ejected, by hand or by its failures.
    ///
    /// # Errors
    /// As [`eject`](Self::eject).
    pub fn restore(&self, endpoint: EndpointId) -> Result<(), UnknownEndpoint> {
        self.state
            .change(endpoint, EndpointChange::Restored, |member| {
                member.restore(self.state.core.clock().now())
            })
    }

    /// What an active health check has found. An endpoint that is said to be unhealthy
    /// gets no requests until it is said to be healthy, or too few are
    /// ([`panic_threshold`](super::PolicyBuilder::panic_threshold)).
    ///
    /// # Errors
    /// As [`eject`](Self::eject).
    pub fn report(&self, endpoint: EndpointId, health: Health) -> Result<(), UnknownEndpoint> {
        self.state.report(endpoint, Some(health))
    }
}

/// There is no endpoint of this number, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint of this number")]
pub struct UnknownEndpoint;

has_permit!(Set, Token);
