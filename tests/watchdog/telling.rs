//! Events as metrics and as lines of a log, policies from files.

use std::sync::{Arc, Mutex};

use tower_keep::event::{Event, Listener, Metrics, Source, Trace};
use tower_keep::watchdog::{OnStuck, Policy};
use tower_keep::{Registry, Setup};

use crate::bench::{Bench, ms, secs, wait};

#[test]
fn a_policy_from_a_file() {
    let text = r#"
        stuck_after = "10s"
        hung_after = "1m"
        on_stuck = "reject"
        capacity = 64
    "#;
    let policy = Policy::builder()
        .stuck_after(secs(10))
        .hung_after(secs(60))
        .on_stuck(OnStuck::Reject)
        .capacity(64)
        .build()
        .unwrap();
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(toml::from_str(""), Ok(Policy::default()));
    assert_eq!(policy.to_builder().build(), Ok(policy));
    for (bad, why) in [
        ("stuck_after = \"0s\"", "stuck_after"),
        ("capacity = 0", "1 to 1048576"),
        ("on_stuck = \"kill\"", "unknown variant"),
        ("stuck = \"1s\"", "unknown field"),
    ] {
        let error = toml::from_str::<Policy>(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

#[test]
fn the_watchdog_reports_to_its_registry() {
    let bench = Bench::new();
    let registry = Registry::new();
    let setup = bench.setup("dog").in_registry(&registry);
    let watchdog = tower_keep::watchdog::Watchdog::builder(setup)
        .start()
        .unwrap();
    let _copy = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    bench.pass(ms(1_500));
    let report = &registry.reports()[0];
    assert_eq!((report.pattern, &*report.name), ("watchdog", "dog"));
    for (name, count) in [("expiries", 1_u64), ("standing_still", 1), ("tasks", 1)] {
        assert_eq!(report.value(name), Some(&count.into()), "{name}");
    }
    let json = serde_json::to_value(report).unwrap();
    let oldest = json["values"]["oldest_kick"].as_f64().unwrap();
    assert!((1.2..=1.5).contains(&oldest), "{oldest}");
    let json = serde_json::to_value(watchdog.snapshot()).unwrap();
    assert_eq!(json["tasks"][0]["standing"], "expired");
}

/// What every event of a watchdog looks like to both listeners.
#[derive(Default)]
struct Seen {
    metrics: Mutex<Vec<String>>,
    lines: Arc<Mutex<Vec<u8>>>,
}

impl metrics::Recorder for Seen {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.metrics.lock().unwrap().push(key.to_string());
        metrics::Counter::noop()
    }
    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        self.metrics.lock().unwrap().push(key.to_string());
        metrics::Gauge::noop()
    }
    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn events_are_metrics_and_lines_of_a_log() {
    let bench = Bench::new();
    let seen = Arc::new(Seen::default());
    let told = Arc::clone(&seen);
    // Both work per thread: so what the watchdog's thread tells is passed on there.
    let listener = move |source: &Source<'_>, event: &Event<'_>| {
        metrics::with_local_recorder(&*told, || Metrics.on_event(source, event));
        let lines = Lines(Arc::clone(&told.lines));
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .with_ansi(false)
            .with_max_level(tracing::Level::TRACE)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || Trace.on_event(source, event));
    };
    let setup = Setup::named("dog")
        .with_clock(bench.time.clock())
        .with_listener(listener);
    let watchdog = tower_keep::watchdog::Watchdog::builder(setup)
        .start()
        .unwrap();
    let kicker = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    bench.pass(ms(1_500));
    kicker.kick();
    bench.pass(ms(500));
    wait(|| watchdog.snapshot().recoveries == 1);
    drop(watchdog);
    let metrics = seen.metrics.lock().unwrap().join("\n");
    for name in [
        "keep_watchdog_expiries_total",
        "keep_watchdog_recovered_total",
        "keep_watchdog_kick_age_seconds",
        "keep_watchdog_interval_seconds",
        "task = copy",
        "subject = task",
        "of = copy",
        "cause = unknown",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    let lines = String::from_utf8(seen.lines.lock().unwrap().clone()).unwrap();
    for part in [
        "ERROR",
        "expired",
        "of=\"copy\"",
        "INFO",
        "recovered",
        "TRACE",
        "kicked",
    ] {
        assert!(lines.contains(part), "{part}: {lines}");
    }
}
