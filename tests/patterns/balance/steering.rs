//! What an operator sees and does; what is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tower_keep::balance::{
    Balance, Condition, Endpoint, EndpointSnapshot, Handle, Health, Policy, UnknownEndpoint, Watch,
};
use tower_keep::event::{EndpointChange, Event, Source};
use tower_keep::{Ratio, Registry, RejectionKind, Setup};

use super::{World, ask, ask_all, endpoints, in_turn, kind, pause, settle};
use crate::support::{ms, secs};

fn find(handle: &Handle, address: &str) -> EndpointSnapshot {
    let snapshot = handle.snapshot();
    let mut all = snapshot.endpoints.into_iter();
    all.find(|e| e.address == address).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_operator_ejects_and_restores() {
    let world = World::default();
    let mut balance = world.balance(in_turn().build().unwrap(), endpoints(["a", "b"]));
    let handle = balance.handle();
    let a = find(&handle, "a").id;
    assert_eq!(handle.eject(a), Ok(()));
    assert_eq!(find(&handle, "a").condition, Condition::Ejected);
    assert_eq!(ask_all(&mut balance, 10).await, ["b"; 10]);
    assert_eq!(handle.restore(a), Ok(()));
    let went = ask_all(&mut balance, 2).await;
    assert_eq!(went.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(
        handle.eject(tower_keep::attempt::EndpointId::new(77)),
        Err(UnknownEndpoint)
    );
}

#[tokio::test(start_paused = true)]
async fn the_unhealthy_get_nothing_until_too_few_are_left() {
    let world = World::default();
    let policy = in_turn()
        .panic_threshold(Ratio::percent(50))
        .build()
        .unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b", "c", "d"]));
    let handle = balance.handle();
    let unhealthy = |address: &str| {
        handle
            .report(find(&handle, address).id, Health::Unhealthy)
            .unwrap();
    };
    unhealthy("a");
    unhealthy("b");
    let went: BTreeSet<_> = ask_all(&mut balance, 12).await.into_iter().collect();
    assert_eq!(went, BTreeSet::from(["c".to_owned(), "d".to_owned()]));
    unhealthy("c");
    let went: BTreeSet<_> = ask_all(&mut balance, 12).await.into_iter().collect();
    assert_eq!(
        went.len(),
        4,
        "one of four would not survive the load of all"
    );
    for address in ["a", "b"] {
        handle
            .report(find(&handle, address).id, Health::Healthy)
            .unwrap();
    }
    let went: BTreeSet<_> = ask_all(&mut balance, 12).await.into_iter().collect();
    assert_eq!(went.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_replaced_while_it_works() {
    let world = World::default();
    let mut balance = world.balance(Policy::default(), Vec::new());
    let handle = balance.handle();
    handle.update(
        handle
            .policy()
            .to_builder()
            .max_wait(ms(30))
            .build()
            .unwrap(),
    );
    let start = super::now();
    assert_eq!(
        kind(ask(&mut balance).await),
        Some(RejectionKind::NoEndpoint)
    );
    assert!(super::since(start) <= ms(33));
    let mut balance = world.balance(Policy::default(), endpoints(["a", "b"]));
    balance.handle().update(in_turn().build().unwrap());
    let went = ask_all(&mut balance, 4).await;
    assert_eq!(went[..2], went[2..], "the picker is the new one");
}

type Changes = Arc<Mutex<Vec<(String, EndpointChange)>>>;

#[tokio::test(start_paused = true)]
async fn what_becomes_of_endpoints_is_told() {
    let world = World::default();
    let told = Changes::default();
    let heard = Arc::clone(&told);
    let listener = move |source: &Source<'_>, event: &Event<'_>| {
        assert_eq!((source.pattern, source.name), ("balance", "upstream"));
        if let Event::Endpoint { address, change } = event {
            heard.lock().unwrap().push(((*address).to_owned(), *change));
        }
    };
    world.set("b", |server| server.refuses = true);
    let (send, receive) =
        watch::channel(vec!["a".into(), "b".into(), Endpoint::new("a").weight(9)]);
    let registry = Registry::new();
    let setup = Setup::named("upstream")
        .with_listener(listener)
        .in_registry(&registry);
    let mut balance = Balance::with(
        Policy::default(),
        Watch::new(receive),
        world.factory(),
        setup,
    );
    assert!(ask(&mut balance).await.is_ok());
    let handle = balance.handle();
    let a = find(&handle, "a").id;
    handle.eject(a).unwrap();
    handle.eject(a).unwrap();
    handle.restore(a).unwrap();
    handle.report(a, Health::Unhealthy).unwrap();
    handle.report(a, Health::Healthy).unwrap();
    world.kill("a");
    assert!(ask(&mut balance).await.is_ok());
    send.send(Vec::new()).unwrap();
    settle().await;
    pause(secs(1)).await;
    let told = told.lock().unwrap();
    let of = |address: &str| {
        let of = told.iter().filter(|(of, _)| of == address);
        of.map(|(_, change)| *change).collect::<Vec<_>>()
    };
    use EndpointChange::{
        Added, Connected, Disconnected, Ejected, Healthy, Refused, Removed, Restored, Unhealthy,
    };
    let life = [
        Refused,
        Added,
        Connected,
        Ejected,
        Restored,
        Unhealthy,
        Healthy,
        Disconnected,
        Connected,
        Removed,
    ];
    assert_eq!(of("a"), life);
    let b = of("b");
    assert_eq!((b.first(), b.last()), (Some(&Added), Some(&Removed)));
    assert!(b.contains(&EndpointChange::ConnectFailed));
    let report = &registry.reports()[0];
    assert_eq!(report.value("endpoints"), Some(&0_u64.into()));
    assert_eq!(report.value("succeeded"), Some(&2_u64.into()));
}

#[test]
fn a_policy_is_valid_or_says_what_is_not() {
    let day = secs(86_400);
    let fields: BTreeMap<&str, tower_keep::balance::PolicyBuilder> = BTreeMap::from([
        ("max_wait", Policy::builder().max_wait(day * 3_651)),
        ("connect_timeout", Policy::builder().connect_timeout(ms(0))),
        ("max_picks", Policy::builder().max_picks(0)),
        ("max_connecting", Policy::builder().max_connecting(u32::MAX)),
        ("max_endpoints", Policy::builder().max_endpoints(0)),
    ]);
    for (field, builder) in fields {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
    let file = r#"{"max_wait": "250ms", "zone": "a", "panic_threshold": 0.3,
        "backoff": {"base": "10ms", "cap": "1s"}}"#;
    let policy: Policy = serde_json::from_str(file).unwrap();
    let built = Policy::builder().max_wait(ms(250)).zone("a");
    let built = built.panic_threshold(Ratio::percent(30)).backoff(
        tower_keep::backoff::Backoff::builder()
            .base(ms(10))
            .cap(secs(1))
            .build()
            .unwrap(),
    );
    assert_eq!(
        format!("{policy:?}"),
        format!("{:?}", built.build().unwrap())
    );
    for wrong in [
        r#"{"max_picks": 0}"#,
        r#"{"max_pick": 1}"#,
        r#"{"max_wait": 5}"#,
    ] {
        assert!(serde_json::from_str::<Policy>(wrong).is_err(), "{wrong}");
    }
    let endpoint: Endpoint = serde_json::from_str(r#"{"address": "a", "zone": "z"}"#).unwrap();
    assert_eq!(endpoint, Endpoint::new("a").zone("z"));
    let json = serde_json::to_string(&endpoint).unwrap();
    assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
}
