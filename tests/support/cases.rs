//! Every layer and kind of admission, one line each.

use std::fmt::Display;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{Layer, Service};
use tower_keep::clock::Clock;
use tower_keep::test_util::{ManualClock, Script, ScriptBody, Watch};
use tower_keep::{
    Ratio, Setup, adaptive, bulkhead, chaos, circuit_breaker, fallback, hedge, retry, throttle,
    timeout, watchdog,
};

use super::watched::Watched;
pub(crate) use super::wrapped::{Connecting, Connectors, RequestBodies, bodies};
use super::{Fail, Inner, inner, ms, secs};

/// What a layer makes of the inner service.
pub(crate) trait Subject:
    Service<
        Request<()>,
        Response = Response<Self::Body>,
        Error = Fail,
        Future: Send + std::fmt::Debug + 'static,
    > + Clone
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
    type Body: Body<Data = Bytes, Error: Display> + Send + Unpin + 'static;
}

impl<S, B> Subject for S
where
    S: Service<Request<()>, Response = Response<B>, Error = Fail>
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
    S::Future: Send + std::fmt::Debug + 'static,
    B: Body<Data = Bytes, Error: Display> + Send + Unpin + 'static,
{
    type Body = B;
}

/// A layer on the bench: its service over the scripted one, on its own clock.
pub(crate) struct Rig<S, H> {
    pub(crate) time: ManualClock,
    pub(crate) service: S,
    pub(crate) script: Script<Response<ScriptBody>, Fail>,
    pub(crate) watch: Watch,
    pub(crate) handle: H,
}

impl<S, H> Rig<S, H> {
    pub(crate) fn new<L>(make: impl FnOnce(Setup) -> (L, H)) -> Self
    where
        L: Layer<Inner, Service = S>,
    {
        Self::with(Setup::new(), make)
    }

    pub(crate) fn with<L>(setup: Setup, make: impl FnOnce(Setup) -> (L, H)) -> Self
    where
        L: Layer<Inner, Service = S>,
    {
        let time = ManualClock::new();
        let (layer, handle) = make(setup.with_clock(time.clock()));
        let (probe, script, watch) = inner(&time);
        Self {
            service: layer.layer(probe),
            time,
            script,
            watch,
            handle,
        }
    }
}

impl<S, H: Watched> Rig<S, H> {
    /// Nothing of any call is left, neither inside nor in the layer.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        self.watch.assert_quiet();
        self.handle.assert_quiet();
    }
}

pub(crate) fn timeouts() -> timeout::Policy {
    let policy = timeout::Policy::builder()
        .attempt(secs(5))
        .deadline(secs(9));
    policy.readiness(secs(3)).build().unwrap()
}

/// The limit of the policy, from a table.
pub(crate) fn routes() -> timeout::Routes {
    timeout::Routes::new().path("/", secs(5))
}

pub(crate) fn permits(n: u32) -> bulkhead::Policy {
    let policy = bulkhead::Policy::builder().max_concurrent(n);
    policy.queue_length(100).max_wait(secs(2)).build().unwrap()
}

/// A limit that begins at `n`, and may become anything.
pub(crate) fn finding(n: u32) -> adaptive::Policy {
    let policy = adaptive::Policy::builder().min_limit(1).initial_limit(n);
    policy.build().unwrap()
}

pub(crate) fn rate(permits: u32) -> throttle::Policy {
    let policy = throttle::Policy::builder().rate(permits, secs(1));
    policy.max_wait(secs(2)).build().unwrap()
}

pub(crate) fn leased(permits: u32) -> throttle::Policy {
    let policy = rate(permits).to_builder().mode(throttle::Mode::Leased);
    policy.build().unwrap()
}

/// A rate, and an hour's worth of it in windows of the clock.
pub(crate) fn several(permits: u32) -> throttle::Policy {
    let hour = throttle::Limit::new(permits * 3_600, secs(3_600));
    let policy = rate(permits).to_builder();
    let policy = policy.also(hour.kind(throttle::Kind::FixedWindow));
    policy.build().unwrap()
}

/// Opens after half of at least 100 calls, which no law makes fail.
pub(crate) fn breaking() -> circuit_breaker::PolicyBuilder {
    circuit_breaker::Policy::builder()
        .failure_ratio(Ratio::percent(50))
        .count_window(200)
        .minimum_calls(100)
}

pub(crate) fn by_count() -> circuit_breaker::Policy {
    breaking().build().unwrap()
}

pub(crate) fn by_time_and_slowness() -> circuit_breaker::Policy {
    let policy = breaking().time_window(secs(10)).slow_ratio(Ratio::ONE);
    policy.slow_threshold(secs(1)).build().unwrap()
}

pub(crate) fn by_share() -> circuit_breaker::Policy {
    let policy = breaking().kind(circuit_breaker::Kind::ClientThrottle);
    policy.build().unwrap()
}

pub(crate) fn by_header() -> tower_keep::key::HeaderKey {
    tower_keep::key::header(http::HeaderName::from_static("x-key"))
}

/// Answers refusals of layers inside, and nothing else.
pub(crate) fn refusals() -> fallback::Policy {
    let policy = fallback::Policy::builder().refused(fallback::Rule::Answer);
    let policy = policy.timeout(fallback::Rule::Pass);
    let policy = policy.overload(fallback::Rule::Pass);
    policy.transient(fallback::Rule::Pass).build().unwrap()
}

/// The answer that nobody should see.
pub(crate) fn never_asked<Res>(_: fallback::Failed<'_, Res, Fail>) -> Option<Res> {
    panic!("a call was answered by the fallback")
}

/// Later than any law lets a call be pending.
pub(crate) fn hedging() -> hedge::Policy {
    hedge::Policy::after(secs(3_600)).unwrap()
}

/// By what calls take, of which it never knows enough.
pub(crate) fn learning() -> hedge::Policy {
    let policy = hedge::Policy::builder().minimum_calls(1_000_000);
    policy.build().unwrap()
}

/// Ready to try again, and never asked to: its rules see every end.
pub(crate) fn contented<Res>(_: Result<&Res, &Fail>) -> retry::Again {
    retry::Again::No
}

/// Gives up on what is stuck, and nobody looks.
pub(crate) fn rejecting() -> watchdog::Policy {
    let policy = watchdog::Policy::builder().on_stuck(watchdog::OnStuck::Reject);
    policy.build().unwrap()
}

/// Running, and nothing goes wrong.
pub(crate) fn calm(setup: Setup) -> chaos::ChaosLayer {
    let layer = chaos::ChaosLayer::with(chaos::Policy::default(), setup);
    layer.handle().start();
    layer
}

/// As `for_all_layers`, for layers that admit nothing, refuse nothing and have no
/// handle.
macro_rules! for_passing_layers {
    ($($law:ident),* $(,)?) => {
        mod passing {
        use tower_keep::timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer};
        use $crate::support::cases::{RequestBodies, bodies};
        use $crate::support::watched::Unwatched;
        $(
            mod $law {
                use super::*;
                #[test]
                fn request_bodies() {
                    $crate::laws::$law(|s| {
                        (RequestBodies(RequestBodyTimeoutLayer::with(bodies(), s)), Unwatched)
                    });
                }
                #[test]
                fn response_bodies() {
                    $crate::laws::$law(|s| {
                        (ResponseBodyTimeoutLayer::with(bodies(), s), Unwatched)
                    });
                }
            }
        )*
        }
    };
}
pub(crate) use for_passing_layers;

/// Makes one test per layer of each law: `law(|setup| (layer, handle))`.
macro_rules! for_all_layers {
    ($($(#[$attribute:meta])* $law:ident),* $(,)?) => { $(
        $(#[$attribute])*
        mod $law {
            use $crate::support::cases::{
                Connecting, Connectors, by_count, by_header, by_share, by_time_and_slowness, calm, contented, finding, hedging, learning, leased, never_asked, permits, rate, refusals, rejecting, routes, several, timeouts,
            };
            use tower_keep::adaptive::AdaptiveLayer;
            use tower_keep::bulkhead::BulkheadLayer;
            use tower_keep::circuit_breaker::CircuitBreakerLayer;
            use tower_keep::fallback::{self, FallbackLayer};
            use tower_keep::hedge::{HedgeLayer, every};
            use tower_keep::retry::{self, RetryLayer};
            use tower_keep::classify::Http;
            use tower_keep::throttle::learned::{self, LearnedLayer};
            use tower_keep::throttle::ThrottleLayer;
            use tower_keep::timeout::TimeoutLayer;
            use tower_keep::watchdog::{self, WatchdogLayer};
            $crate::support::cases::one_layer! { $law
                timeout: |s| TimeoutLayer::with(timeouts(), s);
                timeout_routes: |s| TimeoutLayer::with(timeouts(), s).limits(routes());
                connect: |s| Connecting(TimeoutLayer::with(timeouts(), s));
                connector: |s| Connectors(TimeoutLayer::with(timeouts(), s));
                shed: |s| BulkheadLayer::with(permits(8), s);
                shed_body: |s| BulkheadLayer::with(permits(8), s).until_body_end();
                queue: |s| BulkheadLayer::with(permits(8), s).queued();
                queue_body: |s| BulkheadLayer::with(permits(8), s).queued().until_body_end();
                backpressure: |s| BulkheadLayer::with(permits(8), s).backpressure();
                backpressure_body: |s| BulkheadLayer::with(permits(8), s).backpressure().until_body_end();
                adaptive: |s| AdaptiveLayer::with(finding(8), s);
                adaptive_queue: |s| AdaptiveLayer::with(finding(8), s).queued();
                queue_ranked: |s| BulkheadLayer::with(permits(8), s).queued()
                    .ranked(tower_keep::queue::rank(|_: &http::Request<()>| tower_keep::queue::Priority::Bulk))
                    .fair(by_header());
                adaptive_body: |s| AdaptiveLayer::with(finding(8), s).until_body_end();
                refuse: |s| ThrottleLayer::with(rate(10_000), s);
                refuse_keyed: |s| ThrottleLayer::keyed_with(rate(10_000), by_header(), s);
                wait: |s| ThrottleLayer::with(rate(10_000), s).waiting();
                learned: |s| LearnedLayer::with(learned::Policy::default(), Http, s);
                learned_keyed:
                    |s| LearnedLayer::keyed_with(learned::Policy::default(), Http, by_header(), s);
                learned_wait:
                    |s| LearnedLayer::with(learned::Policy::default(), Http, s).waiting();
                refuse_leased: |s| ThrottleLayer::with(leased(10_000), s);
                refuse_several: |s| ThrottleLayer::with(several(10_000), s);
                wait_several: |s| ThrottleLayer::with(several(10_000), s).waiting();
                refund: |s| ThrottleLayer::with(rate(10_000), s).refunding();
                wait_leased: |s| ThrottleLayer::with(leased(10_000), s).waiting();
                breaker_count: |s| CircuitBreakerLayer::with(by_count(), s);
                breaker_time: |s| CircuitBreakerLayer::with(by_time_and_slowness(), s);
                breaker_share: |s| CircuitBreakerLayer::with(by_share(), s);
                breaker_body: |s| CircuitBreakerLayer::with(by_time_and_slowness(), s).until_body_end();
                breaker_keyed: |s| CircuitBreakerLayer::keyed_with(by_time_and_slowness(), by_header(), s);
                wait_keyed: |s| ThrottleLayer::keyed_with(rate(10_000), by_header(), s).waiting();
                fallback: |s| FallbackLayer::with(refusals(), fallback::by(never_asked), s);
                fallback_http: |s| FallbackLayer::with(refusals(), fallback::by(never_asked), s)
                    .classify(tower_keep::classify::Http).marked();
                hedge: |s| HedgeLayer::with(hedging(), every(), s);
                hedge_learning: |s| HedgeLayer::with(learning(), every(), s);
                retry: |s| RetryLayer::with(retry::Policy::default(), retry::when(contented), s);
                idempotency: |s| $crate::support::keys::unkeyed(s);
                chaos: |s| calm(s);
                watchdog: |s| WatchdogLayer::with(watchdog::Policy::default(), s);
                watchdog_rejects: |s| WatchdogLayer::with(rejecting(), s).keyed(by_header());
            }
        }
    )* };
}
pub(crate) use for_all_layers;

macro_rules! one_layer {
    ($law:ident $($case:ident: |$setup:ident| $layer:expr;)*) => { $(
        #[test]
        fn $case() {
            super::laws::$law(|$setup| {
                let layer = $layer;
                let handle = layer.handle();
                (layer, handle)
            });
        }
    )* };
}
pub(crate) use one_layer;
