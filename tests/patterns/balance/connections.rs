//! Connections: made, lost, made again.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tower_keep::RejectionKind;
use tower_keep::backoff::{Backoff, Jitter};
use tower_keep::balance::{Balance, Condition, Endpoint, Policy, Watch, by};

use super::{World, ask, ask_all, endpoints, in_turn, kind, now, pause, settle, since};
use crate::support::{ms, secs};

fn patient() -> Backoff {
    let backoff = Backoff::builder().base(ms(100)).cap(secs(1));
    backoff.jitter(Jitter::None).build().unwrap()
}

#[test]
fn what_needs_no_waiting_needs_no_runtime() {
    let world = World::default();
    let balance = world.balance(Policy::default(), endpoints(["a", "b"]));
    assert_eq!(world.open(), 2);
    let mut hand = tower_keep::test_util::Hand::new(async { ask(&mut balance.clone()).await });
    assert!(hand.poll().is_ready());
    // Nor does it when one of them dies: as far as no pause is needed.
    world.kill("a");
    for _ in 0..20 {
        let mut hand = tower_keep::test_util::Hand::new(async { ask(&mut balance.clone()).await });
        assert_eq!(hand.poll(), std::task::Poll::Ready(Ok("b".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_service_is_replaced_after_a_pause() {
    let world = World::default();
    let policy = in_turn().backoff(patient()).build().unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b"]));
    ask_all(&mut balance, 2).await;
    world.kill("a");
    assert_eq!(
        ask_all(&mut balance, 6).await,
        ["b"; 6],
        "no request is lost for it"
    );
    settle().await;
    assert_eq!((world.connects("a"), world.open()), (1, 1));
    let condition = |at: usize| balance.handle().snapshot().endpoints[at].condition;
    assert_eq!(condition(0), Condition::Connecting);
    pause(ms(102)).await;
    settle().await;
    assert_eq!(condition(0), Condition::Usable);
    let went = ask_all(&mut balance, 2).await;
    assert_eq!(went.iter().collect::<BTreeSet<_>>().len(), 2);
}

/// The only endpoint dies under a request: it waits for the next connection.
#[tokio::test(start_paused = true)]
async fn a_request_outlasts_a_reconnection() {
    let world = World::default();
    let policy = Policy::builder().backoff(patient()).build().unwrap();
    let mut balance = world.balance(policy, endpoints(["a"]));
    world.kill("a");
    let start = now();
    assert_eq!(ask(&mut balance).await, Ok("a".to_owned()));
    assert!(since(start) >= ms(100) && since(start) <= ms(103));
}

/// tower's own makes millions of connections in half a second to a server whose new
/// connections are dead at once.
#[tokio::test(start_paused = true)]
async fn there_is_no_busy_loop_of_connections() {
    for how in ["refuses", "dies", "panics"] {
        let world = World::default();
        world.set("a", |server| match how {
            "refuses" => server.refuses = true,
            "dies" => server.dead_up_to = usize::MAX,
            _ => server.panics = true,
        });
        let policy = Policy::builder().backoff(patient()).max_wait(secs(20));
        let mut balance = world.balance(policy.build().unwrap(), endpoints(["a"]));
        let start = now();
        assert_eq!(
            kind(ask(&mut balance).await),
            Some(RejectionKind::NoEndpoint)
        );
        assert!(since(start) >= secs(20) && since(start) <= secs(21));
        // 100, 200, 400, 800 ms, and then one a second.
        let connects = world.connects("a");
        assert!((20..=25).contains(&connects), "{how}: {connects}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_pauses_begin_anew_after_a_success() {
    let world = World::default();
    let policy = Policy::builder().backoff(patient()).max_wait(secs(20));
    let mut balance = world.balance(policy.build().unwrap(), endpoints(["a"]));
    for _ in 0..5 {
        world.kill("a");
        let start = now();
        assert!(ask(&mut balance).await.is_ok());
        assert!(since(start) <= ms(103), "{:?}", since(start));
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_has_an_end() {
    let world = World::default();
    world.set("a", |server| server.hangs = true);
    let policy = Policy::builder()
        .connect_timeout(ms(200))
        .backoff(patient())
        .max_wait(secs(5))
        .build()
        .unwrap();
    let mut balance = world.balance(policy, endpoints(["a"]));
    let mut waiting = balance.clone();
    let call = tokio::spawn(async move { ask(&mut waiting).await });
    pause(ms(250)).await;
    assert_eq!(balance.handle().snapshot().connects_failed, 1);
    world.set("a", |server| server.hangs = false);
    assert!(call.await.unwrap().is_ok());
    assert!(ask(&mut balance).await.is_ok());
    assert_eq!(world.connects("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn as_many_connect_at_once_as_the_policy_says() {
    let world = World::default();
    world.delay(secs(1));
    let policy = Policy::builder().max_connecting(4).build().unwrap();
    let all = (0..10)
        .map(|n| Endpoint::new(format!("{n}")))
        .collect::<Vec<_>>();
    let mut balance = world.balance(policy, all);
    let begun = || {
        (0..10)
            .filter(|n| world.connects(&n.to_string()) > 0)
            .count()
    };
    let _ = tower::Service::poll_ready(
        &mut balance,
        &mut std::task::Context::from_waker(std::task::Waker::noop()),
    );
    for expected in [4, 8, 10] {
        settle().await;
        assert_eq!(begun(), expected);
        pause(ms(1_002)).await;
    }
}

/// One who cannot be connected stands in nobody's way.
#[tokio::test(start_paused = true)]
async fn who_hangs_delays_nobody() {
    let world = World::default();
    for n in 0..8 {
        world.set(&n.to_string(), |server| server.hangs = true);
    }
    let all = (0..10)
        .map(|n| Endpoint::new(format!("{n}")))
        .collect::<Vec<_>>();
    let mut balance = world.balance(Policy::default(), all);
    let start = now();
    ask_all(&mut balance, 20).await;
    assert_eq!(since(start), ms(0));
}

/// Whoever waits for those that are busy is woken by any of them.
#[tokio::test(start_paused = true)]
async fn whoever_gets_ready_first_takes_who_waits() {
    for first in ["a", "b", "c"] {
        let world = World::default();
        for busy in ["a", "b", "c"] {
            world.set(busy, |server| server.busy = true);
        }
        let balance = world.balance(Policy::default(), endpoints(["a", "b", "c"]));
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let mut balance = balance.clone();
                tokio::spawn(async move { ask(&mut balance).await })
            })
            .collect();
        settle().await;
        assert_eq!(balance.handle().snapshot().waiting, 20);
        let start = now();
        world.set(first, |server| server.busy = false);
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(first.to_owned()));
        }
        assert_eq!(since(start), ms(0));
    }
}

/// Removed while a request waits for it: another one takes it, or nobody does.
#[tokio::test(start_paused = true)]
async fn fault_089_removed_before_the_call_another_one_is_chosen() {
    for (then, at_once) in [(Some("b"), 0), (None, 0), (Some("b"), 1), (None, 1)] {
        let world = World::default();
        world.set("a", |server| server.busy = true);
        let (send, receive) = watch::channel(endpoints(["a"]));
        let balance = world.balance(Policy::default(), Watch::new(receive));
        let mut waiting = balance.clone();
        let call = tokio::spawn(async move { ask(&mut waiting).await });
        settle().await;
        send.send(then.into_iter().map(Endpoint::from).collect())
            .unwrap();
        // At once: whoever waits hears of both together, and the driver first.
        if at_once == 0 {
            settle().await;
        }
        world.set("a", |server| server.busy = false);
        let result = call.await.unwrap();
        match then {
            Some(then) => assert_eq!(result, Ok(then.to_owned())),
            None => assert_eq!(kind(result), Some(RejectionKind::NoEndpoint)),
        }
        assert_eq!(world.calls().get("a"), None);
    }
}

/// The driver goes on in the next runtime, and ends with the balancer.
#[test]
fn fault_009_a_runtime_that_ends_takes_nothing_along() {
    let world = World::default();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let (send, receive) = watch::channel(endpoints(["a"]));
    let balance = world.balance(Policy::default(), Watch::new(receive));
    for address in ["a", "b", "c"] {
        let mut balance = balance.clone();
        send.send(endpoints([address])).unwrap();
        let went = runtime().block_on(async move {
            settle().await;
            let _ = ask(&mut balance).await;
            settle().await;
            ask(&mut balance).await
        });
        assert_eq!(went, Ok(address.to_owned()));
    }
    let last = runtime();
    last.block_on(async {
        let mut clone = balance.clone();
        assert!(ask(&mut clone).await.is_ok());
        settle().await;
        let handle = clone.handle();
        drop((clone, balance));
        settle().await;
        assert_eq!(world.open(), 0, "a handle keeps no connection");
        assert_eq!(handle.snapshot().in_flight, 0);
        assert!(send.is_closed(), "the task outlives its balancer");
    });
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_a_factory() {
    let client = tower::service_fn(|()| async { Ok::<_, super::Fail>(()) });
    let mut balance = Balance::new(Policy::default(), endpoints(["a"]), by(move |_| client));
    assert_eq!(crate::support::call(&mut balance, ()).await, Ok(()));
}
