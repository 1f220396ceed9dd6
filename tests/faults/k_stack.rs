//! K. A full stack beside none.

use rand::RngExt;
use tower::ServiceBuilder;
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::chaos::{self, ChaosLayer};
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::fallback::{self, FallbackLayer};
use tower_keep::retry::{self, RetryLayer};
use tower_keep::test_util::{Call, ManualClock, Ready, Seed, finish_on};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::TimeoutLayer;

use crate::k_composition::setup;
use crate::support::cases::{
    by_time_and_slowness, contented, never_asked, permits, rate, refusals, timeouts,
};
use crate::support::transcript::transcript;
use crate::support::watched::Watched;
use crate::support::{BROKEN, call, data, inner, ms, request, response, trailers};

#[test]
fn fault_100_with_and_without_the_stack_nothing_differs() {
    let seed = Seed::from_env();
    let mut random = seed.rng();
    let time = ManualClock::new();
    let (mut bare, bare_script, _) = inner(&time);
    let (probe, script, watch) = inner(&time);
    let bulkhead = BulkheadLayer::with(permits(4), setup(&time));
    // All of it goes wrong, once it is started.
    let everything = chaos::Policy::builder().error(tower_keep::Ratio::ONE);
    let everything = everything.build().unwrap();
    let mut full = ServiceBuilder::new()
        .layer(FallbackLayer::with(refusals(), fallback::by(never_asked), setup(&time)).marked())
        .layer(ThrottleLayer::with(rate(10_000), setup(&time)).waiting())
        .layer(bulkhead.clone().queued().until_body_end())
        .layer(CircuitBreakerLayer::with(by_time_and_slowness(), setup(&time)).until_body_end())
        .layer(TimeoutLayer::with(timeouts(), setup(&time)))
        .layer(RetryLayer::with(
            retry::Policy::default(),
            retry::when(contented),
            setup(&time),
        ))
        .layer(ChaosLayer::with(everything, setup(&time)))
        .service(probe);
    for turn in 0..2_000 {
        let mut line = match random.random_range(0..5) {
            0 => Call::error(BROKEN),
            _ => {
                let mut body = Vec::new();
                for _ in 0..random.random_range(0..4) {
                    body.push(data(["", "one", "two"][random.random_range(0..3)]));
                    body.push(tower_keep::test_util::BodyStep::Pend(
                        random.random_range(0..2),
                    ));
                }
                if random.random_ratio(1, 3) {
                    body.push(trailers());
                }
                let status = [200, 204, 301, 404, 429, 500, 503][random.random_range(0..7)];
                Call::respond(response(&time, status, body))
            }
        };
        line = line.pending(random.random_range(0..3));
        if random.random_ratio(1, 4) {
            line = line.after(ms(random.random_range(0..4_999)));
        }
        let ready = Ready::Pend(random.random_range(0..3));
        for script in [&bare_script, &script] {
            script.then_ready(ready.clone());
            script.then_call(line.clone());
        }
        let start = time.now();
        let expected = finish_on(&time, async {
            transcript(call(&mut bare, request("a")).await).await
        });
        let took = time.now().saturating_since(start);
        let start = time.now();
        let seen = finish_on(&time, async {
            transcript(call(&mut full, request("a")).await).await
        });
        assert!(seen.is_some());
        assert_eq!(seen, expected, "call {turn}");
        assert_eq!(time.now().saturating_since(start), took, "it took longer");
    }
    watch.assert_quiet();
    bulkhead.handle().assert_quiet();
}
