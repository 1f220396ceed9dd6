//! What a layer adds to the size of a call's future.

use http::Request;
use tower::{Layer, Service};
use tower_keep::adaptive::AdaptiveLayer;
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::chaos::{ChaosLayer, Policy};
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::fallback::{self, FallbackLayer};
use tower_keep::hedge::{HedgeLayer, every};
use tower_keep::retry::{self, RetryLayer};
use tower_keep::throttle::ThrottleLayer;
use tower_keep::timeout::{ResponseBodyTimeoutLayer, TimeoutLayer};
use tower_keep::watchdog::WatchdogLayer;

use crate::support::cases::{
    Connecting, bodies, by_count, finding, hedging, never_asked, permits, rate, timeouts,
};
use crate::support::{Inner, inner};

type FutureOf<S> = <S as Service<Request<()>>>::Future;

fn beyond<L>(layer: &L) -> usize
where
    L: Layer<Inner, Service: Service<Request<()>>>,
{
    let _ = layer;
    size_of::<FutureOf<L::Service>>() - size_of::<FutureOf<Inner>>()
}

#[test]
fn futures_stay_small() {
    let (service, ..) = inner(&tower_keep::clock::ManualClock::new());
    // The kinds that wait carry the request and a service along; a fallback
    // and a retry have room for the response that failed.
    let carried = size_of_val(&service) + size_of::<Request<()>>();
    let bulkhead = || BulkheadLayer::new(permits(1));
    let throttle = || ThrottleLayer::new(rate(1));
    let fallback = || FallbackLayer::new(fallback::by(never_asked));
    let retry = || RetryLayer::new(retry::Policy::default(), retry::Http::new());
    let sizes = [
        ("timeout", beyond(&TimeoutLayer::new(timeouts())), 200),
        (
            "connect",
            beyond(&Connecting(TimeoutLayer::new(timeouts()))),
            200,
        ),
        (
            "bodies",
            beyond(&ResponseBodyTimeoutLayer::new(bodies())),
            104,
        ),
        ("shed", beyond(&bulkhead()), 40),
        ("backpressure", beyond(&bulkhead().backpressure()), 40),
        ("queue", beyond(&bulkhead().queued()), 240 + carried),
        (
            "adaptive, queue",
            beyond(&AdaptiveLayer::new(finding(1)).queued()),
            272 + carried,
        ),
        ("adaptive", beyond(&AdaptiveLayer::new(finding(1))), 56),
        ("fallback", beyond(&fallback()), 120),
        (
            "hedge",
            beyond(&HedgeLayer::new(hedging(), every())),
            420 + carried,
        ),
        ("retry", beyond(&retry()), 300 + carried),
        ("chaos", beyond(&ChaosLayer::new(Policy::default())), 16),
        (
            "watchdog",
            beyond(&WatchdogLayer::new(tower_keep::watchdog::Policy::default())),
            40,
        ),
        ("breaker", beyond(&CircuitBreakerLayer::new(by_count())), 48),
        ("refuse", beyond(&throttle()), 16),
        ("refund", beyond(&throttle().refunding()), 264),
        ("wait", beyond(&throttle().waiting()), 240 + carried),
    ];
    for (layer, size, most) in sizes {
        assert!(
            size <= most,
            "{layer}: {size} bytes, at most {most}: {sizes:?}"
        );
    }
}
