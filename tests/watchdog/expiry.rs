//! What is done at an expiry, and in which order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tower::{Layer, Service, service_fn};
use tower_keep::test_util::Hand;
use tower_keep::watchdog::{
    Policy, Readiness, Recorder, StartError, Watchdog, WatchdogLayer, stage,
};
use tower_keep::{Error, Registry, Setup};

use crate::bench::{Bench, ms, secs, wait};

type Lines = Arc<Mutex<Vec<String>>>;

fn lines(lines: &Lines) -> Vec<String> {
    lines.lock().unwrap().clone()
}

#[test]
fn hooks_run_in_their_order_and_a_panic_stops_none() {
    let bench = Bench::new();
    let told = Lines::default();
    let note = |what: &str| {
        let (told, what) = (Arc::clone(&told), what.to_owned());
        move || told.lock().unwrap().push(what.clone())
    };
    let (first, second, third, release) = (
        note("first"),
        note("second"),
        note("third"),
        note("release"),
    );
    let readiness = Arc::clone(&told);
    // In no order at all.
    let watchdog = bench
        .builder()
        .release(move |_| release())
        .readiness(move |now| readiness.lock().unwrap().push(format!("{now:?}")))
        .on_expiry(move |_| first())
        .on_expiry(move |_| {
            second();
            panic!("scripted");
        })
        .on_expiry(move |_| third())
        .start()
        .unwrap();
    let kicker = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    bench.pass(secs(3));
    wait(|| lines(&told).len() == 5);
    let all = ["first", "second", "third", "NotReady", "release"];
    assert_eq!(lines(&told), all);
    assert_eq!(watchdog.callback_panics(), 1);
    kicker.kick();
    bench.pass(ms(500));
    wait(|| lines(&told).len() > 5);
    assert_eq!(lines(&told)[5..], [format!("{:?}", Readiness::Ready)]);
}

#[test]
fn a_hook_that_hangs_holds_up_neither_the_watch_nor_the_end_of_the_watchdog() {
    let bench = Bench::new();
    let (release, wait_for) = mpsc::channel::<()>();
    let watchdog = bench
        .builder()
        .on_expiry(move |_| wait_for.recv().unwrap_or(()))
        .start()
        .unwrap();
    let _first = watchdog.task("first", secs(1)).unwrap();
    let _second = watchdog.task("second", secs(5)).unwrap();
    bench.until_tasks(&watchdog, 2);
    bench.pass(secs(8));
    assert_eq!(bench.heard.all().len(), 2);
    drop(watchdog);
    drop(release);
}

#[test]
fn fault_086_the_watchdog_dropped_its_threads_are_joined() {
    let held = Arc::new(());
    let (hook, beat, listener) = (Arc::clone(&held), Arc::clone(&held), Arc::clone(&held));
    let setup = Setup::named("dog").with_listener(
        move |_: &tower_keep::event::Source<'_>, _: &tower_keep::event::Event<'_>| {
            let _ = &listener;
        },
    );
    // By real time: nobody wakes it but its end.
    let watchdog = Watchdog::builder(setup)
        .on_expiry(move |_| drop(Arc::clone(&hook)))
        .heartbeat(
            move |_| {
                drop(Arc::clone(&beat));
                Ok(())
            },
            secs(3_600),
        )
        .start()
        .unwrap();
    let _kicker = watchdog.task("copy", secs(3_600)).unwrap();
    wait(|| watchdog.snapshot().beats == 1);
    assert_eq!(Arc::strong_count(&held), 4);
    drop(watchdog);
    assert_eq!(Arc::strong_count(&held), 1, "a thread is left");
}

#[test]
fn the_diagnostics_tell_all_that_is_known() {
    let bench = Bench::new();
    let recorder = Recorder::new();
    let registry = Registry::new().with_listener(recorder.clone());
    let told = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&told);
    let setup = || Setup::new().with_clock(bench.time.clock());
    let watchdog = Watchdog::builder(setup().in_registry(&registry))
        .diagnose(&registry)
        .recorder(&recorder)
        .on_expiry(move |expiry| *tell.lock().unwrap() = Some(expiry.clone()))
        .start()
        .unwrap();
    let policy = Policy::stuck_after(secs(9)).unwrap();
    let layer = WatchdogLayer::with(policy, Setup::named("api").in_registry(&registry));
    watchdog.watch(&layer.handle());
    let mut service = layer.layer(service_fn(async |(): ()| {
        stage("database");
        std::future::pending::<Result<(), Error<()>>>().await
    }));
    let mut call = Hand::new(service.call(()));
    assert!(call.poll().is_pending());
    layer.handle().update(policy);
    let _copy = watchdog.task("copy", secs(1)).unwrap();
    let idle = watchdog.task("idle", secs(1)).unwrap();
    idle.pause();
    bench.until_tasks(&watchdog, 2);
    bench.pass(secs(2));
    wait(|| told.lock().unwrap().is_some());
    let expiry = told.lock().unwrap().take().unwrap();
    assert_eq!(expiry.subject().to_string(), "task \"copy\"");
    let seen = &expiry.diagnostics;
    assert_eq!(seen.calls.len(), 1);
    assert_eq!(
        (&*seen.calls[0].layer, &*seen.calls[0].stage),
        ("api", "database")
    );
    assert!(seen.calls[0].age >= ms(700), "{seen:?}");
    assert_eq!(seen.tasks.len(), 2);
    let names: Vec<_> = seen.reports.iter().map(|report| &*report.name).collect();
    assert_eq!(names, ["watchdog", "api"]);
    assert!(
        seen.events.iter().any(|event| event.contains("Updated")),
        "{seen:?}"
    );
    let text = expiry.to_string();
    for part in [
        "watchdog: task \"copy\": no progress for 1",
        "task \"copy\": expired",
        "task \"idle\": paused",
        "in flight at \"api\"",
        "stage \"database\"",
        "watchdog \"api\": [(\"in_flight\", Count(1))",
        "heard: watchdog \"api\": Updated",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_recorder_keeps_the_last_events_and_no_more() {
    let recorder = Recorder::new();
    let layer = WatchdogLayer::with(
        Policy::default(),
        Setup::named("api".repeat(100)).with_listener(recorder.clone()),
    );
    for _ in 0..100 {
        layer.handle().update(Policy::default());
    }
    let events = recorder.events();
    assert_eq!(events.len(), 64);
    assert!(events.iter().all(|event| event.len() == 120));
    assert!(events[0].starts_with("watchdog \"apiapi"));
}

#[test]
fn times_out_of_range_are_named() {
    let start = |builder: tower_keep::watchdog::Builder| match builder.start() {
        Err(StartError::Policy(error)) => error.field(),
        other => panic!("{other:?}"),
    };
    let builder = || Bench::new().builder();
    let zero = Duration::ZERO;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let handle = || runtime.handle().clone();
    assert_eq!(start(builder().runtime("main", handle(), zero)), "interval");
    assert_eq!(start(builder().heartbeat(|_| Ok(()), zero)), "every");
    assert_eq!(start(builder().patience(zero)), "patience");
    assert_eq!(start(builder().grace(Duration::MAX)), "grace");
    assert!(builder().grace(zero).start().is_ok());
    // A name can be anything.
    assert!(Watchdog::builder(Setup::named("a\0b")).start().is_ok());
    for (policy, field) in [
        (Policy::builder().stuck_after(zero), "stuck_after"),
        (Policy::builder().hung_after(Duration::MAX), "hung_after"),
        (Policy::builder().capacity(0), "capacity"),
        (Policy::builder().capacity(u32::MAX), "capacity"),
    ] {
        assert_eq!(policy.build().unwrap_err().field(), field);
    }
}

#[test]
fn a_heartbeat_stops_while_something_stands_still_and_starts_again() {
    let bench = Bench::new();
    let beats = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&beats);
    let watchdog = bench
        .builder()
        .heartbeat(
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
            ms(500),
        )
        .start()
        .unwrap();
    let kicker = watchdog.task("copy", secs(2)).unwrap();
    bench.until_tasks(&watchdog, 1);
    let beaten = || beats.load(Ordering::SeqCst);
    let settle = || wait(|| beaten() as u64 == watchdog.snapshot().beats);
    bench.pass_with(secs(10), ms(100), || {
        kicker.kick();
        settle();
    });
    let before = beaten();
    assert!((20..=22).contains(&before), "{before}");
    bench.pass_with(secs(10), ms(100), settle);
    let stale = beaten();
    assert!(stale - before <= 5, "{stale} {before}");
    let snapshot = watchdog.snapshot();
    assert!(snapshot.withheld >= 14, "{snapshot:?}");
    assert_eq!(snapshot.missed, 0);
    kicker.kick();
    bench.pass_with(ms(1_900), ms(100), settle);
    assert!(beaten() >= stale + 3);
}

#[test]
fn a_heartbeat_that_fails_panics_or_hangs_is_counted() {
    let bench = Bench::new();
    let (release, wait_for) = mpsc::channel::<()>();
    let watchdog = bench
        .builder()
        .heartbeat(|_| Err(std::io::Error::other("scripted")), secs(1))
        .heartbeat(|_| panic!("scripted"), secs(1))
        .heartbeat(
            move |_| wait_for.recv().map_err(std::io::Error::other),
            secs(1),
        )
        .start()
        .unwrap();
    wait(|| watchdog.snapshot().looks > 0);
    bench.pass_with(secs(5), ms(500), || wait(|| watchdog.callback_panics() > 0));
    let snapshot = watchdog.snapshot();
    // Five that fail, five that panic, and four that find the last one still there.
    assert!(snapshot.missed >= 12, "{snapshot:?}");
    drop(release);
}
