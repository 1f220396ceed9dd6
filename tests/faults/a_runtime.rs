//! A. Callbacks that panic, panics in drops, tasks and runtimes that end.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::task::Poll;

use http::Request;
use rand::RngExt;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::classify::{Classify, ClassifyEnd, Verdict};
use tower_keep::clock::Clock;
use tower_keep::event::{Event, Source};
use tower_keep::key::{self, cost};
use tower_keep::test_util::{Call, Hand, ManualClock, Probe, Script, Seed, finish_on};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Error, Setup};

use crate::support::cases::{Rig, permits, rate, timeouts};
use crate::support::watched::Watched;
use crate::support::{call, data, inner, ms, request, response, secs};

/// A classifier that panics.
#[derive(Debug, Clone, Copy)]
struct Judge;

impl<T, E> Classify<T, E> for Judge {
    fn classify(&self, _: Result<&T, &E>) -> Verdict {
        panic!("scripted panic in a classifier")
    }
}

impl ClassifyEnd for Judge {}

fn deaf(_: &Source<'_>, _: &Event<'_>) {
    panic!("scripted panic in a listener")
}

fn panics(registry: &tower_keep::Registry) -> String {
    let values = registry.reports().remove(0);
    format!("{:?}", values.value("callback_panics"))
}

#[test]
fn fault_011_callbacks_that_panic_change_nothing() {
    fn passes<S, H: Watched>(mut rig: Rig<S, H>) -> Rig<S, H>
    where
        S: crate::support::cases::Subject,
    {
        let result = finish_on(&rig.time, call(&mut rig.service, request("a")));
        assert_eq!(result.unwrap().unwrap().status(), 200);
        rig.assert_quiet();
        rig
    }
    macro_rules! rig {
        ($setup:expr, |$s:ident| $layer:expr) => {
            passes(Rig::with($setup, |$s| {
                let layer = $layer;
                let handle = layer.handle();
                (layer, handle)
            }))
        };
    }
    // Listeners, in every pattern.
    let registry = || tower_keep::Registry::new().with_listener(deaf);
    let (a, b, c) = (registry(), registry(), registry());
    let rigs = (
        rig!(Setup::new().in_registry(&a), |s| TimeoutLayer::with(
            timeouts(),
            s
        )),
        rig!(Setup::new().in_registry(&b), |s| BulkheadLayer::with(
            permits(1),
            s
        )),
        rig!(Setup::new().in_registry(&c), |s| ThrottleLayer::with(
            rate(1),
            s
        )),
    );
    assert_eq!(
        [panics(&a), panics(&b)],
        ["Some(Count(1))", "Some(Count(1))"]
    );
    rigs.2.handle.update_same();
    assert_eq!(panics(&c), "Some(Count(1))");
    // Classifiers: the outcome says nothing.
    let a = tower_keep::Registry::new();
    let setup = || Setup::new().in_registry(&a);
    let r = rig!(setup(), |s| BulkheadLayer::with(permits(1), s)
        .classify(Judge));
    assert_eq!(r.handle.snapshot().neutral, 1);
    assert_eq!(panics(&a), "Some(Count(1))");
    let r = rig!(Setup::new(), |s| {
        BulkheadLayer::with(permits(1), s)
            .queued()
            .classify(Judge)
            .until_body_end()
    });
    assert_eq!(r.handle.snapshot().neutral, 1);
    // Keys and costs: no key, and a cost of 1.
    let bad_key =
        || key::value(|_: &Request<()>| -> Option<u8> { panic!("scripted panic in a key") });
    let bad_cost = || cost::by(|_: &Request<()>| -> u32 { panic!("scripted panic in a cost") });
    let r = rig!(Setup::new(), |s| {
        ThrottleLayer::keyed_with(rate(5), bad_key(), s).cost(bad_cost())
    });
    assert_eq!(
        r.handle.remaining(),
        4,
        "it drew 1 from the bucket without a key"
    );
    let r = rig!(Setup::new(), |s| {
        ThrottleLayer::keyed_with(rate(5), bad_key(), s)
            .cost(bad_cost())
            .waiting()
    });
    assert_eq!(r.handle.remaining(), 4);
    // Limits: the policy's holds.
    let bad = || timeout::by(|_: &Request<()>| panic!("scripted panic in a limit"));
    rig!(Setup::new(), |s| TimeoutLayer::with(timeouts(), s)
        .limits(bad()));
}

/// Drops calls of every kind, their bodies and waiters, while a panic unwinds,
/// with listeners that panic as well.
fn unwind_through_everything() {
    let time = ManualClock::new();
    let setup = || Setup::new().with_clock(time.clock()).with_listener(deaf);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let (probe, script, _) = inner(&time);
        let shed = BulkheadLayer::with(permits(2), setup()).until_body_end();
        let queue = BulkheadLayer::with(permits(1), setup()).queued();
        let wait = ThrottleLayer::with(rate(1), setup()).waiting();
        let timeout = TimeoutLayer::with(timeouts(), setup());
        let mut body = shed.layer(probe.clone());
        script.then_call(Call::respond(response(&time, 200, [data("x")])));
        let _body = finish_on(&time, call(&mut body, request("a")));
        (0..8).for_each(|_| script.then_call(Call::never()));
        let held = queue.handle().admit();
        let mut queued = Hand::new(queue.layer(probe.clone()).call(request("a")));
        let mut shed = Hand::new(shed.layer(probe.clone()).call(request("a")));
        let mut timed = Hand::new(timeout.layer(probe.clone()).call(request("a")));
        let mut early = wait.layer(probe);
        let mut first = Hand::new(early.call(request("a")));
        let mut second = Hand::new(early.call(request("a")));
        assert!(queued.poll().is_pending() && shed.poll().is_pending());
        assert!(timed.poll().is_pending() && first.poll().is_pending());
        assert!(second.poll().is_pending());
        let _held = held;
        panic!("scripted panic above everything");
    }));
    assert!(caught.is_err());
    assert_eq!(time.armed(), 0);
}

const CHILD: &str = "KEEP_FAULT_012_CHILD";

#[test]
fn fault_012_a_panic_that_unwinds_through_our_drops_does_not_abort() {
    if std::env::var_os(CHILD).is_some() {
        return unwind_through_everything();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_runtime::fault_012_a_panic_that_unwinds_through_our_drops_does_not_abort")
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {text}", output.status);
    assert!(text.contains("scripted panic above everything"), "{text}");
}

const LAST: &str = "KEEP_FAULT_101_CHILD";

/// Not in the catalogue: found by these tests.
#[test]
fn fault_101_a_thread_that_ends_with_the_last_handle_does_not_abort() {
    if std::env::var_os(LAST).is_some() {
        for _ in 0..8 {
            let thread = std::thread::spawn(|| {
                let time = ManualClock::new();
                let setup = Setup::new().with_clock(time.clock());
                let by_key = key::value(|_: &Request<()>| Some(1));
                let layer = ThrottleLayer::keyed_with(rate(5), by_key, setup);
                let mut service = layer.layer(inner(&time).0);
                assert!(finish_on(&time, call(&mut service, request("a"))).is_some());
            });
            thread.join().unwrap();
        }
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("a_runtime::fault_101_a_thread_that_ends_with_the_last_handle_does_not_abort")
        .env(LAST, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {text}", output.status);
}

/// The stack of three that waits wherever it can, on this clock.
macro_rules! waiting_stack {
    ($clock:expr, $inner:expr) => {{
        let setup = || Setup::new().with_clock($clock);
        let policy = permits(64).to_builder().queue_length(20_000);
        let bulkhead = BulkheadLayer::with(policy.build().unwrap(), setup());
        let throttle = ThrottleLayer::with(rate(5_000), setup());
        let timeout = TimeoutLayer::with(timeouts(), setup());
        let handles = (throttle.handle(), bulkhead.handle(), timeout.handle());
        let service = ServiceBuilder::new()
            .layer(throttle.waiting())
            .layer(bulkhead.queued())
            .layer(timeout)
            .service($inner);
        (service, handles)
    }};
}

#[test]
fn fault_013_an_abort_storm_leaves_nothing() {
    let seed = Seed::from_env();
    let mut random = seed.rng();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let time = ManualClock::new();
    let script = Script::<u32, Error<()>>::new(&time, Call::respond(1).after(ms(20)));
    let probe = Probe::new(script.clone());
    let watch = probe.watch();
    let (service, (throttle, bulkhead, timeout)) = waiting_stack!(time.clock(), probe);
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for i in 0..10_000 {
            if random.random_ratio(1, 4) {
                script.then_call(match random.random_range(0..3) {
                    0 => Call::never(),
                    1 => Call::error(Error::Inner(())).after(ms(7)),
                    _ => Call::respond(2).pending(random.random_range(0..4)),
                });
            }
            let mut service = service.clone();
            tasks.push(tokio::spawn(
                async move { call(&mut service, i).await.is_ok() },
            ));
            if random.random_ratio(1, 8) {
                time.advance(ms(random.random_range(0..4)));
                tokio::task::yield_now().await;
            }
            if random.random_ratio(2, 3) {
                tasks[random.random_range(0..tasks.len())].abort();
            }
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            let _ = task.await;
        }
    });
    watch.assert_quiet();
    bulkhead.assert_quiet();
    timeout.assert_quiet();
    assert_eq!(time.armed(), 0);
    assert_eq!(watch.counts().services, 1);
    // Every call that the throttle let through, the bulkhead saw, and so on.
    let ends = bulkhead.ended().unwrap();
    assert_eq!(bulkhead.admitted(), watch.counts().calls, "{ends:?}");
    assert_eq!(timeout.admitted(), watch.counts().calls);
    assert!(throttle.admitted() >= bulkhead.admitted());
    drop(bulkhead.admit_weighted(64).unwrap());
}

#[test]
fn fault_014_a_runtime_that_ends_takes_its_calls_along() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let time = ManualClock::new();
    let script = Script::<u32, Error<()>>::new(&time, Call::never());
    let probe = Probe::new(script);
    let watch = probe.watch();
    let (service, (_, bulkhead, timeout)) = waiting_stack!(Clock::tokio(), probe);
    let (started, mut all) = tokio::sync::mpsc::channel(1_000);
    for i in 0..1_000 {
        let mut service = service.clone();
        let started = started.clone();
        runtime.spawn(async move {
            let mut call = Box::pin(call(&mut service, i));
            let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
            started.send(first).await.unwrap();
            call.await
        });
    }
    for _ in 0..1_000 {
        assert_eq!(all.blocking_recv(), Some(true));
    }
    assert_eq!(bulkhead.in_flight(), 64);
    assert_eq!(bulkhead.waiting(), 936);
    let clock = Clock::system();
    let start = clock.now();
    drop(runtime);
    assert!(clock.now().saturating_since(start) < secs(1));
    watch.assert_quiet();
    bulkhead.assert_quiet();
    timeout.assert_quiet();
    assert_eq!(watch.counts().services, 1);
}
