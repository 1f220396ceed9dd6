//! What checks mean for their groups.

use std::sync::{Arc, Mutex};

use tower_keep::Setup;
use tower_keep::event::{Event, Source, Subject, Trace};
use tower_keep::health::{Builder, Criticality, Group, Health, StartError};
use tower_keep::probe::Status::{self, Fail, Pass, Warn};

use super::{Check, Thing, every_second, groups, pass, started};
use crate::support::{ms, secs};

#[tokio::test(start_paused = true)]
async fn a_group_is_as_its_worst_check() {
    let things: [Thing; 3] = Default::default();
    let [critical, degrading, warm_up] = &things;
    let health = started([
        critical.check("critical"),
        degrading.check("extra").criticality(Criticality::Degrading),
        warm_up.check("alive").groups([Group::Liveness]),
    ]);
    for ([a, b, c], [liveness, readiness]) in [
        ([Pass, Pass, Pass], [Pass, Pass]),
        ([Pass, Warn, Pass], [Pass, Warn]),
        ([Pass, Fail, Pass], [Pass, Warn]),
        ([Warn, Fail, Pass], [Pass, Warn]),
        ([Fail, Pass, Pass], [Pass, Fail]),
        ([Fail, Fail, Warn], [Warn, Fail]),
        ([Pass, Pass, Fail], [Fail, Pass]),
    ] {
        for (thing, status) in things.iter().zip([a, b, c]) {
            thing.set(status);
        }
        pass(ms(1_100)).await;
        let given = [a, b, c];
        assert_eq!(groups(&health), [liveness, readiness, Pass], "{given:?}");
        let overall = health.snapshot().overall;
        assert_eq!(overall, liveness.max(readiness), "{given:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_answer_it_lives_and_is_not_ready() {
    let thing = Thing::default();
    let later = every_second().first(secs(2)).build().unwrap();
    let health = started([
        thing.check("a").schedule(later),
        thing
            .check("b")
            .schedule(later)
            .groups([Group::Liveness, Group::Readiness]),
    ]);
    pass(ms(1_900)).await;
    assert_eq!(thing.runs(), 0);
    assert_eq!(groups(&health), [Pass, Fail, Pass]);
    assert_eq!(health.check("a").unwrap().output, "not checked yet");
    pass(ms(200)).await;
    assert_eq!(groups(&health), [Pass; 3]);
}

#[tokio::test(start_paused = true)]
async fn startup_gates_readiness_and_is_for_ever() {
    let (warm_up, ready) = (Thing::default(), Thing::default());
    warm_up.set(Fail);
    let health = started([
        warm_up.check("warm-up").groups([Group::Startup]),
        ready.check("ready"),
    ]);
    pass(ms(5_500)).await;
    assert_eq!(groups(&health), [Pass, Fail, Fail]);
    assert_eq!(warm_up.runs(), 6);
    warm_up.set(Pass);
    pass(secs(1)).await;
    assert_eq!(groups(&health), [Pass; 3]);
    // It is not asked any more, and never stale.
    warm_up.set(Fail);
    pass(secs(100)).await;
    assert_eq!(groups(&health), [Pass; 3]);
    assert_eq!(health.snapshot().overall, Pass);
    assert_eq!(warm_up.runs(), 7);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_by_its_name() {
    let good = || Thing::default().check("a");
    let refused = |checks: Vec<Check>| {
        let builder = checks.into_iter().fold(Health::builder(), Builder::check);
        match builder.start().map(drop) {
            Err(StartError::Check(error)) => (error.field(), error.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let named = |name: &str| Thing::default().check(name);
    let long = "x".repeat(65);
    for name in ["", "a:b", "a b", "a/b", "ä", &long] {
        assert_eq!(refused(vec![named(name)]).0, "name", "{name}");
    }
    let (field, text) = refused(vec![good(), named("b"), good()]);
    assert!(field == "name" && text.contains("\"a\" twice"), "{text}");
    assert_eq!(refused(vec![good().groups([])]).0, "groups");
    assert_eq!(
        refused(vec![good().stale_after(ms(1_100))]).0,
        "stale_after"
    );
    let enough = good().stale_after(ms(1_200));
    drop(started([enough, named("x".repeat(64).as_str())]));
}

#[test]
fn without_a_runtime_it_does_not_start() {
    let started = Health::builder().check(Thing::default().check("a")).start();
    assert!(matches!(started, Err(StartError::NoRuntime(_))));
}

#[tokio::test(start_paused = true)]
async fn every_change_is_told_once_in_its_order() {
    type Told = (u64, String, Option<Status>, Status);
    let told = Arc::new(Mutex::new(Vec::<Told>::new()));
    let listener = {
        let told = told.clone();
        move |source: &Source<'_>, event: &Event<'_>| {
            let Event::Checked(change) = event else {
                panic!("{event:?}")
            };
            assert_eq!((source.pattern, source.name), ("health", "shop"));
            let (kind, name) = change.subject.label();
            assert_eq!(kind == "check", matches!(change.subject, Subject::Check(_)));
            let told = &mut *told.lock().unwrap();
            told.push((change.number, name.to_owned(), change.from, change.to));
        }
    };
    let thing = Thing::default();
    let setup = Setup::named("shop").with_listener(listener);
    let health = Health::builder().setup(setup).check(thing.check("db"));
    let health = health.start().unwrap();
    pass(ms(100)).await;
    thing.set(Fail);
    pass(secs(3)).await;
    health.withdraw("maintenance");
    thing.set(Pass);
    pass(secs(3)).await;
    health.restore();
    let change = |number, name: &str, from, to| (number, name.to_owned(), from, to);
    let first = [
        // When it was set up, nothing was known.
        change(1, "readiness", Some(Pass), Fail),
        change(2, "db", None, Pass),
        change(3, "readiness", Some(Fail), Pass),
        change(4, "db", Some(Pass), Fail),
        change(5, "readiness", Some(Pass), Fail),
        change(6, "db", Some(Fail), Pass),
        change(7, "readiness", Some(Fail), Pass),
    ];
    assert_eq!(*told.lock().unwrap(), first);
    drop(health);
    pass(secs(1)).await;
    assert_eq!(told.lock().unwrap().len(), 7, "its end is nobody's affair");
}

#[derive(Clone, Default)]
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

#[tokio::test(start_paused = true)]
async fn every_change_is_a_line_of_a_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time();
    let _log = tracing::subscriber::set_default(subscriber.finish());
    let thing = Thing::default();
    let setup = Setup::named("shop").with_listener(Trace);
    let health = Health::builder().setup(setup).check(thing.check("db"));
    let health = health.start().unwrap();
    pass(ms(100)).await;
    thing.set(Fail);
    pass(secs(1)).await;
    assert_eq!(health.status(), Fail);
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let log: Vec<_> = log.lines().map(str::trim_start).collect();
    let fields = |line: &str| line.split_once("number=").map(|(_, rest)| rest.to_owned());
    assert!(log.iter().all(|line| line.starts_with("INFO")), "{log:#?}");
    let told: Vec<_> = log.iter().filter_map(|line| fields(line)).collect();
    assert!(
        told.iter()
            .any(|line| line.contains("kind=\"check\" what=\"db\"")
                && line.contains("from=\"pass\" to=\"fail\"")),
        "{log:#?}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains("kind=\"group\" what=\"readiness\"")
                && line.contains("from=\"pass\" to=\"fail\"")),
        "{log:#?}"
    );
    assert_eq!(told.len(), log.len());
}
