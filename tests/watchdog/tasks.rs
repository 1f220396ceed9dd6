//! Tasks that kick, or do not.

use std::time::Duration;

use tower_keep::watchdog::Standing;

use crate::bench::{Bench, UNKNOWN, ms, secs, wait};

fn expired(task: &str) -> String {
    format!("task {task:?}: {UNKNOWN}")
}

#[test]
fn a_task_expires_within_one_and_a_quarter_of_its_interval_and_never_early() {
    for kicks_at in [0, 1, 99, 250, 251, 499, 700, 999] {
        let bench = Bench::new();
        let watchdog = bench.builder().start().unwrap();
        let kicker = watchdog.task("copy", secs(1)).unwrap();
        bench.until_tasks(&watchdog, 1);
        bench.pass(ms(kicks_at));
        kicker.kick();
        bench.pass(secs(5));
        let told = bench.heard.when(&expired("copy")).unwrap();
        let after = told - ms(kicks_at);
        assert!(
            after >= secs(1) && after <= ms(1_260),
            "{kicks_at}: {after:?}"
        );
        assert_eq!(bench.heard.all().len(), 1, "told once");
        assert_eq!(watchdog.snapshot().expiries, 1);
        assert_eq!(watchdog.snapshot().standing_still, 1);
    }
}

#[test]
fn progress_in_time_is_no_alarm_and_late_progress_ends_it() {
    let bench = Bench::new();
    let watchdog = bench.builder().start().unwrap();
    let kicker = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    bench.pass_with(secs(600), ms(900), || kicker.kick());
    assert_eq!(bench.heard.all(), [""; 0]);
    bench.pass(secs(2));
    kicker.kick();
    bench.pass(secs(1));
    let recovered = "task \"copy\": recovered".to_owned();
    assert_eq!(bench.heard.all(), [expired("copy"), recovered]);
    let snapshot = watchdog.snapshot();
    assert_eq!((snapshot.recoveries, snapshot.standing_still), (1, 0));
}

#[test]
fn each_task_has_its_own_interval() {
    let bench = Bench::new();
    let watchdog = bench.builder().start().unwrap();
    let _often = watchdog.task("often", ms(200)).unwrap();
    let seldom = watchdog.task("seldom", secs(60)).unwrap();
    bench.until_tasks(&watchdog, 2);
    bench.pass(secs(50));
    assert_eq!(bench.heard.all(), [expired("often")]);
    seldom.kick();
    bench.pass(secs(50));
    assert_eq!(bench.heard.all(), [expired("often")]);
    bench.pass(secs(30));
    assert_eq!(bench.heard.all(), [expired("often"), expired("seldom")]);
    let ages: Vec<Duration> = watchdog.snapshot().tasks.iter().map(|t| t.age).collect();
    assert!(ages[0] >= secs(129) && ages[1] >= secs(60), "{ages:?}");
}

#[test]
fn a_task_with_nothing_to_do_is_left_in_peace() {
    let bench = Bench::new();
    let watchdog = bench.builder().start().unwrap();
    let kicker = watchdog.task("queue", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    kicker.pause();
    bench.pass(secs(600));
    assert_eq!(watchdog.snapshot().tasks[0].standing, Standing::Paused);
    assert_eq!(bench.heard.all(), [""; 0]);
    kicker.kick();
    bench.pass(secs(2));
    assert_eq!(bench.heard.all(), [expired("queue")]);
    kicker.pause();
    bench.pass(ms(500));
    assert_eq!(watchdog.snapshot().standing_still, 0);
}

#[test]
fn the_last_kicker_dropped_ends_the_watch() {
    let bench = Bench::new();
    let watchdog = bench.builder().start().unwrap();
    let kicker = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    let clone = kicker.clone();
    drop(kicker);
    bench.pass(ms(500));
    assert_eq!(watchdog.snapshot().tasks.len(), 1);
    drop(clone);
    bench.pass(secs(10));
    assert_eq!(watchdog.snapshot().tasks.len(), 0);
    assert_eq!(bench.heard.all(), [""; 0]);
}

/// The machine slept, the process was stopped, the clock jumped: the watchdog itself
/// has not run, and nobody else has.
#[test]
fn fault_085_time_in_which_the_watchdog_did_not_run_speaks_against_nobody() {
    let bench = Bench::new();
    let watchdog = bench.builder().start().unwrap();
    let kicker = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    kicker.kick();
    bench.pass(ms(300));
    bench.step(secs(3_600));
    bench.time.rewind(ms(200));
    bench.step(ms(1));
    assert_eq!(bench.heard.all(), [""; 0]);
    // It still sees what stands still from then on.
    bench.pass(secs(2));
    assert_eq!(bench.heard.all(), [expired("copy")]);
}

#[test]
fn an_interval_of_nothing_is_none() {
    let watchdog = Bench::new().builder().start().unwrap();
    for interval in [Duration::ZERO, Duration::MAX] {
        let error = watchdog.task("copy", interval).unwrap_err();
        assert_eq!(error.field(), "interval");
    }
    assert!(watchdog.task("copy", Duration::from_nanos(1)).is_ok());
}

#[test]
fn how_old_a_kick_is_is_told_in_each_interval() {
    use std::sync::{Arc, Mutex};
    use tower_keep::event::{Event, Source};
    let bench = Bench::new();
    let ages = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&ages);
    let setup = bench
        .setup("dog")
        .with_listener(move |_: &Source<'_>, event: &Event<'_>| {
            if let Event::Kicked(kicked) = event {
                assert_eq!((kicked.task, kicked.interval), ("copy", secs(4)));
                told.lock().unwrap().push(kicked.age);
            }
        });
    let watchdog = tower_keep::watchdog::Watchdog::builder(setup)
        .start()
        .unwrap();
    let _kicker = watchdog.task("copy", secs(4)).unwrap();
    bench.until_tasks(&watchdog, 1);
    bench.pass(secs(3));
    // A thread that was kept from the processor looks less often.
    wait(|| ages.lock().unwrap().last() >= Some(&secs(2)));
    let ages = ages.lock().unwrap();
    assert!(ages.len() >= 2 && ages.is_sorted(), "{ages:?}");
    assert!(ages.last() <= Some(&secs(3)), "{ages:?}");
}
