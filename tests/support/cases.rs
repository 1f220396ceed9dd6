//! Every layer and kind of admission, one line each.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::util::{MapErr, MapRequest};
use tower::{Layer, Service};
use tower_keep::clock::Clock;
use tower_keep::test_util::{Broken, ManualClock, Script, ScriptBody, Watch};
use tower_keep::timeout::{BodyPolicy, Connect, Connector, TimeoutLayer};
use tower_keep::{
    Ratio, Setup, adaptive, bulkhead, chaos, circuit_breaker, fallback, hedge, retry, throttle,
    timeout,
};

use super::watched::Watched;
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

/// Running, and nothing goes wrong.
pub(crate) fn calm(setup: Setup) -> chaos::ChaosLayer {
    let layer = chaos::ChaosLayer::with(chaos::Policy::default(), setup);
    layer.handle().start();
    layer
}

/// A timeout around what stands for a connector.
#[derive(Debug, Clone)]
pub(crate) struct Connecting(pub(crate) TimeoutLayer);

impl Connecting {
    pub(crate) fn handle(&self) -> timeout::Handle {
        self.0.handle()
    }
}

impl<S> Layer<S> for Connecting {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        self.0.connecting().layer(inner)
    }
}

/// The same for clients that ask for more.
#[derive(Debug, Clone)]
pub(crate) struct Connectors(pub(crate) TimeoutLayer);

impl Connectors {
    pub(crate) fn handle(&self) -> timeout::Handle {
        self.0.handle()
    }
}

/// It lifts the error of what connects: that is to become the error of the others.
#[derive(Debug, Clone)]
pub(crate) struct Lowered<S>(Connector<MapErr<S, Lower>>);

type Lower = fn(Fail) -> Broken;

impl<S> Layer<S> for Connectors {
    type Service = Lowered<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let lower: Lower = |error| error.into_inner().unwrap();
        Lowered(Connector::new(&self.0, MapErr::new(inner, lower)))
    }
}

impl<S> Service<Request<()>> for Lowered<S>
where
    S: Service<Request<()>, Response = Response<ScriptBody>, Error = Fail>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = Fail;
    type Future = Opaque;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Opaque {
        Opaque(self.0.call(request))
    }
}

/// A box has no `Debug`.
pub(crate) struct Opaque(timeout::Connecting<Response<ScriptBody>, Broken>);

impl std::fmt::Debug for Opaque {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opaque")
    }
}

impl Future for Opaque {
    type Output = Result<Response<ScriptBody>, Fail>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Bounds that nothing here crosses.
pub(crate) fn bodies() -> BodyPolicy {
    let policy = BodyPolicy::builder().total(secs(60)).idle(secs(40));
    policy
        .min_bytes_per_second(1)
        .grace(secs(40))
        .build()
        .unwrap()
}

/// Request bodies, for an inner service that has none.
#[derive(Debug, Clone)]
pub(crate) struct RequestBodies(pub(crate) timeout::RequestBodyTimeoutLayer);

type Timed = Request<timeout::TimedBody<()>>;

fn bare(request: Timed) -> Request<()> {
    request.map(drop)
}

impl<S> Layer<S> for RequestBodies {
    type Service = timeout::RequestBodyTimeout<MapRequest<S, fn(Timed) -> Request<()>>>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.layer(MapRequest::new(inner, bare))
    }
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
                Connecting, Connectors, by_count, by_header, by_share, by_time_and_slowness, calm, contented, finding, hedging, learning, never_asked, permits, rate, refusals, routes, timeouts,
            };
            use tower_keep::adaptive::AdaptiveLayer;
            use tower_keep::bulkhead::BulkheadLayer;
            use tower_keep::circuit_breaker::CircuitBreakerLayer;
            use tower_keep::fallback::{self, FallbackLayer};
            use tower_keep::hedge::{HedgeLayer, every};
            use tower_keep::retry::{self, RetryLayer};
            use tower_keep::throttle::ThrottleLayer;
            use tower_keep::timeout::TimeoutLayer;
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
                backpressure_body:
                    |s| BulkheadLayer::with(permits(8), s).backpressure().until_body_end();
                adaptive: |s| AdaptiveLayer::with(finding(8), s);
                adaptive_queue: |s| AdaptiveLayer::with(finding(8), s).queued();
                queue_ranked: |s| BulkheadLayer::with(permits(8), s)
                    .queued()
                    .ranked(tower_keep::queue::rank(|_: &http::Request<()>| {
                        tower_keep::queue::Priority::Bulk
                    }))
                    .fair(by_header());
                adaptive_body: |s| AdaptiveLayer::with(finding(8), s).until_body_end();
                refuse: |s| ThrottleLayer::with(rate(10_000), s);
                refuse_keyed: |s| ThrottleLayer::keyed_with(rate(10_000), by_header(), s);
                wait: |s| ThrottleLayer::with(rate(10_000), s).waiting();
                breaker_count: |s| CircuitBreakerLayer::with(by_count(), s);
                breaker_time: |s| CircuitBreakerLayer::with(by_time_and_slowness(), s);
                breaker_share: |s| CircuitBreakerLayer::with(by_share(), s);
                breaker_body:
                    |s| CircuitBreakerLayer::with(by_time_and_slowness(), s).until_body_end();
                breaker_keyed:
                    |s| CircuitBreakerLayer::keyed_with(by_time_and_slowness(), by_header(), s);
                wait_keyed: |s| ThrottleLayer::keyed_with(rate(10_000), by_header(), s).waiting();
                fallback: |s| FallbackLayer::with(refusals(), fallback::by(never_asked), s);
                fallback_http:
                    |s| FallbackLayer::with(refusals(), fallback::by(never_asked), s)
                        .classify(tower_keep::classify::Http)
                        .marked();
                hedge: |s| HedgeLayer::with(hedging(), every(), s);
                hedge_learning: |s| HedgeLayer::with(learning(), every(), s);
                retry: |s|
                    RetryLayer::with(retry::Policy::default(), retry::when(contented), s);
                idempotency: |s| $crate::support::keys::unkeyed(s);
                chaos: |s| calm(s);
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
