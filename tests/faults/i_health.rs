//! I. Health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Request;
use tower::Service;
use tower_keep::Ratio;
use tower_keep::clock::Clock;
use tower_keep::health::{Check, Endpoints, Group, Health, StartError};
use tower_keep::probe::{Finding, Grpc, Http, Probe, Schedule, ScheduleBuilder, Status, Tcp};

use crate::support::{full_scale, ms, secs};

fn every(interval: Duration) -> ScheduleBuilder {
    let schedule = Schedule::builder().interval(interval).jitter(Ratio::ZERO);
    schedule.timeout(interval / 2)
}

async fn pass(time: Duration) {
    let clock = Clock::default();
    let due = clock.now().saturating_add(time);
    clock.sleep_until(due).await.unwrap();
}

/// A check that is always good, and counts how often it is asked.
fn counted(runs: &Arc<AtomicU64>) -> impl Probe {
    let runs = runs.clone();
    move || {
        runs.fetch_add(1, Ordering::Relaxed);
        std::future::ready(())
    }
}

async fn code(endpoints: &mut Endpoints, path: &str) -> u16 {
    let request = Request::get(path).body(()).unwrap();
    endpoints.call(request).await.unwrap().status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn fault_082_a_flood_of_probes_runs_no_check_more_often() {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = counted(&runs);
    let check = Check::new("counted", counted).schedule(every(secs(2)).build().unwrap());
    let health = Health::builder().check(check).start().unwrap();
    let mut shut = health.endpoints();
    let mut open = health.endpoints().details_for(|_| true);
    // 10^5 in each of ten virtual seconds.
    let a_second = full_scale(100_000, 2_000);
    pass(ms(1)).await;
    for _ in 0..10 {
        for at in 0..a_second {
            let (endpoints, path) = match at % 4 {
                0 => (&mut shut, "/readyz"),
                1 => (&mut shut, "/livez"),
                2 => (&mut open, "/readyz?verbose"),
                _ => (&mut open, "/healthz?exclude=other"),
            };
            assert_eq!(code(endpoints, path).await, 200);
        }
        pass(secs(1)).await;
    }
    // Elapsed by interval, and the first one.
    let run = runs.load(Ordering::Relaxed);
    assert_eq!(run, 10 / 2 + 1);
    assert_eq!(health.check("counted").unwrap().runs, run);
}

#[tokio::test(start_paused = true)]
async fn fault_083_what_hangs_or_panics_touches_no_other() {
    let schedule = every(secs(1)).build().unwrap();
    let runs = Arc::new(AtomicU64::new(0));
    let counted = counted(&runs);
    let bad = [
        Check::new("hangs", std::future::pending::<()>),
        Check::new("panics", || async { panic!("scripted") as () }),
        Check::new("begins-badly", || -> std::future::Ready<()> {
            panic!("scripted")
        }),
    ];
    let builder = Health::builder().check(Check::new("good", counted).schedule(schedule));
    let builder = bad.into_iter().fold(builder, |builder, check| {
        builder.check(check.schedule(schedule).groups([Group::Liveness]))
    });
    let health = builder.start().unwrap();
    for _ in 0..100 {
        pass(secs(1)).await;
        assert_eq!(health.status(), Status::Pass);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 101);
    assert_eq!(health.status_of(Group::Liveness), Status::Fail);
    for check in &health.snapshot().checks[1..] {
        assert!(
            check.runs >= 100 && check.runs == check.failures,
            "{check:?}"
        );
    }
    assert!(health.callback_panics() >= 200);
}

#[tokio::test(start_paused = true)]
async fn fault_083_readiness_changes_at_most_once_in_a_window() {
    for (period, bad, changes) in [
        // Shorter than the window: never believed.
        (7, 2, 0),
        (2, 1, 0),
        // Longer: each time, and back.
        (10, 5, 199),
    ] {
        let run = Arc::new(AtomicU64::new(0));
        let flaps = move || {
            let at = run.fetch_add(1, Ordering::Relaxed) % period;
            std::future::ready(if at >= period - bad {
                Finding::fail("down")
            } else {
                Finding::pass()
            })
        };
        let schedule = every(secs(1)).fall(3).rise(3).build().unwrap();
        let check = Check::new("flaps", flaps).schedule(schedule);
        let health = Health::builder().check(check).start().unwrap();
        pass(ms(500)).await;
        let mut seen: Vec<u64> = Vec::new();
        let mut shown = health.status();
        for second in 0..1_000 {
            pass(secs(1)).await;
            if health.status() != shown {
                shown = health.status();
                seen.push(second);
            }
        }
        assert_eq!(seen.len(), changes, "{period} {bad}: {seen:?}");
        assert!(
            seen.windows(2).all(|pair| pair[1] - pair[0] >= 3),
            "{seen:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn fault_084_a_dependency_that_is_down_leaves_the_process_alive() {
    let down = || async { Err::<(), _>("connection refused") };
    let health = Health::builder()
        .check(Check::new("self", || async {}).groups([Group::Liveness]))
        .check(Check::new("database", down).dependency())
        .start()
        .unwrap();
    pass(ms(100)).await;
    let mut endpoints = health.endpoints();
    assert_eq!(code(&mut endpoints, "/livez").await, 200);
    assert_eq!(code(&mut endpoints, "/readyz").await, 503);

    // And it cannot be wired otherwise.
    let alive = |check: Check| {
        let check = check.groups([Group::Liveness, Group::Readiness]);
        match Health::builder().check(check).start().map(drop) {
            Err(StartError::Check(error)) => assert_eq!(error.field(), "liveness"),
            other => panic!("{other:?}"),
        }
    };
    alive(Check::new("database", down).dependency());
    alive(Check::new("tcp", Tcp::new("db:5432").unwrap()));
    alive(Check::new("http", Http::new("http://api/").unwrap()));
    alive(Check::new("grpc", Grpc::new("http://shop:50051").unwrap()));
}
