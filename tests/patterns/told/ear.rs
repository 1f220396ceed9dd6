//! Those who hear it.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

/// Writes down spans when they are made, and events with the span they are in.
#[derive(Default)]
pub(super) struct Ear {
    lines: Arc<Mutex<Vec<String>>>,
    /// The number in each span, and those that are entered.
    spans: Mutex<Vec<String>>,
    entered: Mutex<Vec<usize>>,
}

impl Ear {
    pub(super) fn new() -> (Self, Arc<Mutex<Vec<String>>>) {
        let ear = Self::default();
        let lines = Arc::clone(&ear.lines);
        (ear, lines)
    }
}

/// Fields as text; the message and the number apart.
#[derive(Default)]
struct Fields {
    text: String,
    message: String,
    number: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        let value = value.trim_matches('"');
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => write!(self.text, " {name}={value}").unwrap(),
        }
        if field.name() == "number" {
            value.clone_into(&mut self.number);
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // a handful of spans
fn place(id: &Id) -> usize {
    id.into_u64() as usize - 1
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        ["tower_keep", "inner"].contains(&metadata.target())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let line = format!("span {}{}", span.metadata().name(), fields.text);
        self.lines.lock().unwrap().push(line);
        let mut spans = self.spans.lock().unwrap();
        spans.push(fields.number);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let target = event.metadata().target();
        let mut line = format!("{target}: {}{}", fields.message, fields.text);
        if let ("inner", Some(place)) = (target, self.entered.lock().unwrap().last()) {
            let number = &self.spans.lock().unwrap()[*place];
            write!(line, " in attempt {number}").unwrap();
        }
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, span: &Id) {
        self.entered.lock().unwrap().push(place(span));
    }

    fn exit(&self, span: &Id) {
        assert_eq!(self.entered.lock().unwrap().pop(), Some(place(span)));
    }
}

/// Counters by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Sums(Arc<Mutex<BTreeMap<String, u64>>>);

impl Sums {
    pub(crate) fn all(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap().clone().into_iter().collect()
    }
}

struct Sum {
    sums: Arc<Mutex<BTreeMap<String, u64>>>,
    name: String,
}

impl CounterFn for Sum {
    fn increment(&self, value: u64) {
        let mut sums = self.sums.lock().unwrap();
        *sums.entry(self.name.clone()).or_default() += value;
    }

    fn absolute(&self, _: u64) {
        panic!("it is incremented");
    }
}

impl metrics::Recorder for Sums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut labels: Vec<_> = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()))
            .collect();
        labels.sort_unstable();
        Counter::from_arc(Arc::new(Sum {
            sums: Arc::clone(&self.0),
            name: format!("{}{}", key.name(), labels.concat()),
        }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
