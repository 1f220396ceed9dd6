//! Events as metrics.

use metrics::{counter, gauge, histogram};

use super::{Event, Guarding, Listener, Source};

/// Feeds the `metrics` facade.
///
/// | metric | labels |
/// |---|---|
/// | `keep_<pattern>_rejected_total` | `layer`, `kind` |
/// | `keep_<pattern>_finished_total` | `layer`, `outcome` |
/// | `keep_<pattern>_wait_seconds` | `layer` |
/// | `keep_<pattern>_keyless_total` | `layer`; up to half of them may be missing yet |
/// | `keep_<pattern>_answered_total` | `layer`, `cause` |
/// | `keep_<pattern>_unanswered_total` | `layer`, `cause` |
/// | `keep_<pattern>_injected_total` | `layer`, `fault` |
/// | `keep_<pattern>_hedged_total` | `layer`, `what` |
/// | `keep_<pattern>_transitions_total` | `layer`, `to`, `reason` |
/// | `keep_<pattern>_retries_total` | `layer`, `cause` |
/// | `keep_<pattern>_concluded_total` | `layer`, `conclusion` |
/// | `keep_<pattern>_limit` | `layer` |
/// | `keep_<pattern>_guarded_total` | `layer`, `what` |
/// | `keep_<pattern>_store_seconds` | `layer`, `step` |
/// | `keep_<pattern>_store_failures_total` | `layer`, `step`, `trouble` |
/// | `keep_<pattern>_updated_total` | `layer` |
/// | `keep_<pattern>_callback_panics_total` | `layer` |
///
/// `layer` is the name from [`Setup::named`](crate::Setup::named); all other
/// label values are from closed sets, so the number of series does not grow with
/// traffic. Each event allocates for its labels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metrics;

impl Listener for Metrics {
    fn on_event(&self, source: &Source<'_>, event: &Event<'_>) {
        let layer = source.name.to_owned();
        let name = |thing: &str| format!("keep_{}_{thing}", source.pattern);
        match event {
            Event::Rejected(rejection) => {
                let kind = rejection.kind().label();
                counter!(name("rejected_total"), "layer" => layer, "kind" => kind).increment(1);
            }
            Event::Finished(outcome) => {
                let outcome = outcome.label();
                counter!(name("finished_total"), "layer" => layer, "outcome" => outcome)
                    .increment(1);
            }
            Event::Waited(wait) => {
                histogram!(name("wait_seconds"), "layer" => layer).record(wait.as_secs_f64());
            }
            Event::Keyless(requests) => {
                // Those since it was told last, at half of them.
                let more = requests - requests / 2;
                counter!(name("keyless_total"), "layer" => layer).increment(more);
            }
            Event::Answered(cause) => {
                let cause = cause.label();
                counter!(name("answered_total"), "layer" => layer, "cause" => cause).increment(1);
            }
            Event::Unanswered(cause) => {
                let cause = cause.label();
                counter!(name("unanswered_total"), "layer" => layer, "cause" => cause).increment(1);
            }
            Event::Injected(fault) => {
                counter!(name("injected_total"), "layer" => layer, "fault" => *fault).increment(1);
            }
            Event::Hedged(hedged) => {
                let what = hedged.label();
                counter!(name("hedged_total"), "layer" => layer, "what" => what).increment(1);
            }
            Event::Transition(change) => {
                let (to, reason) = (change.to.label(), change.reason.label());
                let name = name("transitions_total");
                counter!(name, "layer" => layer, "to" => to, "reason" => reason).increment(1);
            }
            Event::Retrying(retry) => {
                let cause = retry.cause.label();
                counter!(name("retries_total"), "layer" => layer, "cause" => cause).increment(1);
            }
            Event::Concluded(end) => {
                let (name, end) = (name("concluded_total"), end.conclusion.label());
                counter!(name, "layer" => layer, "conclusion" => end).increment(1);
            }
            Event::Limit { to, .. } => gauge!(name("limit"), "layer" => layer).set(*to),
            Event::Guarding(Guarding::Stored { step, took }) => {
                let (name, step) = (name("store_seconds"), step.label());
                histogram!(name, "layer" => layer, "step" => step).record(took.as_secs_f64());
            }
            Event::Guarding(Guarding::StoreFailed { step, trouble }) => {
                let (step, trouble) = (step.label(), trouble.label());
                let name = name("store_failures_total");
                counter!(name, "layer" => layer, "step" => step, "trouble" => trouble).increment(1);
            }
            Event::Guarding(guarding) => {
                let what = guarding.label();
                counter!(name("guarded_total"), "layer" => layer, "what" => what).increment(1);
            }
            Event::Updated => counter!(name("updated_total"), "layer" => layer).increment(1),
            Event::CallbackPanicked(_) => {
                counter!(name("callback_panics_total"), "layer" => layer).increment(1);
            }
        }
    }
}
