//! One budget for a retry and the hedge inside: a request pays in once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::budget::{self, Budget};
use tower_keep::clock::Clock;
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::retry::{self, Idempotent, RetryLayer};
use tower_keep::{Ratio, Setup};

use super::policy;
use crate::support::{BROKEN, Fail};

fn tokio() -> Setup {
    Setup::new().with_clock(Clock::tokio())
}

fn twice() -> retry::Policy {
    retry::Policy::builder().max_attempts(2).build().unwrap()
}

/// The retry's budget, and the hedge's: the same, or another one.
fn budgets(rule: budget::Policy, shared: bool) -> [Budget; 2] {
    let budget = || Budget::with(rule, tokio());
    let of_retry = budget();
    let of_hedge = if shared { of_retry.clone() } else { budget() };
    [of_retry, of_hedge]
}

/// Attempts beyond the first, of requests that all fail.
async fn extra(shared: bool, rule: budget::Policy, requests: u64) -> u64 {
    let [of_retry, of_hedge] = budgets(rule, shared);
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    let hedges = HedgeLayer::with_budget(policy(1), hedge::every(), of_hedge, tokio());
    let retries = RetryLayer::with_budget(twice(), Idempotent::new(), of_retry, tokio());
    let service = ServiceBuilder::new()
        .layer(retries)
        .layer(hedges)
        .service_fn(move |()| {
            seen.fetch_add(1, SeqCst);
            async { Err::<(), _>(BROKEN) }
        });
    for _ in 0..requests {
        assert!(service.clone().oneshot(()).await.is_err());
    }
    calls.load(SeqCst) - requests
}

#[tokio::test(start_paused = true)]
async fn a_ratio_is_what_it_says() {
    let rule = budget::Policy::builder().ratio(1, 10).floor(0);
    let rule = rule.build().unwrap();
    for shared in [false, true] {
        assert_eq!(extra(shared, rule, 1_000).await, 100, "{shared}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_one_token() {
    let rule = budget::Policy::grpc(10, Ratio::percent(10)).unwrap();
    let alone = extra(false, rule, 5).await;
    assert!(alone > 0);
    assert_eq!(extra(true, rule, 5).await, alone);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_under_way_once() {
    let rule = budget::Policy::in_flight(Ratio::percent(10), 0).unwrap();
    for shared in [false, true] {
        let [of_retry, of_hedge] = budgets(rule, shared);
        let hedges = HedgeLayer::with_budget(policy(1), hedge::every(), of_hedge.clone(), tokio());
        let retries =
            RetryLayer::with_budget(twice(), Idempotent::new(), of_retry.clone(), tokio());
        let service = ServiceBuilder::new()
            .layer(retries)
            .layer(hedges)
            .service_fn(|()| std::future::pending::<Result<(), Fail>>());
        let calls: Vec<_> = (0..100).map(|_| service.clone().call(())).collect();
        let balance = [of_retry, of_hedge].map(|budget| (budget.snapshot().balance, budget));
        assert!(
            balance.iter().all(|(balance, _)| *balance == 10),
            "{shared}"
        );
        drop(calls);
        let [(_, of_retry), (_, of_hedge)] = balance;
        let left = [of_retry, of_hedge].map(|budget| budget.snapshot().balance);
        assert_eq!(left, [0, 0], "{shared}");
    }
}

/// A hedge that somebody else's attempt is around pays for itself.
#[tokio::test(start_paused = true)]
async fn an_attempt_of_another_budget_pays_nothing() {
    let rule = budget::Policy::builder().ratio(1, 1).floor(0);
    let [of_retry, of_hedge] = budgets(rule.build().unwrap(), false);
    let hedges = HedgeLayer::with_budget(policy(1), hedge::every(), of_hedge.clone(), tokio());
    let retries = RetryLayer::with_budget(twice(), Idempotent::new(), of_retry.clone(), tokio());
    let service = ServiceBuilder::new().layer(retries).layer(hedges);
    let service = service.service_fn(|()| async { Ok::<(), Fail>(()) });
    assert!(service.oneshot(()).await.is_ok());
    let balance = [of_retry, of_hedge].map(|budget| budget.snapshot().balance);
    assert_eq!(balance, [1, 1]);
}

/// Retries and hedges of one budget, whichever is inside which.
type Tower = BoxCloneService<(), (), Fail>;

#[derive(Debug, Clone, Copy)]
enum Tier {
    Retry,
    Hedge,
}

fn nested(tiers: [Tier; 2], budgets: [Budget; 2], inner: Tower) -> Tower {
    let tiers = tiers.into_iter().zip(budgets).rev();
    tiers.fold(inner, |inner, (tier, budget)| match tier {
        Tier::Retry => BoxCloneService::new(
            RetryLayer::with_budget(twice(), Idempotent::new(), budget, tokio()).layer(inner),
        ),
        Tier::Hedge => BoxCloneService::new(
            HedgeLayer::with_budget(policy(1), hedge::every(), budget, tokio()).layer(inner),
        ),
    })
}

const NESTINGS: [[Tier; 2]; 4] = [
    [Tier::Retry, Tier::Retry],
    [Tier::Retry, Tier::Hedge],
    [Tier::Hedge, Tier::Retry],
    [Tier::Hedge, Tier::Hedge],
];

#[tokio::test(start_paused = true)]
async fn a_request_pays_once_whatever_is_inside_what() {
    let ratio = budget::Policy::builder()
        .ratio(1, 1)
        .floor(0)
        .build()
        .unwrap();
    let in_flight = budget::Policy::in_flight(Ratio::ONE, 0).unwrap();
    for tiers in NESTINGS {
        let good = BoxCloneService::new(tower::service_fn(|()| async { Ok::<(), Fail>(()) }));
        let hangs = BoxCloneService::new(tower::service_fn(|()| {
            std::future::pending::<Result<(), Fail>>()
        }));
        for shared in [true, false] {
            let budgets = budgets(ratio, shared);
            let service = nested(tiers, budgets.clone(), good.clone());
            for _ in 0..7 {
                service.clone().oneshot(()).await.unwrap();
            }
            let saved = budgets.map(|budget| budget.snapshot().balance);
            assert_eq!(saved, [7, 7], "{tiers:?} {shared}");

            let budgets = self::budgets(in_flight, shared);
            let mut service = nested(tiers, budgets.clone(), hangs.clone());
            let calls: Vec<_> = (0..7).map(|_| service.call(())).collect();
            let room = budgets.each_ref().map(|b| b.snapshot().balance);
            assert_eq!(room, [7, 7], "{tiers:?} {shared}");
            drop(calls);
            let room = budgets.map(|budget| budget.snapshot().balance);
            assert_eq!(room, [0, 0], "{tiers:?} {shared}");
        }
    }
}

/// Every attempt that fails takes a token, the outermost first one among them.
#[tokio::test(start_paused = true)]
async fn a_failure_takes_one_token_whatever_is_inside_what() {
    let rule = budget::Policy::grpc(100, Ratio::percent(10)).unwrap();
    for tiers in NESTINGS {
        let bad = BoxCloneService::new(tower::service_fn(|()| async { Err::<(), _>(BROKEN) }));
        let [budget, _] = budgets(rule, true);
        let service = nested(tiers, [budget.clone(), budget.clone()], bad);
        let before = budget.snapshot();
        assert!(service.oneshot(()).await.is_err());
        let after = budget.snapshot();
        let attempts = 1 + after.granted - before.granted;
        assert_eq!(before.balance - after.balance, attempts, "{tiers:?}");
    }
}
