//! Active checks: probes of each endpoint, in the background.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use super::endpoint::Endpoint;
use super::handle::Health;
use super::member::Member;
use super::state::State;
use crate::attempt::EndpointId;
use crate::kernel::rng;
use crate::probe::{self, Hysteresis, Observation, Probe, Schedule, Status};

/// Asks an endpoint again and again.
pub(super) type Check = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes the checks of endpoints.
pub(super) trait Checks: Send + Sync {
    /// That of this endpoint; it ends by itself when the endpoint is gone.
    fn check(&self, state: &Arc<State>, member: &Member) -> Option<Check>;
}

pub(super) struct By<M> {
    pub(super) schedule: Schedule,
    pub(super) make: M,
}

impl<M, P> Checks for By<M>
where
    M: Fn(&Endpoint) -> P + Send + Sync,
    P: Probe,
{
    fn check(&self, state: &Arc<State>, member: &Member) -> Option<Check> {
        let make = || (self.make)(member.endpoint());
        let probe = state.core.contain("probe", make)?;
        let (schedule, id) = (self.schedule, member.id());
        let clock = state.core.clock().clone();
        let state = Arc::downgrade(state);
        // Those that came together are not asked together for ever.
        let seed = rng::word(rand::random(), u64::from(id.get()));
        let mut believed = Hysteresis::new();
        Some(Box::pin(async move {
            let told = |seen: Observation| {
                let change = believed.observe(&schedule, seen.finding.status());
                tell(&state, id, change)
            };
            probe::follow(&probe, schedule, &clock, seed, told).await;
        }))
    }
}

/// Breaks off if there is no such endpoint any more.
fn tell(state: &Weak<State>, id: EndpointId, change: Option<Status>) -> ControlFlow<()> {
    let Some(state) = state.upgrade() else {
        return ControlFlow::Break(());
    };
    let health = match change {
        None => None,
        Some(Status::Fail) => Some(Health::Unhealthy),
        Some(_) => Some(Health::Healthy),
    };
    match state.report(id, health) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}
