//! What is said of an endpoint: by an operator, or by a prober.

use super::handle::{Health, UnknownEndpoint};
use super::member::Member;
use super::state::State;
use crate::attempt::EndpointId;
use crate::event::EndpointChange;

impl State {
    /// What a prober has found; nothing new if `None`.
    pub(super) fn report(
        &self,
        id: EndpointId,
        health: Option<Health>,
    ) -> Result<(), UnknownEndpoint> {
        let change = match health {
            Some(Health::Unhealthy) => EndpointChange::Unhealthy,
            _ => EndpointChange::Healthy,
        };
        self.change(id, change, |member| {
            let Some(health) = health else {
                return false;
            };
            let changed = member.set_unhealthy(health == Health::Unhealthy);
            if changed && health == Health::Healthy {
                member.begin_anew(self.core.clock().now());
            }
            changed
        })
    }

    pub(super) fn change(
        &self,
        id: EndpointId,
        change: EndpointChange,
        set: impl FnOnce(&Member) -> bool,
    ) -> Result<(), UnknownEndpoint> {
        let Some(member) = self.member_of(id) else {
            return Err(UnknownEndpoint);
        };
        if set(&member) {
            self.republish();
            self.tell_change(member.endpoint(), change);
        }
        Ok(())
    }
}
