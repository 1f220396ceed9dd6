//! Three tiers of which each tries four times: what reaches the lowest one while
//! it fails.
//!
//! The default stack of a client, whose breaker opens, sends 52 of 8,400 requests in
//! 30 s of outage. Retries alone send 9,377, a factor of 1.116: a ratio of a tenth is a
//! tenth more for as long as the outage lasts, and above it come what the budget had
//! saved before (100 retries, spent within the first seconds) and its floor (one a
//! second). Without both, a client whose requests fail now and then, or one that sends
//! few, would not be helped at all.

use std::time::Duration;

use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::circuit_breaker::{self, CircuitBreakerLayer};
use tower_keep::retry::{self, RetryLayer};
use tower_keep::{Error, Ratio};

use crate::world::{Curve, World, run};

const OUTAGE: std::ops::Range<u64> = 30..60;
const END: u64 = 90;
const TIERS: usize = 3;

type Tier = BoxCloneService<(), (), Error<&'static str>>;

/// The lowest tier: it answers within a millisecond, well or badly.
fn lowest(world: &World, load: &Curve) -> Tier {
    let (world, load) = (world.clone(), load.clone());
    BoxCloneService::new(tower::service_fn(move |()| {
        let (world, load) = (world.clone(), load.clone());
        async move {
            load.add();
            world.pass(Duration::from_millis(1)).await;
            match OUTAGE.contains(&world.time().as_secs()) {
                true => Err(Error::Inner("down")),
                false => Ok(()),
            }
        }
    }))
}

/// What each tier puts before the one below, besides its retries.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Breaker {
    With,
    Without,
}

/// What was offered to the highest tier, and what came to the lowest: during the
/// outage, and from when nothing is left of what was saved.
fn offered_and_load(rate: u32, breaker: Breaker) -> [(u32, u32); 2] {
    run(async || {
        let world = World::new();
        let (offered, load) = (Curve::new(&world), Curve::new(&world));
        let policy = retry::Policy::builder().max_attempts(4).build().unwrap();
        let top = (0..TIERS).fold(lowest(&world, &load), |below, _| {
            let ratio = circuit_breaker::Policy::failure_ratio(Ratio::percent(50)).unwrap();
            let breaker = (breaker == Breaker::With).then(|| CircuitBreakerLayer::new(ratio));
            let tier = ServiceBuilder::new()
                .layer(RetryLayer::new(policy, retry::Idempotent::new()))
                .option_layer(breaker);
            BoxCloneService::new(tier.service(below))
        });
        let send = || {
            let (top, offered) = (top.clone(), offered.clone());
            async move {
                offered.add();
                let _ = top.oneshot(()).await;
            }
        };
        world.load(rate, Duration::from_secs(END), send).await;
        offered.print("offered", 5);
        load.print("load below", 5);
        [30..60, 40..60].map(|time| (offered.sum(time.clone()), load.sum(time)))
    })
}

fn factors(breaker: Breaker) -> [f64; 2] {
    offered_and_load(280, breaker).map(|(offered, load)| {
        let factor = f64::from(load) / f64::from(offered);
        println!("{breaker:?} breakers: {load} of {offered}, {factor:.3}");
        factor
    })
}

/// Only the lowest tier that retries does, out of its budget: the others see the
/// mark. So the tiers do not multiply, and what is above a tenth is what the one
/// budget had saved, and its floor.
#[test]
fn fault_062_three_tiers_add_what_one_budget_grants() {
    let [factor, later] = factors(Breaker::Without);
    // A tenth, a hundred that were saved, and 1 a second: of 280 a second for 30 s.
    let most = 1.1 + 100.0 / 8_400.0 + 40.0 / 8_400.0;
    assert!(factor > 1.1 && factor <= most, "{factor}");
    // When what was saved is gone: the tenth, and the floor.
    assert!(later <= 1.1 + 1.0 / 280.0 + 1e-3, "{later}");
}

#[test]
fn fault_062_three_default_stacks_stay_below_a_tenth_more() {
    let [factor, later] = factors(Breaker::With);
    assert!(factor <= 1.1 && later <= 1.1, "{factor} and {later}");
}
