//! Who is left out for its failures, and comes back.

use std::collections::BTreeSet;

use tower_keep::Ratio;
use tower_keep::balance::{
    Balance, Condition, EndpointSnapshot, FailureShare, Outliers, Policy, SlowStart,
};

use super::{Conn, Fail, World, ask, ask_all, endpoints, in_turn, pause, settle};
use crate::support::{ms, secs};

fn ejecting() -> Outliers {
    Outliers::default().max_share(Ratio::ONE).success_rate(None)
}

fn out(balance: &Balance<Conn>) -> BTreeSet<String> {
    let is_out = |e: &EndpointSnapshot| matches!(e.condition, Condition::EjectedUntil(_));
    let all = balance.handle().snapshot().endpoints.into_iter();
    all.filter(is_out).map(|e| e.address).collect()
}

async fn try_all(balance: &mut Balance<Conn>, times: u32) -> Vec<Result<String, Fail>> {
    let mut ends = Vec::new();
    for _ in 0..times {
        ends.push(ask(balance).await);
    }
    ends
}

/// Five failures in a row, and for 30 s nothing; again, and for 60.
#[tokio::test(start_paused = true)]
async fn who_fails_in_a_row_is_out_longer_each_time() {
    let world = World::default();
    world.set("a", |server| server.fails = true);
    let policy = in_turn().outliers(ejecting()).build().unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b"]));
    for times in 1..=3 {
        try_all(&mut balance, 8).await;
        assert!(out(&balance).is_empty(), "four failures are not enough");
        try_all(&mut balance, 2).await;
        assert_eq!(out(&balance), BTreeSet::from(["a".to_owned()]));
        assert_eq!(ask_all(&mut balance, 10).await, ["b"; 10]);
        pause(secs(30 * times) - ms(10)).await;
        assert_eq!(out(&balance).len(), 1, "the {times}th time");
        pause(ms(12)).await;
        settle().await;
        assert!(out(&balance).is_empty(), "the {times}th time");
    }
    world.set("a", |server| server.fails = false);
    assert_eq!(
        ask_all(&mut balance, 10)
            .await
            .iter()
            .filter(|to| *to == "a")
            .count(),
        5
    );
}

#[tokio::test(start_paused = true)]
async fn fault_090_however_many_fail_one_stays() {
    let world = World::default();
    for all in ["a", "b", "c", "d"] {
        world.set(all, |server| server.fails = true);
    }
    let policy = in_turn()
        .outliers(ejecting())
        .panic_threshold(Ratio::ZERO)
        .build()
        .unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b", "c", "d"]));
    let ends = try_all(&mut balance, 200).await;
    assert_eq!(out(&balance).len(), 3);
    assert!(
        ends.iter().all(|end| super::kind(end.clone()).is_none()),
        "none was refused"
    );
    // The greatest share holds as well.
    let policy = in_turn()
        .outliers(ejecting().max_share(Ratio::percent(30)))
        .build()
        .unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b", "c", "d"]));
    try_all(&mut balance, 200).await;
    assert_eq!(
        out(&balance).len(),
        2,
        "one while less than the share is out, and one more"
    );
}

/// By the share of failures, at the ends of intervals, by nobody's call.
#[tokio::test(start_paused = true)]
async fn the_share_of_failures_is_judged_by_interval() {
    let world = World::default();
    let rule = FailureShare::default().min_endpoints(1).min_calls(10);
    let outliers = ejecting().consecutive(None).failure_share(rule);
    let policy = in_turn().outliers(outliers).build().unwrap();
    let mut balance = world.balance(policy, endpoints(["a", "b"]));
    settle().await;
    world.set("a", |server| server.fails = true);
    try_all(&mut balance, 40).await;
    assert!(out(&balance).is_empty());
    pause(secs(10) + ms(2)).await;
    settle().await;
    assert_eq!(out(&balance), BTreeSet::from(["a".to_owned()]));
    let a = balance.handle().snapshot().endpoints[0].id;
    balance.handle().restore(a).unwrap();
    assert!(out(&balance).is_empty(), "an operator overrules it");
}

/// Fault 92: the share of one that is new follows its ramp.
#[tokio::test(start_paused = true)]
async fn fault_092_a_new_endpoint_is_given_its_share_slowly() {
    let world = World::default();
    world.set("b", |server| server.refuses = true);
    let policy = Policy::builder().slow_start(SlowStart::over(secs(60)));
    let mut balance = world.balance(policy.build().unwrap(), endpoints(["a", "b"]));
    ask_all(&mut balance, 10).await;
    pause(secs(300)).await;
    world.set("b", |server| server.refuses = false);
    while world.open() < 2 {
        pause(ms(10)).await;
    }
    pause(secs(15)).await;
    let share = |went: Vec<String>| {
        let to_b = u32::try_from(went.iter().filter(|to| *to == "b").count()).unwrap();
        f64::from(to_b) / 10_000.0
    };
    // A quarter of its weight beside one that has all of it: a fifth of all calls.
    let first = share(ask_all(&mut balance, 10_000).await);
    assert!((first - 0.2).abs() < 0.02, "{first}");
    pause(secs(60)).await;
    let last = share(ask_all(&mut balance, 10_000).await);
    assert!((last - 0.5).abs() < 0.03, "{last}");
}

/// Without a runtime whoever calls does what the task would.
#[test]
fn without_a_runtime_somebody_returns_as_well() {
    let world = World::default();
    world.set("a", |server| server.fails = true);
    let time = tower_keep::test_util::ManualClock::new();
    let policy = in_turn().outliers(ejecting()).build().unwrap();
    let setup = tower_keep::Setup::new().with_clock(time.clock());
    let mut balance = Balance::with(policy, endpoints(["a", "b"]), world.factory(), setup);
    let mut once = || {
        let mut hand = tower_keep::test_util::Hand::new(ask(&mut balance));
        let end = hand.poll();
        drop(hand);
        (end, out(&balance).len())
    };
    for _ in 0..10 {
        assert!(once().0.is_ready());
    }
    assert_eq!(once().1, 1);
    time.advance(secs(31));
    world.set("a", |server| server.fails = false);
    assert!(once().0.is_ready());
    assert_eq!(once().1, 0);
}
