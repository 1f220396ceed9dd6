//! What metrics and traces are called.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tower_keep::Setup;
use tower_keep::balance::{Balance, BoxError, Change, Discover, Endpoint, Policy};
use tower_keep::event::{Metrics, Trace};
use tower_keep::test_util::{Hand, ManualClock};

use super::{World, ask};

/// One endpoint, and then an error.
struct Once(u32);

impl Discover for Once {
    fn poll_change(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>> {
        self.0 += 1;
        Poll::Ready(match self.0 {
            1 => Some(Ok(Change::Insert(Endpoint::new("10.0.0.1")))),
            2 => Some(Err("secret".into())),
            _ => None,
        })
    }
}

/// A call, an ejection, and its end.
fn live(setup: Setup) {
    let world = World::default();
    let setup = setup.with_clock(ManualClock::new().clock());
    let mut balance = Balance::with(Policy::default(), Once(0), world.factory(), setup);
    assert!(Hand::new(ask(&mut balance)).poll().is_ready());
    let handle = balance.handle();
    let id = handle.snapshot().endpoints[0].id;
    handle.eject(id).unwrap();
    handle.update(handle.policy());
}

#[derive(Default)]
struct Seen(Mutex<BTreeSet<String>>);

impl Seen {
    fn see(&self, key: &Key) {
        self.0.lock().unwrap().insert(key.to_string());
    }
}

impl metrics::Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.see(key);
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.see(key);
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.see(key);
        Histogram::noop()
    }
}

/// Addresses are no labels: series would grow with discovery.
#[test]
fn fault_097_metrics_have_names_of_a_closed_set() {
    let seen = Seen::default();
    metrics::with_local_recorder(&seen, || {
        live(Setup::named("upstream").with_listener(Metrics));
    });
    let seen = seen.0.into_inner().unwrap();
    let all: Vec<_> = seen
        .iter()
        .map(|key| key.replace("layer = upstream", ""))
        .collect();
    for (thing, label) in [
        ("endpoint_changes_total", "change = added"),
        ("endpoint_changes_total", "change = connected"),
        ("endpoint_changes_total", "change = ejected"),
        ("discovery_failures_total", ""),
        ("finished_total", "outcome = success"),
        ("updated_total", ""),
    ] {
        let name = format!("keep_balance_{thing}");
        let is_it = |key: &&String| key.contains(&name) && key.contains(label);
        assert_eq!(
            all.iter().filter(is_it).count(),
            1,
            "{name} {label}: {all:?}"
        );
    }
    assert_eq!(all.len(), 6, "{all:?}");
    assert!(!all.iter().any(|key| key.contains("10.0.0.1")));
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn traces_name_the_endpoint_and_no_error_of_others() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        live(Setup::named("upstream").with_listener(Trace));
    });
    let written = written.0.lock().unwrap();
    let text = String::from_utf8_lossy(&written);
    let line = |parts: &[&str]| {
        let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
        assert_eq!(
            text.lines().filter(|l| has_all(l)).count(),
            1,
            "{parts:?}: {text}"
        );
    };
    line(&["INFO", "upstream", "10.0.0.1", "change=\"added\""]);
    line(&["INFO", "10.0.0.1", "change=\"ejected\""]);
    line(&["WARN", "discovery failed"]);
    assert!(!text.contains("secret"));
}
