//! When checks run, and when they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use tower_keep::clock::Clock;
use tower_keep::health::{Check, Group, Health};
use tower_keep::probe::Status::{Fail, Pass};
use tower_keep::test_util::Hand;

use super::{Thing, every_second, groups, pass, started};
use crate::support::{ms, secs};

/// Counts how many of it there are.
#[derive(Clone)]
struct Held(Arc<()>);

#[tokio::test(start_paused = true)]
async fn the_last_handle_ends_the_checks() {
    let held = Held(Arc::new(()));
    let alive = Arc::downgrade(&held.0);
    let runs = Arc::new(AtomicU64::new(0));
    let probe = {
        let runs = runs.clone();
        move || {
            let (held, runs) = (held.clone(), runs.clone());
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
                let _held = held;
                std::future::pending::<()>().await;
            }
        }
    };
    let check = Check::new("stuck", probe).schedule(every_second().build().unwrap());
    let health = started([check]);
    let (clone, endpoints) = (health.clone(), health.endpoints());
    pass(ms(3_500)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    drop((health, clone));
    pass(secs(1)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 5, "its service still asks");
    drop(endpoints);
    pass(ms(10)).await;
    assert!(alive.upgrade().is_none(), "a check is left");
    pass(secs(5)).await;
    assert_eq!(runs.load(Ordering::Relaxed), 5);
}

#[test]
fn when_the_runtime_ends_everything_fails() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let thing = Thing::default();
    let health = first.block_on(async {
        let health = started([thing.check("a").groups([Group::Liveness, Group::Readiness])]);
        pass(ms(100)).await;
        health
    });
    assert_eq!(groups(&health), [Pass; 3]);
    let waiting = {
        let health = health.clone();
        async move { health.changed(Group::Readiness, Pass).await }
    };
    let mut waiting = Hand::new(Box::pin(waiting));
    assert!(waiting.poll().is_pending());
    drop(first);
    assert_eq!(waiting.wakes(), 1, "whoever waits is told");
    assert_eq!(waiting.poll(), Poll::Ready(Fail));
    assert_eq!(groups(&health), [Fail; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_fails_readiness_and_waits() {
    let thing = Thing::default();
    let health = started([thing.check("a").groups([Group::Liveness, Group::Readiness])]);
    pass(ms(100)).await;
    let clock = Clock::default();
    let start = clock.now();
    let drain = health.drain(secs(7));
    assert_eq!(groups(&health), [Pass; 3], "not before its first poll");
    let mut drain = std::pin::pin!(drain);
    let first = futures_poll(drain.as_mut());
    assert!(first.is_pending());
    assert_eq!(groups(&health), [Pass, Fail, Pass]);
    drain.await;
    let waited = clock.now().saturating_since(start);
    assert!(waited >= secs(7) && waited < ms(7_010), "{waited:?}");
    assert_eq!(groups(&health), [Pass, Fail, Pass]);
    health.restore();
    assert_eq!(groups(&health), [Pass; 3]);
    // Dropped, it leaves readiness failed.
    let _ = futures_poll(std::pin::pin!(health.drain(secs(7))));
    assert_eq!(groups(&health), [Pass, Fail, Pass]);
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[test]
fn a_drain_outside_of_a_runtime_does_not_hang() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let health = runtime.block_on(async { started([]) });
    assert_eq!(health.status(), Pass);
    let mut drain = Hand::new(Box::pin(health.drain(secs(7))));
    assert!(drain.poll().is_ready());
    assert_eq!(health.status(), Fail);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_not_heard_of_is_told_of_without_being_asked_for() {
    let thing = Thing::default();
    let check = thing.check("a").stale_after(secs(3));
    let health = started([check.groups([Group::Liveness, Group::Readiness])]);
    pass(ms(100)).await;
    assert_eq!(groups(&health), [Pass; 3]);
    let watch = tokio::spawn({
        let health = health.clone();
        async move { health.changed(Group::Liveness, Pass).await }
    });
    // The thread of the runtime is blocked for so long: time goes on, and no task does.
    tokio::time::advance(secs(4)).await;
    assert_eq!(groups(&health)[1], Fail, "whoever asks is told at once");
    assert!(health.check("a").unwrap().is_stale);
    assert_eq!(watch.await.unwrap(), Fail);
    pass(secs(1)).await;
    assert_eq!(groups(&health), [Pass; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_counted_and_told() {
    let check = Check::new("bad", || async { panic!("scripted") as () });
    let health = Health::builder().check(check).start().unwrap();
    pass(ms(100)).await;
    assert_eq!(health.callback_panics(), 1);
    let seen = health.check("bad").unwrap();
    assert_eq!((seen.status, seen.runs, seen.failures), (Fail, 1, 1));
}
