//! What users, servers and clocks do that they should not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tower::Service;
use tower_keep::balance::{
    Balance, Draw, End, Endpoint, LeastRequest, Member, Outliers, PeakEwma, Pick, Picker, Policy,
    Prequal, Random, RoundRobin, SlowStart, Watch,
};
use tower_keep::clock::Tick;
use tower_keep::event::{Event, Source};
use tower_keep::test_util::{Hand, ManualClock};
use tower_keep::{Override, RejectionKind, Setup};

use super::{Ask, World, ask, ask_all, endpoints, in_turn, kind, pause, settle};
use crate::support::{ms, secs};

/// Panics wherever it can.
#[derive(Debug)]
struct Panics;

impl Picker for Panics {
    fn prepare(&self, _: &[Arc<Member>]) -> Box<dyn Pick> {
        panic!("scripted")
    }
}

#[test]
fn a_listener_may_steer_what_it_is_told_of() {
    // In a thread of its own: it would wait for itself for ever.
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let handle: Arc<OnceLock<tower_keep::balance::Handle>> = Arc::default();
        let told = Arc::new(AtomicU64::new(0));
        let (steered, count) = (Arc::clone(&handle), Arc::clone(&told));
        let listener = move |_: &Source<'_>, event: &Event<'_>| {
            let Some(handle) = steered.get() else { return };
            // Not for ever: what it does is told, too.
            if count.fetch_add(1, Ordering::Relaxed) > 3 {
                return;
            }
            let order = match event {
                Event::CallbackPanicked(_) => Override::Bypass,
                _ => Override::None,
            };
            handle.set_override(order);
            for endpoint in handle.snapshot().endpoints {
                let _ = handle.eject(endpoint.id);
                let _ = handle.restore(endpoint.id);
            }
        };
        let world = World::default();
        let setup = Setup::new().with_listener(listener);
        let policy = Policy::builder().picker(Panics).build().unwrap();
        let all = endpoints(["a", "b"]);
        let mut balance = Balance::with(policy.clone(), all, world.factory(), setup);
        handle.set(balance.handle()).unwrap();
        balance.handle().update(policy);
        let mut hand = Hand::new(async { ask(&mut balance).await });
        assert!(matches!(hand.poll(), Poll::Ready(Ok(_))));
        assert!(told.load(Ordering::Relaxed) > 3);
        done.send(()).unwrap();
    });
    is_done
        .recv_timeout(secs(20))
        .expect("a listener that steers does not come back");
}

/// Needs the time, and panics when it is told of an end.
#[derive(Debug)]
struct Deaf;

impl Picker for Deaf {
    fn prepare(&self, _: &[Arc<Member>]) -> Box<dyn Pick> {
        Box::new(Self)
    }
}

impl Pick for Deaf {
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        draw.below(members.len())
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn ended(&self, _: &Member, _: End) {
        panic!("scripted")
    }
}

#[tokio::test(start_paused = true)]
async fn a_picker_that_panics_at_the_end_changes_no_answer() {
    let world = World::default();
    let policy = Policy::builder().picker(Deaf).build().unwrap();
    let panics = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&panics);
    let listener = move |_: &Source<'_>, event: &Event<'_>| {
        let is_one = matches!(event, Event::CallbackPanicked("picker"));
        count.fetch_add(is_one.into(), Ordering::Relaxed);
    };
    let setup = Setup::new().with_listener(listener);
    let all = endpoints(["a", "b"]);
    let mut balance = Balance::with(policy, all, world.factory(), setup);
    ask_all(&mut balance, 20).await;
    drop(balance.call(Ask::Now));
    let snapshot = balance.handle().snapshot();
    assert_eq!((snapshot.succeeded, snapshot.cancelled), (20, 1));
    assert_eq!(snapshot.in_flight, 0);
    assert!(snapshot.endpoints.iter().all(|one| one.in_flight == 0));
    assert_eq!(panics.load(Ordering::Relaxed), 21);
}

#[tokio::test(start_paused = true)]
async fn the_greatest_weights_are_weights() {
    let pickers: [fn() -> tower_keep::balance::PolicyBuilder; 5] = [
        || Policy::builder().picker(LeastRequest::default()),
        || Policy::builder().picker(PeakEwma::default()),
        || Policy::builder().picker(Prequal::default()),
        || Policy::builder().picker(RoundRobin::default()),
        || Policy::builder().picker(Random),
    ];
    for picker in pickers {
        let world = World::default();
        let weighs = |address: &str, weight| Endpoint::new(address).weight(weight);
        let all = vec![
            weighs("great", u32::MAX),
            weighs("too", u32::MAX),
            weighs("small", 1),
            weighs("none", 0),
        ];
        let mut balance = world.balance(picker().build().unwrap(), all);
        ask_all(&mut balance, 400).await;
        let calls = world.calls();
        let of = |address| calls.get(address).copied().unwrap_or(0);
        assert_eq!((of("small"), of("none")), (0, 0), "{calls:?}");
        // Eight standard deviations of 400 flips.
        assert!(of("great").abs_diff(200) <= 80, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_may_be_dropped_at_every_poll() {
    let world = World::default();
    let mut balance = world.balance(in_turn().build().unwrap(), endpoints(["a", "b"]));
    ask_all(&mut balance, 2).await;
    let handle = balance.handle();
    let mut ends = 0;
    for polls in 0..12 {
        for address in ["a", "b"] {
            world.set(address, |server| server.busy = true);
        }
        let mut call = Box::pin(balance.call(Ask::Now));
        for poll in 0..polls {
            let mut cx = Context::from_waker(Waker::noop());
            match poll {
                2 => world.set("a", |server| server.refuses = true),
                3 => world.kill("a"),
                6 => world.set("a", |server| server.refuses = false),
                9 => world.set("b", |server| server.busy = false),
                _ => {}
            }
            if call.as_mut().poll(&mut cx).is_ready() {
                ends += 1;
                break;
            }
            pause(ms(20)).await;
        }
        drop(call);
        let snapshot = handle.snapshot();
        assert_eq!((snapshot.waiting, snapshot.in_flight), (0, 0), "{polls}");
        assert!(snapshot.endpoints.iter().all(|one| one.in_flight == 0));
        for address in ["a", "b"] {
            world.set(address, |server| {
                server.busy = false;
                server.refuses = false;
            });
        }
        pause(secs(60)).await;
        ask_all(&mut balance, 2).await;
        assert_eq!(world.open(), 2, "{polls}");
    }
    assert!(ends > 0, "the last ones get through");
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_while_it_is_waited_for_is_not_called() {
    for next in ["", "b"] {
        let world = World::default();
        let (send, receive) = watch::channel(endpoints(["a"]));
        let policy = Policy::builder().max_wait(secs(2)).build().unwrap();
        let mut balance = world.balance(policy, Watch::new(receive));
        ask_all(&mut balance, 1).await;
        world.set("a", |server| server.busy = true);
        let mut other = balance.clone();
        let waits = tokio::spawn(async move { ask(&mut other).await });
        settle().await;
        assert_eq!(balance.handle().snapshot().waiting, 1);
        let left = [next].into_iter().filter(|next| !next.is_empty());
        send.send(left.map(Endpoint::from).collect()).unwrap();
        settle().await;
        assert_eq!(world.open(), usize::from(next == "b"), "it is kept open");
        world.set("a", |server| server.busy = false);
        let went = waits.await.unwrap();
        match next {
            "" => assert_eq!(kind(went), Some(RejectionKind::NoEndpoint)),
            next => assert_eq!(went, Ok(next.to_owned())),
        }
        assert_eq!(world.calls().get("a"), Some(&1));
    }
}

#[tokio::test(start_paused = true)]
async fn factories_that_never_work_are_asked_ever_more_seldom() {
    type Fault = fn(&mut super::Server);
    let faults: [Fault; 3] = [
        |s| s.refuses = true,
        |s| s.panics = true,
        |s| s.hangs = true,
    ];
    for fault in faults {
        let world = World::default();
        world.set("bad", fault);
        let mut balance = world.balance(in_turn().build().unwrap(), endpoints(["bad", "good"]));
        assert_eq!(ask_all(&mut balance, 50).await, ["good"; 50]);
        pause(secs(3_600)).await;
        let first = world.connects("bad");
        pause(secs(3_600)).await;
        let second = world.connects("bad") - first;
        // With the longest pause of the default, and never more than one a second.
        assert!((10..=3_600).contains(&second), "{second}");
        assert_eq!(ask_all(&mut balance, 50).await, ["good"; 50]);
        world.set("bad", |server| *server = super::Server::default());
        pause(secs(300)).await;
        assert_eq!(world.open(), 2, "it is never tried again");
    }
}

/// The clock goes far ahead and back while endpoints are ejected and start slowly: all
/// calls are served, and who was ejected returns.
#[test]
fn a_clock_that_jumps_keeps_nobody_out() {
    let world = World::default();
    let time = ManualClock::new();
    time.advance(secs(1_000));
    let setup = Setup::new().with_clock(time.clock());
    let policy = in_turn()
        .outliers(Outliers::default().consecutive(3))
        .slow_start(SlowStart::over(secs(30)))
        .build()
        .unwrap();
    let all = endpoints(["a", "b", "c"]);
    let mut balance = Balance::with(policy, all, world.factory(), setup);
    let handle = balance.handle();
    let failed = Mutex::new(0);
    let mut asks = |times: u32| {
        for _ in 0..times {
            let mut hand = Hand::new(balance.call(Ask::Now));
            match hand.poll() {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => *failed.lock().unwrap() += 1,
                Poll::Pending => panic!("it waits"),
            }
        }
    };
    let usable = || {
        let endpoints = handle.snapshot().endpoints;
        endpoints.iter().filter(|one| one.is_usable()).count()
    };
    for jump in [secs(900), Duration::ZERO, secs(100_000)] {
        world.set("a", |server| server.fails = true);
        asks(60);
        assert_eq!(usable(), 2, "it is ejected");
        world.set("a", |server| server.fails = false);
        let before = *failed.lock().unwrap();
        time.advance(jump);
        asks(20);
        time.set(Tick::from_nanos(
            time.now().as_nanos().saturating_sub(500_000_000_000),
        ));
        asks(20);
        for _ in 0..40 {
            time.advance(secs(30));
            asks(10);
        }
        assert_eq!(usable(), 3, "it never returns");
        assert_eq!(*failed.lock().unwrap(), before);
        asks(300);
    }
    assert_eq!(handle.snapshot().in_flight, 0);
}
