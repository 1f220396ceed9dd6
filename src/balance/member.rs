//! What is known of an endpoint while it is in use.

use std::fmt;

use super::endpoint::Endpoint;
use super::standing::Standing;
use crate::attempt::EndpointId;
use crate::clock::Tick;
use crate::kernel::sync::{AtomicU32, AtomicU64, Ordering, Padded};

/// An endpoint in use. It lives as long as anything is in flight on it, and one
/// that was removed and comes back is another one.
pub struct Member {
    id: EndpointId,
    endpoint: Endpoint,
    /// When it came into use, or came back from an ejection: slow start begins.
    pub(super) since: AtomicU64,
    /// Written by every call.
    pub(super) load: Padded<Load>,
    /// Written by what judges its health, and read where the sets are made.
    pub(super) health: Padded<Health>,
    pub(super) standing: Standing,
}

/// What each call to an endpoint writes.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) in_flight: AtomicU32,
    /// Failures since the last success.
    pub(super) consecutive: AtomicU32,
    /// For the pickers: a mean latency, and when it was written.
    pub(super) latency: [AtomicU64; 2],
    /// Calls that succeeded, and that failed, since it came into use.
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    /// Ejected until this tick; 0: not.
    pub(super) ejected_until: AtomicU64,
    /// The multiple of the base time that the next ejection lasts.
    pub(super) ejections: AtomicU32,
}

impl Member {
    pub(super) fn new(id: EndpointId, endpoint: Endpoint, now: Tick) -> Self {
        Self {
            id,
            endpoint,
            since: AtomicU64::new(now.as_nanos()),
            load: Padded::default(),
            health: Padded::default(),
            standing: Standing::default(),
        }
    }

    /// Its number, unique among those that the balancer has had.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// What it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// When it came into use, or returned from an ejection.
    #[must_use]
    pub fn since(&self) -> Tick {
        Tick::from_nanos(self.since.load(Ordering::Relaxed))
    }

    /// Calls in flight.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.load.0.in_flight.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("address", &self.endpoint.address())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
