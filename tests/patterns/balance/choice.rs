//! Where requests go.

use std::collections::BTreeSet;

use tower_keep::attempt::Attempt;
use tower_keep::balance::{Condition, Draw, Endpoint, Member, Pick, Picker, Policy};
use tower_keep::clock::Tick;
use tower_keep::{Override, RejectionKind};

use super::{World, ask, ask_all, endpoints, in_turn, kind, now, settle, since};
use crate::support::secs;

#[tokio::test(start_paused = true)]
async fn in_turn_everybody_gets_as_much() {
    let world = World::default();
    let policy = in_turn().build().unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b", "c"]));
    let went = ask_all(&mut balance, 6).await;
    assert_eq!(went[..3].iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(went[..3], went[3..]);
    let snapshot = balance.handle().snapshot();
    assert!(snapshot.endpoints.iter().all(|e| e.succeeded == 2));
    assert_eq!((snapshot.succeeded, snapshot.in_flight), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_turn_and_the_connections() {
    let world = World::default();
    let policy = in_turn().build().unwrap();
    let balance = world.balance(policy, endpoints(["a", "b"]));
    for _ in 0..10 {
        let (mut one, mut other) = (balance.clone(), balance.clone());
        assert_ne!(ask(&mut one).await, ask(&mut other).await);
    }
    assert_eq!(world.open(), 2);
}

/// Whoever is busy is passed over, as long as anybody is not.
#[tokio::test(start_paused = true)]
async fn who_is_not_ready_is_passed_over() {
    let world = World::default();
    for busy in ["a", "b", "c"] {
        world.set(busy, |server| server.busy = true);
    }
    let mut balance = world.balance(Policy::default(), endpoints(["a", "b", "c", "d"]));
    let went = ask_all(&mut balance, 50).await;
    assert!(went.iter().all(|to| to == "d"));
    assert!(balance.handle().snapshot().skipped > 0);
    assert_eq!(balance.handle().snapshot().waited, 0);
}

/// How far is looked is bounded: of 100 of whom one is ready, it is not found always,
/// and then the request waits for one of those that were asked.
#[tokio::test(start_paused = true)]
async fn a_search_is_bounded() {
    let world = World::default();
    let all: Vec<_> = (0..100).map(|n| Endpoint::new(format!("{n}"))).collect();
    for n in 0..99 {
        world.set(&n.to_string(), |server| server.busy = true);
    }
    let policy = Policy::builder().max_picks(4).build().unwrap();
    let mut balance = world.balance(policy, all);
    let mut refused = 0;
    let calls = 20;
    for _ in 0..calls {
        refused += u64::from(ask(&mut balance).await.is_err());
    }
    let skipped = balance.handle().snapshot().skipped;
    assert!(refused > 0, "all 100 were asked");
    // A search asks three by choice and four in a row; who waits searches once more.
    assert!(skipped <= calls * 2 * (3 + 4), "{skipped}");
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_is_avoided_and_noted() {
    let world = World::default();
    let mut balance = world.balance(Policy::default(), endpoints(["a", "b", "c"]));
    for _ in 0..50 {
        let mut attempt = Attempt::first();
        let mut went = BTreeSet::new();
        for _ in 0..3 {
            let call = attempt.scope(|| tower::Service::call(&mut balance, super::Ask::Now));
            went.insert(call.await.unwrap());
            attempt = attempt.next();
        }
        assert_eq!(went.len(), 3, "somebody was tried twice");
        assert_eq!(attempt.tried().len(), 3);
        // Nobody else is left: then it is better than nobody.
        let call = attempt.scope(|| tower::Service::call(&mut balance, super::Ask::Now));
        assert!(call.await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_priority_comes_first_and_weight_0_last() {
    let world = World::default();
    let all = vec![
        Endpoint::new("last").weight(0),
        Endpoint::new("second").priority(1),
        Endpoint::new("first"),
    ];
    let mut balance = world.balance(Policy::default(), all);
    assert_eq!(ask_all(&mut balance, 20).await, ["first"; 20]);
    world.set("first", |server| server.busy = true);
    assert_eq!(ask_all(&mut balance, 20).await, ["second"; 20]);
    world.set("second", |server| server.busy = true);
    assert_eq!(ask_all(&mut balance, 20).await, ["last"; 20]);
}

#[tokio::test(start_paused = true)]
async fn the_own_zone_comes_first() {
    let world = World::default();
    let all = vec![
        Endpoint::new("far").zone("b"),
        Endpoint::new("near").zone("a"),
        Endpoint::new("nowhere"),
    ];
    let policy = Policy::builder().zone("a").build().unwrap();
    let mut balance = world.balance(policy, all);
    assert_eq!(ask_all(&mut balance, 20).await, ["near"; 20]);
    world.kill("near");
    world.set("near", |server| server.refuses = true);
    let went = ask_all(&mut balance, 40).await;
    assert_eq!(went.iter().collect::<BTreeSet<_>>().len(), 2, "{went:?}");
}

/// Chooses nobody, or panics.
#[derive(Debug)]
struct Odd(fn() -> usize);

impl Picker for Odd {
    fn prepare(&self, members: &[std::sync::Arc<Member>]) -> Box<dyn Pick> {
        assert!(!members.is_empty());
        Box::new(Self(self.0))
    }
}

impl Pick for Odd {
    fn pick(&self, _: &[std::sync::Arc<Member>], _: Tick, _: &mut Draw) -> usize {
        (self.0)()
    }
}

#[tokio::test(start_paused = true)]
async fn fault_095_a_picker_of_ones_own_may_do_what_it_likes() {
    for odd in [|| usize::MAX, || 3, || panic!("scripted")] {
        let world = World::default();
        let policy = Policy::builder().picker(Odd(odd)).build().unwrap();
        let mut balance = world.balance(policy, endpoints(["a", "b", "c"]));
        let went = ask_all(&mut balance, 100).await;
        assert_eq!(went.iter().collect::<BTreeSet<_>>().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn closed_it_refuses_and_bypassed_it_ignores_health() {
    let world = World::default();
    let mut balance = world.balance(Policy::default(), endpoints(["a", "b"]));
    let handle = balance.handle();
    handle.set_override(Override::Close);
    assert_eq!(kind(ask(&mut balance).await), Some(RejectionKind::Closed));
    handle.set_override(Override::None);
    for endpoint in handle.snapshot().endpoints {
        handle.eject(endpoint.id).unwrap();
    }
    let start = now();
    assert_eq!(
        kind(ask(&mut balance).await),
        Some(RejectionKind::NoEndpoint)
    );
    assert!(since(start) <= secs(2));
    handle.set_override(Override::Bypass);
    settle().await;
    assert!(ask(&mut balance).await.is_ok());
    let ejected = |e: &tower_keep::balance::EndpointSnapshot| e.condition == Condition::Ejected;
    assert!(handle.snapshot().endpoints.iter().all(ejected));
}
