//! Events as `tracing` events.

use super::{Event, Listener, Source};

/// Writes to `tracing`, target `tower_keep`: refusals, fallbacks and injected
/// faults at `debug`, updates and transitions of circuit breakers at `info`,
/// callbacks that panic at `error`, the rest at `trace`.
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
            Event::Answered(cause) => {
                tracing::debug!(target: "tower_keep", pattern, name, cause = cause.label(), "answered");
            }
            Event::Unanswered(cause) => {
                tracing::debug!(target: "tower_keep", pattern, name, cause = cause.label(), "unanswered");
            }
            Event::Injected(fault) => {
                tracing::debug!(target: "tower_keep", pattern, name, fault, "injected");
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
            Event::Updated => tracing::info!(target: "tower_keep", pattern, name, "updated"),
            Event::CallbackPanicked(callback) => {
                tracing::error!(target: "tower_keep", pattern, name, callback, "callback panicked");
            }
        }
    }
}
