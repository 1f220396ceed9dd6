//! Runtimes that stand still, and some that do not.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tower_keep::watchdog::{Kicker, Watchdog};

use crate::bench::{Bench, ms, secs, wait};

fn workers(workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all();
    builder.build().unwrap()
}

fn watchdog(bench: &Bench, runtime: &Handle) -> Watchdog {
    watchdog_of(bench, runtime, secs(1))
}

fn watchdog_of(bench: &Bench, runtime: &Handle, interval: Duration) -> Watchdog {
    let builder = bench.builder().runtime("main", runtime.clone(), interval);
    let watchdog = builder.start().unwrap();
    wait(|| !watchdog.snapshot().runtimes.is_empty());
    watchdog
}

/// Lets the runtime do what it can between two moments of the watchdog, until no more
/// than so many tasks and workers are at work.
fn settle(runtime: &Handle, tasks: usize, workers: usize) {
    let metrics = runtime.metrics();
    let works = |worker: &usize| metrics.worker_park_unpark_count(*worker).is_multiple_of(2);
    wait(|| {
        let working = (0..metrics.num_workers()).filter(works).count();
        metrics.num_alive_tasks() <= tasks && working <= workers
    });
}

fn task(runtime: &Handle, watchdog: &Watchdog, name: &str) -> Kicker {
    task_of(runtime, watchdog, name, secs(1))
}

fn task_of(runtime: &Handle, watchdog: &Watchdog, name: &str, interval: Duration) -> Kicker {
    let _inside = runtime.enter();
    watchdog.task(name, interval).unwrap()
}

#[test]
fn fault_085_a_worker_inside_one_poll_is_told_from_the_watchdogs_own_thread() {
    // All workers, and one of several.
    for (of, blocked) in [(1, 1), (2, 2), (3, 1)] {
        let bench = Bench::new();
        let runtime = workers(of);
        let _watchdog = watchdog(&bench, runtime.handle());
        bench.pass_with(secs(2), ms(50), || settle(runtime.handle(), 0, 0));
        assert_eq!(bench.heard.all(), [""; 0]);
        let mut releases = Vec::new();
        for _ in 0..blocked {
            let (release, wait) = mpsc::channel::<()>();
            let (inside, begun) = mpsc::channel();
            releases.push(release);
            runtime.spawn(async move {
                inside.send(()).unwrap();
                wait.recv().unwrap_or(());
            });
            begun.recv().unwrap();
        }
        let since = bench.elapsed();
        bench.pass_with(secs(3), ms(50), || {
            if blocked < of {
                settle(runtime.handle(), blocked, blocked);
            }
        });
        let blocks = "runtime \"main\": blocked";
        assert_eq!(bench.heard.all(), [blocks], "{blocked} of {of}");
        let after = bench.heard.when(blocks).unwrap() - since;
        assert!(after >= ms(700) && after <= ms(1_500), "{after:?}");
        drop(releases);
        bench.pass_with(secs(1), ms(50), || settle(runtime.handle(), 0, 0));
        assert_eq!(bench.heard.all().len(), 2, "{:?}", bench.heard.all());
    }
}

/// The same by real time: what the planted sleep does.
#[test]
#[allow(clippy::disallowed_methods)] // that is the fault
fn fault_085_a_runtime_blocked_for_two_seconds_is_told_while_it_is() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (told, heard) = mpsc::channel();
    let blocked = Arc::new(Mutex::new(false));
    let sees = Arc::clone(&blocked);
    let watchdog = Watchdog::builder(tower_keep::Setup::named("dog"))
        .runtime("main", runtime.handle().clone(), secs(1))
        .on_expiry(move |expiry| {
            let name = std::thread::current().name().map(str::to_owned);
            told.send((*sees.lock().unwrap(), expiry.cause.label(), name))
                .unwrap();
        })
        .start()
        .unwrap();
    runtime.block_on(async {
        tokio::task::yield_now().await;
        *blocked.lock().unwrap() = true;
        std::thread::sleep(secs(2));
        *blocked.lock().unwrap() = false;
    });
    let (in_time, cause, thread) = heard.recv_timeout(secs(20)).unwrap();
    assert!(in_time, "told after it was over");
    assert_eq!(cause, "blocked");
    assert_eq!(thread.as_deref(), Some("keep-dog-hooks"));
    drop(watchdog);
}

#[test]
fn a_new_task_that_gets_no_turn_while_others_do_is_starved() {
    let bench = Bench::new();
    // Looks at its global queue once in a long while, and always has work of its own.
    let mut builder = Builder::new_current_thread();
    let builder = builder.event_interval(1).global_queue_interval(u32::MAX);
    let runtime = builder.enable_all().build().unwrap();
    let (turn, turns) = mpsc::channel::<()>();
    let (done, ends) = mpsc::channel();
    let handle = runtime.handle().clone();
    let driver = std::thread::spawn(move || {
        runtime.block_on(async move {
            let busy = async move {
                while turns.recv().is_ok() {
                    done.send(()).unwrap();
                    tokio::task::yield_now().await;
                }
            };
            tokio::spawn(busy).await.unwrap();
        });
    });
    turn.send(()).unwrap();
    ends.recv().unwrap();
    let watchdog = watchdog(&bench, &handle);
    bench.pass_with(secs(2), ms(50), || {
        // Several polls, so that the runtime tells that it was busy.
        for _ in 0..4 {
            turn.send(()).unwrap();
            ends.recv().unwrap();
        }
    });
    assert_eq!(bench.heard.all(), ["runtime \"main\": starved"]);
    drop(watchdog);
    drop(turn);
    driver.join().unwrap();
}

#[test]
fn fault_085_two_tasks_that_wait_for_each_others_async_locks_are_a_deadlock() {
    let bench = Bench::new();
    let runtime = workers(2);
    let watchdog = watchdog(&bench, runtime.handle());
    let locks = Arc::new([tokio::sync::Mutex::new(()), tokio::sync::Mutex::new(())]);
    let meet = Arc::new(tokio::sync::Barrier::new(2));
    for me in [0, 1] {
        let (locks, meet) = (Arc::clone(&locks), Arc::clone(&meet));
        let kicker = task(runtime.handle(), &watchdog, &format!("waits {me}"));
        runtime.spawn(async move {
            let _mine = locks[me].lock().await;
            meet.wait().await;
            let _theirs = locks[1 - me].lock().await;
            kicker.kick();
        });
    }
    bench.until_tasks(&watchdog, 2);
    bench.pass_with(secs(3), ms(50), || settle(runtime.handle(), 2, 0));
    let mut heard = bench.heard.all();
    heard.sort();
    let told = ["task \"waits 0\": deadlock", "task \"waits 1\": deadlock"];
    assert_eq!(heard, told);
}

#[test]
fn fault_085_two_tasks_that_wait_for_each_others_locks_of_std_block_their_workers() {
    let bench = Bench::new();
    let runtime = workers(3);
    let watchdog = watchdog(&bench, runtime.handle());
    let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
    let meet = Arc::new(std::sync::Barrier::new(3));
    for me in [0, 1] {
        let (locks, meet) = (Arc::clone(&locks), Arc::clone(&meet));
        let kicker = task(runtime.handle(), &watchdog, &format!("waits {me}"));
        runtime.spawn(async move {
            let _mine = locks[me].lock().unwrap();
            meet.wait();
            let _theirs = locks[1 - me].lock();
            kicker.kick();
        });
    }
    meet.wait();
    bench.until_tasks(&watchdog, 2);
    bench.pass_with(secs(3), ms(50), || settle(runtime.handle(), 2, 2));
    let mut heard = bench.heard.all();
    heard.sort();
    let told = [
        "runtime \"main\": blocked",
        "task \"waits 0\": blocked",
        "task \"waits 1\": blocked",
    ];
    assert_eq!(heard, told);
    assert_eq!(watchdog.snapshot().runtimes[0].frozen, 2);
    // These two threads wait until the process ends.
    runtime.shutdown_background();
}

#[test]
fn a_task_of_no_runtime_that_is_watched_is_an_unknown_stall() {
    let bench = Bench::new();
    let runtime = workers(1);
    let watchdog = watchdog(&bench, runtime.handle());
    let _outside = watchdog.task("outside", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    bench.pass_with(secs(2), ms(50), || settle(runtime.handle(), 0, 0));
    assert_eq!(bench.heard.all(), ["task \"outside\": unknown"]);
}

const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Of what is watched for so long.
const INTERVAL: Duration = Duration::from_secs(5);

/// It looked at each step: nothing of the ten minutes was left out.
fn seen_all(watchdog: &Watchdog, step: Duration) {
    let steps = TEN_MINUTES.as_millis() / step.as_millis();
    let looks = watchdog.snapshot().looks;
    assert!(u128::from(looks) >= steps, "{looks} of {steps}");
}

#[test]
fn fault_085_ten_minutes_of_rest_are_no_alarm() {
    let bench = Bench::new();
    let runtime = workers(2);
    let watchdog = watchdog_of(&bench, runtime.handle(), INTERVAL);
    let idle = task_of(runtime.handle(), &watchdog, "idle", INTERVAL);
    idle.pause();
    bench.until_tasks(&watchdog, 1);
    bench.pass_with(TEN_MINUTES, INTERVAL / 4, || settle(runtime.handle(), 0, 0));
    seen_all(&watchdog, INTERVAL / 4);
    assert_eq!(bench.heard.all(), [""; 0]);
}

#[test]
fn fault_085_ten_minutes_of_full_load_are_no_alarm() {
    let bench = Bench::new();
    let runtime = workers(2);
    let watchdog = watchdog_of(&bench, runtime.handle(), INTERVAL * 4);
    let kickers: Vec<_> = (0..8)
        .map(|n| {
            task_of(
                runtime.handle(),
                &watchdog,
                &format!("busy {n}"),
                INTERVAL * 4,
            )
        })
        .collect();
    for kicker in &kickers {
        let kicker = kicker.clone();
        runtime.spawn(async move {
            loop {
                kicker.kick();
                tokio::task::yield_now().await;
            }
        });
    }
    bench.until_tasks(&watchdog, 8);
    let metrics = runtime.metrics();
    let busy = |worker| metrics.worker_total_busy_duration(worker);
    bench.pass_with(TEN_MINUTES, INTERVAL, || {
        // As much real work as tells that they work: neither of them ever parks.
        let before = [busy(0), busy(1)];
        wait(|| busy(0) > before[0] && busy(1) > before[1]);
        settle(runtime.handle(), 9, 2);
    });
    seen_all(&watchdog, INTERVAL);
    assert_eq!(bench.heard.all(), [""; 0]);
    runtime.shutdown_background();
}

#[test]
fn fault_085_ten_minutes_of_paused_time_are_no_alarm() {
    let bench = Bench::new();
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().start_paused(true).build().unwrap();
    let handle = runtime.handle().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let driver = std::thread::spawn(move || {
        runtime.block_on(async move {
            // An hour passes in no time; then it rests.
            tokio::time::timeout(secs(3_600), std::future::pending::<()>())
                .await
                .unwrap_err();
            drop(stopped.await);
        });
    });
    let watchdog = watchdog_of(&bench, &handle, INTERVAL);
    bench.pass_with(TEN_MINUTES, INTERVAL / 4, || settle(&handle, 0, 0));
    seen_all(&watchdog, INTERVAL / 4);
    assert_eq!(bench.heard.all(), [""; 0]);
    drop(stop);
    driver.join().unwrap();
}

#[test]
fn a_runtime_that_has_ended_is_watched_no_more() {
    let bench = Bench::new();
    let runtime = workers(1);
    let watchdog = watchdog(&bench, runtime.handle());
    drop(runtime);
    bench.pass(secs(10));
    assert_eq!(bench.heard.all(), [""; 0]);
    assert_eq!(watchdog.snapshot().runtimes, []);
}
