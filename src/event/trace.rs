//! Events as `tracing` events.

use super::{Event, Guarding, Listener, Source};
use crate::probe::Status;

/// Writes to `tracing`, target `tower_keep`: refusals, fallbacks, retries, hedges,
/// injected faults and limits that change at `debug`, updates, transitions of circuit
/// breakers and changes of health or of a balancer's endpoints at `info`, requests
/// without a key, those that are stuck, failures of discovery and what an idempotency
/// guard cannot vouch for at `warn`, callbacks that panic and what a watchdog sees stand still at `error`, the rest at
/// `trace`.
///
/// Refusals are not warnings: under overload there are thousands a second, and
/// they are the layer's work, not a fault of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace;

impl Listener for Trace {
    fn on_event(&self, source: &Source<'_>, event: &Event<'_>) {
        let (pattern, name) = (source.pattern, source.name);
        match event {
            Event::Rejected(rejection) => tracing::debug!(
                target: "tower_keep",
                pattern,
                name,
                kind = rejection.kind().label(),
                retry_after = ?rejection.retry_after(),
                "rejected"
            ),
            Event::Finished(outcome) => {
                tracing::trace!(target: "tower_keep", pattern, name, ?outcome, "finished");
            }
            Event::Waited(wait) => {
                tracing::trace!(target: "tower_keep", pattern, name, ?wait, "waited");
            }
            Event::Keyless(requests) => tracing::warn!(
                target: "tower_keep",
                pattern,
                name,
                requests,
                "requests without a key"
            ),
            Event::Answered(cause) => {
                tracing::debug!(target: "tower_keep", pattern, name, cause = cause.label(), "answered");
            }
            Event::Unanswered(cause) => {
                tracing::debug!(target: "tower_keep", pattern, name, cause = cause.label(), "unanswered");
            }
            Event::Injected(fault) => {
                tracing::debug!(target: "tower_keep", pattern, name, fault, "injected");
            }
            Event::Hedged(hedged) => {
                tracing::debug!(target: "tower_keep", pattern, name, ?hedged, "hedged");
            }
            Event::Transition(change) => tracing::info!(
                target: "tower_keep",
                pattern,
                name,
                number = change.number,
                from = change.from.label(),
                to = change.to.label(),
                reason = change.reason.label(),
                calls = change.calls,
                failures = change.failures,
                slow = change.slow,
                wait = ?change.wait,
                key = ?change.key,
                "transition"
            ),
            Event::Retrying(retry) => tracing::debug!(
                target: "tower_keep",
                pattern,
                name,
                attempt = retry.attempt,
                delay = ?retry.delay,
                cause = retry.cause.label(),
                "retrying"
            ),
            Event::Concluded(end) => tracing::debug!(
                target: "tower_keep",
                pattern,
                name,
                attempts = end.attempts,
                conclusion = end.conclusion.label(),
                "concluded"
            ),
            Event::Limit { from, to } => {
                tracing::debug!(target: "tower_keep", pattern, name, from, to, "limit");
            }
            Event::Checked(change) => {
                let (kind, what) = change.subject.label();
                let from = change.from.map(Status::label);
                tracing::info!(
                    target: "tower_keep",
                    pattern,
                    name,
                    number = change.number,
                    kind,
                    what,
                    from,
                    to = change.to.label(),
                    "checked"
                );
            }
            Event::Endpoint { address, change } => tracing::info!(
                target: "tower_keep",
                pattern,
                name,
                address,
                change = change.label(),
                "endpoint"
            ),
            Event::DiscoveryFailed => {
                tracing::warn!(target: "tower_keep", pattern, name, "discovery failed");
            }
            Event::Expired(expired) => tracing::error!(
                target: "tower_keep",
                pattern,
                name,
                subject = expired.subject.label(),
                of = expired.subject.name(),
                cause = expired.cause.label(),
                age = ?expired.age,
                interval = ?expired.interval,
                "expired"
            ),
            Event::Recovered(subject) => tracing::info!(
                target: "tower_keep",
                pattern,
                name,
                subject = subject.label(),
                of = subject.name(),
                "recovered"
            ),
            Event::Stuck(stuck) => tracing::warn!(
                target: "tower_keep",
                pattern,
                name,
                age = ?stuck.age,
                stage = stuck.stage,
                key = ?stuck.key,
                "stuck"
            ),
            Event::Kicked(kicked) => tracing::trace!(
                target: "tower_keep",
                pattern,
                name,
                task = kicked.task,
                age = ?kicked.age,
                interval = ?kicked.interval,
                "kicked"
            ),
            Event::Paced(interval) => {
                tracing::info!(target: "tower_keep", pattern, name, ?interval, "paced");
            }
            Event::Guarding(Guarding::Stored { step, took }) => {
                let step = step.label();
                tracing::trace!(target: "tower_keep", pattern, name, step, ?took, "stored");
            }
            Event::Guarding(
                guarding @ (Guarding::TakenOver
                | Guarding::Abandoned
                | Guarding::Fenced
                | Guarding::Unguarded
                | Guarding::StoreFailed { .. }),
            ) => tracing::warn!(target: "tower_keep", pattern, name, ?guarding, "guarding"),
            Event::Guarding(guarding) => {
                tracing::debug!(target: "tower_keep", pattern, name, ?guarding, "guarding");
            }
            Event::Updated => tracing::info!(target: "tower_keep", pattern, name, "updated"),
            Event::CallbackPanicked(callback) => {
                tracing::error!(target: "tower_keep", pattern, name, callback, "callback panicked");
            }
        }
    }
}
