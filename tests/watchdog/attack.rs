//! What nobody should do to a watchdog.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tower_keep::Setup;
use tower_keep::clock::Clock;
use tower_keep::event::{Event, Source};
use tower_keep::watchdog::{Expiry, Kicker, Readiness, Watchdog};

use crate::bench::{Bench, ms, secs, wait};

/// Where a hook finds what it drops.
type Held<T> = Arc<Mutex<Option<T>>>;

fn take<T>(held: &Held<T>) -> Option<T> {
    held.lock().unwrap().take()
}

#[test]
fn fault_086_a_hook_may_drop_its_own_watchdog() {
    let bench = Bench::new();
    let held: Held<Watchdog> = Held::default();
    let (hold, (tell, told)) = (Arc::clone(&held), mpsc::channel());
    let hook = move |_: &Expiry| drop(take(&hold).map(|own| tell.send(own.name().to_owned())));
    let watchdog = bench.builder().on_expiry(hook).start().unwrap();
    let _copy = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    *held.lock().unwrap() = Some(watchdog);
    wait(|| {
        bench.time.advance(ms(100));
        told.try_recv().is_ok_and(|name| name == "dog")
    });
    // Nothing is left of the hook once its thread has ended.
    wait(|| Arc::strong_count(&held) == 1);
}

#[test]
fn fault_086_a_listener_may_drop_its_own_watchdog() {
    let bench = Bench::new();
    let held: Held<Watchdog> = Held::default();
    let dropped = Arc::new(AtomicBool::new(false));
    let (hold, is_dropped) = (Arc::clone(&held), Arc::clone(&dropped));
    let setup = bench
        .setup("dog")
        .with_listener(move |_: &Source<'_>, event: &Event<'_>| {
            if matches!(event, Event::Expired(_)) {
                drop(take(&hold));
                is_dropped.store(true, Ordering::SeqCst);
            }
        });
    let watchdog = Watchdog::builder(setup).start().unwrap();
    let copy = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    *held.lock().unwrap() = Some(watchdog);
    wait(|| {
        bench.time.advance(ms(100));
        Arc::strong_count(&held) == 1
    });
    assert!(dropped.load(Ordering::SeqCst), "it panicked");
    drop(copy);
}

/// A task that gives up in its own expiry no longer stands still.
#[test]
fn a_hook_may_drop_the_kicker_that_has_expired() {
    let bench = Bench::new();
    let held: Held<Kicker> = Held::default();
    let hold = Arc::clone(&held);
    let ready = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&ready);
    let watchdog = bench
        .builder()
        .on_expiry(move |_| drop(take(&hold)))
        .readiness(move |now| tell.lock().unwrap().push(now))
        .start()
        .unwrap();
    *held.lock().unwrap() = Some(watchdog.task("copy", secs(1)).unwrap());
    bench.until_tasks(&watchdog, 1);
    bench.pass_with(secs(3), ms(250), || {
        wait(|| {
            let has_expired = watchdog.snapshot().expiries > 0;
            held.lock().unwrap().is_none() == has_expired
        });
    });
    wait(|| ready.lock().unwrap().len() == 2);
    assert_eq!(
        *ready.lock().unwrap(),
        [Readiness::NotReady, Readiness::Ready]
    );
    let snapshot = watchdog.snapshot();
    assert_eq!((snapshot.expiries, snapshot.standing_still), (1, 0));
    assert!(snapshot.tasks.is_empty());
}

/// Kickers come, kick, pause and go on four threads while time flies.
#[test]
fn nothing_is_left_of_tasks_that_come_and_go_while_others_expire() {
    let bench = Bench::new();
    let watchdog = bench.builder().start().unwrap();
    let ends = AtomicBool::new(false);
    let made = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (watchdog, ends, made) = (&watchdog, &ends, &made);
            scope.spawn(move || {
                let mut kept = std::collections::VecDeque::new();
                let mut turn = thread;
                while !ends.load(Ordering::Relaxed) {
                    turn += 1;
                    let kicker = watchdog.task(format!("{turn}"), ms(20)).unwrap();
                    match turn % 4 {
                        0 => kicker.pause(),
                        1 => kicker.kick(),
                        2 => kept.push_back(kicker.clone()),
                        _ => {}
                    }
                    kept.push_back(kicker);
                    if kept.len() > 16 {
                        kept.drain(..kept.len() / 2);
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
        }
        bench.pass_with(secs(1), ms(5), || {
            let before = made.load(Ordering::Relaxed);
            wait(|| made.load(Ordering::Relaxed) > before + 4);
        });
        ends.store(true, Ordering::Relaxed);
    });
    bench.step(ms(10));
    bench.step(ms(10));
    let snapshot = watchdog.snapshot();
    assert!(snapshot.expiries > 0, "{snapshot:?}");
    assert!(snapshot.recoveries <= snapshot.expiries);
    assert_eq!((snapshot.tasks.len(), snapshot.standing_still), (0, 0));
}

#[test]
fn ten_thousand_tasks_that_expire_at_once_are_told_each_and_held_up_by_nobody() {
    const TASKS: usize = 10_000;
    let bench = Bench::new();
    let most = Arc::new(AtomicUsize::new(0));
    let (calls, listed) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&most));
    let called = Arc::clone(&calls);
    let watchdog = bench
        .builder()
        .on_expiry(move |expiry| {
            called.fetch_add(1, Ordering::SeqCst);
            listed.fetch_max(expiry.diagnostics.tasks.len(), Ordering::SeqCst);
        })
        .start()
        .unwrap();
    let kickers: Vec<_> = (0..TASKS)
        .map(|n| watchdog.task(format!("task {n}"), secs(10)).unwrap())
        .collect();
    bench.until_tasks(&watchdog, TASKS);
    let clock = Clock::system();
    let begun = clock.now();
    bench.pass_with(secs(15), ms(500), || {});
    let snapshot = watchdog.snapshot();
    assert_eq!(snapshot.expiries, TASKS as u64);
    assert_eq!(bench.heard.all().len(), TASKS);
    // What the hooks could not keep up with is counted.
    wait(|| {
        let missed = watchdog.snapshot().missed;
        calls.load(Ordering::SeqCst) as u64 + missed == TASKS as u64
    });
    assert!((1..=64).contains(&most.load(Ordering::SeqCst)));
    for kicker in &kickers {
        kicker.kick();
    }
    bench.pass_with(secs(3), ms(500), || {});
    assert_eq!(watchdog.snapshot().recoveries, TASKS as u64);
    let took = clock.now().saturating_since(begun);
    assert!(took < secs(20), "{took:?} for 36 looks");
}

/// Times out of all proportion, and a clock that jumps to and fro.
#[test]
fn jumps_of_the_clock_are_no_alarm_and_hide_none() {
    let bench = Bench::new();
    let watchdog = Watchdog::builder(bench.setup("dog"));
    let watchdog = watchdog.heartbeat(|_| Ok(()), secs(1)).start().unwrap();
    let kicker = watchdog.task("copy", secs(1)).unwrap();
    bench.until_tasks(&watchdog, 1);
    for jump in [secs(1 << 30), ms(1), secs(3_600)] {
        kicker.kick();
        // Until the kick is seen.
        bench.step(ms(300));
        bench.step(jump);
        // By less than it naps for: a nap ends when it was meant to.
        bench.time.rewind(jump.min(ms(200)));
        bench.step(ms(1));
        assert_eq!(bench.heard.all(), [""; 0], "{jump:?}");
    }
    // To the end of time, where nothing moves any more.
    bench.pass(secs(3));
    assert_eq!(watchdog.snapshot().expiries, 1);
    bench.time.advance(Duration::MAX);
    drop(watchdog);
}

/// A name is data: whatever is in it, it is told as it is.
#[test]
fn names_are_told_as_they_are() {
    let bench = Bench::new();
    let long = "x".repeat(100_000);
    let names = ["", "\0", "a\nWATCHDOG=1", "\u{202e}gol", &long];
    let setup = Setup::named("\n\0").with_clock(bench.time.clock());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&lines);
    let watchdog = Watchdog::builder(setup)
        .on_expiry(move |expiry| {
            let text = expiry.to_string();
            let first = text.lines().next().unwrap().to_owned();
            tell.lock().unwrap().push(first);
        })
        .start()
        .unwrap();
    let kickers = names.map(|name| watchdog.task(name, secs(1)).unwrap());
    bench.until_tasks(&watchdog, names.len());
    bench.pass(secs(2));
    wait(|| lines.lock().unwrap().len() == names.len());
    for (line, name) in lines.lock().unwrap().iter().zip(names) {
        let start = format!("watchdog: task {name:?}: no progress for 1");
        assert!(line.starts_with(&start), "{}", &line[..60]);
    }
    drop(kickers);
}
