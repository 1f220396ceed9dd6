//! No call allocates, admitted or refused, around a service that is ready.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use tower::{Layer, Service, ServiceBuilder};
use tower_keep::adaptive::AdaptiveLayer;
use tower_keep::balance;
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::chaos::{self, ChaosLayer};
use tower_keep::circuit_breaker::CircuitBreakerLayer;
use tower_keep::classify::{ErrorsOnly, Failure, Outcome};
use tower_keep::fallback::{self, FallbackLayer};
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::key;
use tower_keep::retry::{self, RetryLayer};
use tower_keep::test_util::ManualClock;
use tower_keep::throttle::ThrottleLayer;
use tower_keep::throttle::learned::{self, LearnedLayer};
use tower_keep::timeout::TimeoutLayer;
use tower_keep::watchdog::{self, WatchdogLayer};
use tower_keep::{Error, Override, Setup};

use crate::support::cases::{
    Connecting, bodies, by_count, by_share, by_time_and_slowness, calm, finding, hedging, learning,
    leased, permits, rate, refusals, several, timeouts,
};

/// Answers at once.
#[derive(Debug, Clone)]
struct Echo;

impl Service<u32> for Echo {
    type Response = u32;
    type Error = Error<()>;
    type Future = Ready<Result<u32, Error<()>>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<()>>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, n: u32) -> Self::Future {
        ready(Ok(n))
    }
}

/// Allocations in 1,000 calls, after 100 to warm up; all must end as told.
fn allocations<S>(service: &mut S, admitted: bool) -> u64
where
    S: Service<u32, Response = u32, Error = Error<()>>,
{
    let mut cx = Context::from_waker(Waker::noop());
    let mut once = |n| {
        assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Ok(())));
        let future = std::pin::pin!(service.call(n));
        let Poll::Ready(result) = future.poll(&mut cx) else {
            panic!("a call around a service that is ready waits");
        };
        assert_eq!(result.is_ok(), admitted, "{result:?}");
        black_box(result).ok();
    };
    (0..100).for_each(&mut once);
    measure(|| (0..1000).for_each(&mut once)).count_total
}

fn setup(time: &ManualClock) -> Setup {
    Setup::new().with_clock(time.clock())
}

/// A test for one layer: admitted, then refused as `$refuse` makes it.
macro_rules! allocates_nothing {
    ($($name:ident: $layer:expr, $refuse:expr;)*) => { $(
        #[test]
        fn $name() {
            let time = ManualClock::new();
            let layer = $layer(setup(&time));
            let mut service = layer.layer(Echo);
            assert_eq!(allocations(&mut service, true), 0, "admitted");
            let _held = $refuse(layer.handle());
            assert_eq!(allocations(&mut service, false), 0, "refused");
        }
    )* };
}

fn one_key() -> impl key::Key<u32> + Clone {
    key::value(|n: &u32| Some(n % 7))
}

fn close(handle: tower_keep::timeout::Handle) {
    handle.set_override(Override::Close);
}

fn occupy(handle: tower_keep::bulkhead::Handle) -> Vec<tower_keep::bulkhead::Permit> {
    std::iter::from_fn(|| handle.admit().ok()).collect()
}

fn fill(handle: tower_keep::adaptive::Handle) -> Vec<tower_keep::adaptive::Permit> {
    std::iter::from_fn(|| handle.admit().ok()).collect()
}

fn exhaust(handle: tower_keep::throttle::Handle) {
    handle.update(rate(1));
}

/// The server says that it was too much: from now on the bucket is empty.
fn shut_learned(handle: learned::Handle) {
    let permit = handle.admit().unwrap();
    permit.finish(Outcome::Failure(Failure::Overload { retry_after: None }));
}

/// What is left, as one request.
fn exhaust_leased(handle: tower_keep::throttle::Handle) {
    handle.update(rate(1));
    handle.admit(1).unwrap();
}

fn exhaust_several(handle: tower_keep::throttle::Handle) {
    handle.update(several(1));
}

/// The last request of each key.
fn exhaust_keys(handle: tower_keep::throttle::Handle) {
    handle.update(rate(1));
    for n in 0..7 {
        handle.admit_for(&one_key(), &n, 1).unwrap();
    }
}

/// Opens it by as many failures as that takes.
fn fail(handle: tower_keep::circuit_breaker::Handle) {
    while let Ok(permit) = handle.admit() {
        permit.finish(Outcome::Failure(Failure::Transient));
    }
}

fn isolate(handle: tower_keep::circuit_breaker::Handle) {
    handle.set_override(Override::Close);
}

allocates_nothing! {
    timeout_calls: |s| TimeoutLayer::with(timeouts(), s), close;
    connect_calls: |s| Connecting(TimeoutLayer::with(timeouts(), s)), close;
    shed_calls: |s| BulkheadLayer::with(permits(8), s), occupy;
    queue_calls: |s| BulkheadLayer::with(permits(8).to_builder().queue_length(0).build().unwrap(), s).queued(), occupy;
    refuse_calls: |s| ThrottleLayer::with(rate(1_100), s), exhaust;
    learned_calls: |s| LearnedLayer::with(learned::Policy::default(), ErrorsOnly, s), shut_learned;
    learned_wait_calls: |s| LearnedLayer::with(hasty(), ErrorsOnly, s).waiting(), shut_learned;
    refuse_leased_calls: |s| ThrottleLayer::with(leased(2_200), s), exhaust_leased;
    refuse_several_calls: |s| ThrottleLayer::with(several(1_100), s), exhaust_several;
    refund_calls: |s| ThrottleLayer::with(rate(1_100), s).refunding(), exhaust;
    refuse_keyed_calls: |s| ThrottleLayer::keyed_with(rate(1_100), one_key(), s), exhaust_keys;
    adaptive_calls: |s| AdaptiveLayer::with(finding(8), s), fill;
    breaker_count_calls: |s| CircuitBreakerLayer::with(by_count(), s), fail;
    breaker_time_calls: |s| CircuitBreakerLayer::with(by_time_and_slowness(), s), fail;
    breaker_share_calls: |s| CircuitBreakerLayer::with(by_share(), s), isolate;
    breaker_keyed_calls: |s| CircuitBreakerLayer::keyed_with(by_time_and_slowness(), one_key(), s), isolate;
    wait_calls: |s| ThrottleLayer::with(impatient(1_100), s).waiting(), exhaust_impatient;
    chaos_calls: |s| ChaosLayer::with(chaos::Policy::default(), s), outage;
    chaos_running_calls: calm, outage;
    hedge_calls: |s| HedgeLayer::with(hedging(), hedge::every(), s), stop_hedges;
    hedge_learning_calls: |s| HedgeLayer::with(learning(), hedge::every(), s), stop_hedges;
    retry_calls: |s| RetryLayer::with(retry::Policy::default(), retry::Idempotent::new(), s), stop;
    watchdog_calls: |s| WatchdogLayer::with(watchdog::Policy::default(), s).keyed(one_key()), refuse;
    fallback_calls: |s| FallbackLayer::with(refusals(), fallback::value(7), s), shut;
}

/// As below.
fn hasty() -> learned::Policy {
    let policy = learned::Policy::builder().max_wait(Duration::from_nanos(1));
    policy.build().unwrap()
}

/// The lowest bound on a wait, so that the waiting kind refuses.
fn impatient(permits: u32) -> tower_keep::throttle::Policy {
    let policy = rate(permits).to_builder();
    policy.max_wait(Duration::from_nanos(1)).build().unwrap()
}

fn exhaust_impatient(handle: tower_keep::throttle::Handle) {
    handle.update(impatient(1));
}

fn stop(handle: retry::Handle) {
    handle.set_override(Override::Close);
}

fn shut(handle: fallback::Handle) {
    handle.set_override(Override::Close);
}

fn refuse(handle: watchdog::Handle) {
    handle.set_override(Override::Close);
}

fn stop_hedges(handle: hedge::Handle) {
    handle.set_override(Override::Close);
}

fn outage(handle: chaos::Handle) {
    handle.set_override(Override::Close);
}

#[test]
fn answers_of_a_fallback() {
    let time = ManualClock::new();
    let answer = fallback::by(|_: fallback::Failed<'_, u32, Error<()>>| Some(7));
    let timeout = TimeoutLayer::with(timeouts(), setup(&time));
    let layer = FallbackLayer::with(fallback::Policy::default(), answer, setup(&time));
    let mut service = layer.layer(timeout.layer(Echo));
    timeout.handle().set_override(Override::Close);
    assert_eq!(allocations(&mut service, true), 0);
    assert_eq!(layer.handle().snapshot().answered, 1_100);
}

/// It clones the service of the endpoint, which is free here.
#[test]
fn choices_of_a_balancer() {
    let time = ManualClock::new();
    for picker in 0..4 {
        let policy = balance::Policy::builder();
        let policy = match picker {
            0 => policy,
            1 => policy.picker(balance::RoundRobin::default()),
            2 => policy.picker(balance::PeakEwma::default()),
            _ => policy.picker(balance::Prequal::default()),
        };
        let policy = policy.outliers(None).max_wait(Duration::ZERO).build();
        let endpoints: Vec<_> = (0..100)
            .map(|n| balance::Endpoint::new(n.to_string()))
            .collect();
        let factory = balance::by(|_| Echo);
        let mut service = balance::Balance::with(policy.unwrap(), endpoints, factory, setup(&time));
        assert_eq!(allocations(&mut service, true), 0, "picker {picker}");
        for endpoint in service.handle().snapshot().endpoints {
            service.handle().eject(endpoint.id).unwrap();
        }
        assert_eq!(allocations(&mut service, false), 0, "refused");
    }
}

#[test]
fn backpressure_calls() {
    let time = ManualClock::new();
    let layer = BulkheadLayer::with(permits(8), setup(&time)).backpressure();
    assert_eq!(allocations(&mut layer.layer(Echo), true), 0);
}

/// Bodies of both directions, each read to its end, which it waits for once.
#[test]
fn bodies_with_bounds() {
    use http::{Request, Response};
    use http_body::Body;
    use tower_keep::timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimedBody};

    fn read<B: Body>(body: B) {
        let mut body = std::pin::pin!(body);
        let mut cx = Context::from_waker(Waker::noop());
        while !matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)) {}
    }
    /// Pends once, gives a frame, ends.
    struct Slow(u8);
    impl Body for Slow {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
            self.0 += 1;
            match self.0 {
                1 => Poll::Pending,
                2 => {
                    let data = bytes::Bytes::from_static(b"x");
                    Poll::Ready(Some(Ok(http_body::Frame::data(data))))
                }
                _ => Poll::Ready(None),
            }
        }
    }
    let echo = tower::service_fn(|request: Request<TimedBody<Slow>>| {
        read(request.into_body());
        ready(Ok::<_, Error<()>>(Response::new(Slow(0))))
    });
    // The clock of a test keeps a list of its timers; the wheel of a runtime does not.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let mut service = ServiceBuilder::new()
        .layer(RequestBodyTimeoutLayer::new(bodies()))
        .layer(ResponseBodyTimeoutLayer::new(bodies()))
        .service(echo);
    let mut once = |_| {
        let mut cx = Context::from_waker(Waker::noop());
        let future = std::pin::pin!(service.call(Request::new(Slow(0))));
        let Poll::Ready(Ok(response)) = future.poll(&mut cx) else {
            panic!("a call around a service that is ready waits");
        };
        read(response.into_body());
    };
    (0..100).for_each(&mut once);
    let counted = measure(|| (0..1000).for_each(&mut once));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_stack_of_three() {
    let time = ManualClock::new();
    let throttle = ThrottleLayer::with(rate(5_000), setup(&time));
    let bulkhead = BulkheadLayer::with(permits(8), setup(&time));
    let timeout = TimeoutLayer::with(timeouts(), setup(&time));
    let mut service = ServiceBuilder::new()
        .layer(throttle.clone())
        .layer(bulkhead.clone())
        .layer(timeout.clone())
        .service(Echo);
    assert_eq!(allocations(&mut service, true), 0, "admitted");
    timeout.handle().set_override(Override::Close);
    assert_eq!(allocations(&mut service, false), 0, "refused innermost");
    let held = occupy(bulkhead.handle());
    assert_eq!(allocations(&mut service, false), 0, "refused in the middle");
    drop(held);
    throttle.handle().set_override(Override::Close);
    assert_eq!(allocations(&mut service, false), 0, "refused outermost");
}

/// As large as its page says.
#[test]
fn a_circuit_of_a_key_is_small() {
    use tower_keep::Ratio;
    use tower_keep::circuit_breaker::{Kind, Policy};
    const KEYS: u32 = 1_000;
    let builder = Policy::builder;
    for (name, policy) in [
        ("default", builder()),
        ("consecutive", builder().consecutive(5)),
        ("time", builder().time_window(Duration::from_secs(10))),
        ("slow", builder().slow_ratio(Ratio::ONE)),
        ("recent", builder().recent(1_000, 1_000)),
        ("share", builder().kind(Kind::Ewma)),
    ] {
        let by = key::value(|n: &u32| Some(*n));
        let handle = CircuitBreakerLayer::keyed(policy.build().unwrap(), by).handle();
        let used = measure(|| {
            for n in 0..KEYS {
                let permit = handle.admit_for(&by, &n).unwrap();
                permit.finish(Outcome::Failure(Failure::Transient));
            }
        });
        let each = used.bytes_current / i64::from(KEYS);
        assert!(each < 2_000, "{name}: {each} bytes");
        assert!(each >= 512, "{name}: {each} bytes are not measured");
    }
}
