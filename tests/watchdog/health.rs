//! What health hears of a watchdog.

use std::time::Duration;

use tower_keep::clock::Clock;
use tower_keep::health::checks::Layers;
use tower_keep::health::{Check, Criticality, Group, Health};
use tower_keep::probe::{Schedule, Status, ask};
use tower_keep::watchdog::Watchdog;
use tower_keep::{Ratio, Registry};

use crate::bench::{Bench, ms, secs};

async fn pass(time: Duration) {
    let clock = Clock::default();
    let due = clock.now().saturating_add(time);
    clock.sleep_until(due).await.unwrap();
}

async fn told(layers: &Layers) -> (Status, String) {
    let finding = ask(layers, secs(1), &Clock::default()).await.finding;
    (finding.status(), finding.output().to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_stands_still_fails_until_it_moves_is_paused_or_is_gone() {
    let bench = Bench::new();
    let registry = Registry::new();
    let watchdog = Watchdog::builder(bench.setup("dog").in_registry(&registry));
    let watchdog = watchdog.start().unwrap();
    let copy = watchdog.task("copy", secs(1)).unwrap();
    let queue = watchdog.task("queue", secs(2)).unwrap();
    bench.until_tasks(&watchdog, 2);
    let layers = Layers::of(&registry).named("dog");
    let well = (Status::Pass, String::new());
    let still = (Status::Fail, "watchdog dog: standing_still".to_owned());
    assert_eq!(told(&layers).await, well);
    bench.pass(ms(1_500));
    assert_eq!(told(&layers).await, still);
    copy.kick();
    bench.pass(ms(300));
    assert_eq!(told(&layers).await, well);
    // Both: as long as one of them does.
    bench.pass(secs(3));
    copy.pause();
    bench.pass(ms(300));
    assert_eq!(told(&layers).await, still);
    drop(queue);
    bench.pass(ms(600));
    assert_eq!(told(&layers).await, well);
    assert_eq!(watchdog.snapshot().expiries, 3);
    drop(watchdog);
    assert_eq!(told(&layers).await.1, "no layer of this name");
}

/// As the operator wants it: a restart, or no more requests, or a warning.
#[tokio::test(start_paused = true)]
async fn a_stall_counts_for_as_much_as_its_check() {
    for (groups, criticality, live, ready) in [
        (
            Group::Liveness,
            Criticality::Critical,
            Status::Fail,
            Status::Pass,
        ),
        (
            Group::Readiness,
            Criticality::Critical,
            Status::Pass,
            Status::Fail,
        ),
        (
            Group::Readiness,
            Criticality::Degrading,
            Status::Pass,
            Status::Warn,
        ),
    ] {
        let bench = Bench::new();
        let registry = Registry::new();
        let watchdog = Watchdog::builder(bench.setup("dog").in_registry(&registry));
        let watchdog = watchdog.start().unwrap();
        let kicker = watchdog.task("copy", secs(1)).unwrap();
        bench.until_tasks(&watchdog, 1);
        let schedule = Schedule::builder().interval(secs(1)).jitter(Ratio::ZERO);
        let schedule = schedule.timeout(ms(500)).build().unwrap();
        let check = Check::new("progress", Layers::of(&registry).named("dog"));
        let check = check.groups([groups]).criticality(criticality);
        let health = Health::builder().check(check.schedule(schedule)).start();
        let health = health.unwrap();
        let now = || {
            let group = |group| health.status_of(group);
            (group(Group::Liveness), group(Group::Readiness))
        };
        pass(ms(100)).await;
        assert_eq!(now(), (Status::Pass, Status::Pass));
        bench.pass(secs(2));
        pass(secs(5)).await;
        assert_eq!(now(), (live, ready));
        kicker.kick();
        bench.pass(ms(300));
        pass(secs(5)).await;
        assert_eq!(now(), (Status::Pass, Status::Pass));
    }
}
