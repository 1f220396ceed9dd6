//! Events as metrics.

use metrics::{counter, gauge, histogram};

use super::{Event, Guarding, Listener, Source};
use crate::registry::{Registry, Value};

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
/// | `keep_<pattern>_changes_total` | `layer`, `kind`, `name`, `to` |
/// | `keep_<pattern>_status` | `layer`, `kind`, `name`; 0 passes, 1 warns, 2 fails |
/// | `keep_<pattern>_endpoint_changes_total` | `layer`, `change` |
/// | `keep_<pattern>_discovery_failures_total` | `layer` |
/// | `keep_<pattern>_expiries_total` | `layer`, `subject`, `of`, `cause` |
/// | `keep_<pattern>_recovered_total` | `layer`, `subject`, `of` |
/// | `keep_<pattern>_stuck_total` | `layer` |
/// | `keep_<pattern>_kick_age_seconds`, `keep_<pattern>_interval_seconds` | `layer`, `task` |
/// | `keep_<pattern>_interval_seconds` | `layer` |
/// | `keep_<pattern>_guarded_total` | `layer`, `what` |
/// | `keep_<pattern>_store_seconds` | `layer`, `step` |
/// | `keep_<pattern>_store_failures_total` | `layer`, `step`, `trouble` |
/// | `keep_<pattern>_updated_total` | `layer` |
/// | `keep_<pattern>_callback_panics_total` | `layer` |
///
/// `layer` is the name from [`Setup::named`](crate::Setup::named), `name` that of a
/// health check or its group; all other label values are from closed sets, or names
/// that you gave to a watchdog, so the number of series does not grow with
/// traffic. Each event allocates for its labels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metrics;

/// What [`Metrics::observe`] sets.
const STANDING: &[&str] = &[
    "limit",
    "in_flight",
    "waiting",
    "in_use",
    "demand",
    "offered_per_second",
    "served_per_second",
    "sent_per_second",
    "held",
    "keys",
];

impl Metrics {
    /// Sets gauges to where the layers of a registry stand: what comes by itself as no
    /// event. Call it whenever the metrics are read, or every few seconds.
    ///
    /// They are called `keep_<pattern>_<value>` with the label `layer`, for these values
    /// of a [`Report`](crate::registry::Report): `limit`, `in_flight`, `waiting`, `in_use`,
    /// `demand`, `offered_per_second`, `served_per_second`, `sent_per_second`, `held`,
    /// `keys`. To scale by: `in_flight / limit` of a bulkhead, `demand / limit` of an
    /// adaptive limit, and what is offered.
    pub fn observe(self, registry: &Registry) {
        for report in registry.reports() {
            for (name, value) in report.values {
                if let (true, Value::Count(count)) = (STANDING.contains(&name), value) {
                    let name = format!("keep_{}_{name}", report.pattern);
                    #[allow(clippy::cast_precision_loss)] // a gauge is an f64
                    gauge!(name, "layer" => report.name.clone()).set(count as f64);
                }
            }
        }
    }
}

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
            Event::Checked(change) => {
                let (kind, what) = change.subject.label();
                let what = what.to_owned();
                gauge!(name("status"), "layer" => layer.clone(), "kind" => kind, "name" => what.clone())
                    .set(f64::from(change.to as u8));
                let to = change.to.label();
                counter!(name("changes_total"), "layer" => layer, "kind" => kind, "name" => what, "to" => to)
                    .increment(1);
            }
            Event::Endpoint { change, .. } => {
                let (name, change) = (name("endpoint_changes_total"), change.label());
                counter!(name, "layer" => layer, "change" => change).increment(1);
            }
            Event::DiscoveryFailed => {
                counter!(name("discovery_failures_total"), "layer" => layer).increment(1);
            }
            Event::Expired(expired) => {
                let (name, of) = (name("expiries_total"), expired.subject.name().to_owned());
                let (subject, cause) = (expired.subject.label(), expired.cause.label());
                counter!(name, "layer" => layer, "subject" => subject, "of" => of, "cause" => cause)
                    .increment(1);
            }
            Event::Recovered(subject) => {
                let (name, of) = (name("recovered_total"), subject.name().to_owned());
                counter!(name, "layer" => layer, "subject" => subject.label(), "of" => of)
                    .increment(1);
            }
            Event::Stuck(_) => counter!(name("stuck_total"), "layer" => layer).increment(1),
            Event::Kicked(kicked) => {
                let (age, task) = (kicked.age.as_secs_f64(), kicked.task.to_owned());
                let labels = [("layer", layer), ("task", task)];
                gauge!(name("kick_age_seconds"), &labels).set(age);
                gauge!(name("interval_seconds"), &labels).set(kicked.interval.as_secs_f64());
            }
            Event::Paced(interval) => {
                let seconds = interval.as_secs_f64();
                gauge!(name("interval_seconds"), "layer" => layer).set(seconds);
            }
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

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use std::sync::Arc;

    use metrics::{Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder};
    use metrics::{SharedString, Unit};
    use parking_lot::Mutex;

    use super::*;
    use crate::LayerId;
    use crate::event::{Checked, Subject};
    use crate::probe::Status;

    type Seen = Arc<Mutex<Vec<String>>>;

    /// Writes down what is fed.
    struct Notes(Seen);

    struct Note(Seen, String);

    impl Note {
        fn take(&self, value: impl std::fmt::Display) {
            self.0.lock().push(format!("{} {value}", self.1));
        }
    }

    impl GaugeFn for Note {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.take(value);
        }
    }

    impl metrics::CounterFn for Note {
        fn increment(&self, value: u64) {
            self.take(value);
        }
        fn absolute(&self, _: u64) {}
    }

    impl Notes {
        fn note(&self, key: &Key) -> Arc<Note> {
            let labels = key
                .labels()
                .map(|label| format!(" {}={}", label.key(), label.value()));
            let name = format!("{}{}", key.name(), labels.collect::<String>());
            Arc::new(Note(self.0.clone(), name))
        }
    }

    impl Recorder for Notes {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            self.note(key).into()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            self.note(key).into()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn changes_of_health_are_counted_and_shown() {
        let seen = Seen::default();
        let source = Source {
            pattern: "health",
            name: "shop",
            layer: LayerId(1),
        };
        let change = |subject, to| Checked {
            number: 1,
            subject,
            from: Some(Status::Pass),
            to,
        };
        metrics::with_local_recorder(&Notes(seen.clone()), || {
            let db = change(Subject::Check("db"), Status::Warn);
            Metrics.on_event(&source, &Event::Checked(db));
            let ready = change(Subject::Group("readiness"), Status::Fail);
            Metrics.on_event(&source, &Event::Checked(ready));
        });
        assert_eq!(
            *seen.lock(),
            [
                "keep_health_status layer=shop kind=check name=db 1",
                "keep_health_changes_total layer=shop kind=check name=db to=warn 1",
                "keep_health_status layer=shop kind=group name=readiness 2",
                "keep_health_changes_total layer=shop kind=group name=readiness to=fail 1",
            ]
        );
    }
}

#[cfg(all(test, feature = "adaptive", feature = "throttle", not(keep_loom)))]
mod gauges {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use metrics::{
        Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;
    use crate::adaptive::{self, AdaptiveLayer};
    use crate::classify::{ErrorsOnly, Failure, Outcome};
    use crate::registry::Setup;
    use crate::throttle::learned::{self, LearnedLayer};

    /// The gauges, by name and layer.
    #[derive(Default, Clone)]
    struct Gauges(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Cell(Gauges, String);

    impl GaugeFn for Cell {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.0.0.lock().insert(self.1.clone(), value);
        }
    }

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            let labels = key.labels().filter(|label| label.key() == "layer");
            let layer: String = labels.map(metrics::Label::value).collect();
            let name = format!("{} {layer}", key.name());
            Gauge::from_arc(Arc::new(Cell(self.clone(), name)))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn gauges_stand_where_the_layers_do() {
        let gauges = Gauges::default();
        metrics::with_local_recorder(&gauges, || {
            let registry = Registry::new().with_listener(Metrics);
            let setup = |name| Setup::named(name).in_registry(&registry);
            let policy = adaptive::Policy::builder().min_limit(7).initial_limit(7);
            let layer = AdaptiveLayer::with(policy.build().unwrap(), setup("api"));
            let held = layer.handle().admit().unwrap();
            let learned =
                LearnedLayer::with(learned::Policy::default(), ErrorsOnly, setup("client"));
            let too_much = Outcome::Failure(Failure::Overload { retry_after: None });
            learned.handle().admit().unwrap().finish(too_much);
            Metrics.observe(&registry);
            drop(held);
        });
        let gauge = |name: &str| gauges.0.lock().get(name).copied();
        assert_eq!(gauge("keep_adaptive_limit api"), Some(7.0));
        assert_eq!(gauge("keep_adaptive_in_flight api"), Some(1.0));
        assert_eq!(gauge("keep_adaptive_waiting api"), Some(0.0));
        assert_eq!(gauge("keep_throttle_learned_in_flight client"), Some(0.0));
        // One in a half second, and seven tenths of that.
        let interval = Duration::from_secs_f64(1.0 / 1.4).as_secs_f64();
        let name = "keep_throttle_learned_interval_seconds client";
        assert_eq!(gauge(name), Some(interval));
        assert_eq!(gauge("keep_adaptive_succeeded api"), None);
    }
}
