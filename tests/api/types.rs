//! Sizes, and which types may go to other threads.

use std::convert::Infallible;
use std::future::Ready;

use bytes::Bytes;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_keep::adaptive::{self, Adaptive, AdaptiveFuture, AdaptiveLayer};
use tower_keep::attempt::Attempt;
use tower_keep::bulkhead::{self, Bulkhead, BulkheadFuture, BulkheadLayer};
use tower_keep::chaos::{self, Chaos, ChaosFuture, ChaosLayer};
use tower_keep::circuit_breaker::{
    self, CircuitBreaker, CircuitBreakerFuture, CircuitBreakerLayer,
};
use tower_keep::clock::{Clock, Sleep, Tick};
use tower_keep::deadline::Deadline;
use tower_keep::error::find_rejection;
use tower_keep::fallback::{self, Fallback, FallbackFuture, FallbackLayer};
use tower_keep::health::{self, Health};
use tower_keep::http::{ReplayBody, Replayer};
use tower_keep::probe;
use tower_keep::replay;
use tower_keep::retry::{self, Retry, RetryFuture, RetryLayer};
use tower_keep::throttle::{self, Throttle, ThrottleFuture, ThrottleLayer};
use tower_keep::timeout::{self, Timeout, TimeoutFuture, TimeoutLayer};
use tower_keep::watchdog::{self, Kicker, Watchdog, WatchdogLayer, Watched, WatchedFuture};
use tower_keep::{
    AsRejection, Error, LayerId, Lift, LiftLayer, PolicyError, Registry, Rejection, RejectionKind,
    Setup,
};

type Inner = Ready<Result<u64, Error<Infallible>>>;
type Fails = Error<Infallible>;
type Echo = tower::util::ServiceFn<fn(u64) -> Inner>;

#[test]
fn a_rejection_is_two_words() {
    assert_eq!(size_of::<Rejection>(), 16);
    assert_eq!(size_of::<Option<Rejection>>(), 16);
    assert_eq!(size_of::<Result<(), Rejection>>(), 16);
    assert_eq!(size_of::<Fails>(), 16);
    assert!(size_of::<Error<Box<dyn std::error::Error>>>() <= 24);
    assert_eq!(size_of::<RejectionKind>(), 4);
    assert_eq!(size_of::<LayerId>(), 4);
    assert_eq!(size_of::<Deadline>(), 8);
}

/// What the future of a service is larger than that of the innermost one.
fn beyond<S: Service<u64>>(_: &S) -> usize {
    size_of::<S::Future>() - size_of::<Inner>()
}

#[test]
fn the_futures_of_a_stack_stay_small() {
    let inner = || tower::service_fn(|n: u64| std::future::ready(Ok::<_, Fails>(n)));
    let throttle = ThrottleLayer::new(throttle::Policy::per_second(10).unwrap());
    let limit = std::time::Duration::from_secs(1);
    let timeout = TimeoutLayer::new(timeout::Policy::attempt(limit).unwrap());
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(10).unwrap());
    let sizes = [
        beyond(&throttle.layer(inner())),
        beyond(&timeout.layer(inner())),
        beyond(&bulkhead.layer(inner())),
        beyond(&throttle.layer(timeout.layer(bulkhead.layer(inner())))),
    ];
    for (size, most) in sizes.into_iter().zip([24, 216, 64, 272]) {
        assert!(size <= most, "{sizes:?} bytes beyond the inner future");
    }
}

#[test]
fn everything_may_go_to_other_threads() {
    fn both<T: Send + Sync + 'static>() {}
    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    both::<(Clock, Sleep, Tick, Deadline, Setup, Registry)>();
    both::<(
        BulkheadLayer,
        Bulkhead<()>,
        bulkhead::Handle,
        bulkhead::Permit,
    )>();
    both::<(
        AdaptiveLayer,
        Adaptive<()>,
        adaptive::Handle,
        adaptive::Permit,
    )>();
    both::<(
        CircuitBreakerLayer,
        CircuitBreaker<()>,
        circuit_breaker::Handle,
        circuit_breaker::KeyedCircuit,
        circuit_breaker::Permit,
    )>();
    both::<CircuitBreakerFuture<Inner, Fails, tower_keep::release::OnHead, ()>>();
    both::<(TimeoutLayer, Timeout<()>, timeout::Handle)>();
    both::<(ThrottleLayer, Throttle<()>, throttle::Handle)>();
    both::<(FallbackLayer<()>, Fallback<(), ()>, fallback::Handle)>();
    both::<(ChaosLayer, Chaos<()>, chaos::Handle)>();
    both::<(Health, health::Builder, health::Check, health::Snapshot)>();
    both::<(health::Endpoints, health::grpc::GrpcHealth)>();
    both::<(probe::Schedule, probe::Hysteresis, probe::Finding)>();
    both::<(probe::Tcp, probe::Http, probe::Grpc)>();
    both::<(RetryLayer<()>, Retry<(), ()>, retry::Handle)>();
    both::<RetryFuture<Echo, u64, retry::Idempotent, replay::Cloned>>();
    both::<(ReplayBody<Full<Bytes>>, Replayer<Full<Bytes>>, Attempt)>();
    both::<(LiftLayer, Lift<()>, RejectionKind)>();
    both::<TimeoutFuture<Inner, Fails>>();
    both::<ThrottleFuture<Inner, Fails>>();
    both::<AdaptiveFuture<Inner, Fails, tower_keep::release::OnHead, ()>>();
    both::<BulkheadFuture<Inner, Fails, tower_keep::release::OnHead, ()>>();
    both::<WatchedFuture<Inner, Fails>>();
    both::<(WatchdogLayer, Watched<()>, watchdog::Handle, Kicker)>();
    both::<(Watchdog, watchdog::Recorder, watchdog::Systemd)>();
    both::<FallbackFuture<Echo, u64, fallback::Value<u64>, fallback::Unmarked, ()>>();
    both::<ChaosFuture<Inner, u64, Fails, chaos::Calls>>();
    error::<Rejection>();
    error::<Error<std::io::Error>>();
    error::<PolicyError>();
    error::<health::StartError>();
}

#[test]
fn a_rejection_is_found_in_a_boxed_error() {
    let policy = bulkhead::Policy::max_concurrent(1).unwrap();
    let handle = BulkheadLayer::new(policy).handle();
    let _only = handle.admit().unwrap();
    let rejection = handle.admit().unwrap_err();
    let boxed = tower::BoxError::from(Error::<std::io::Error>::Rejected(rejection));
    assert_eq!(find_rejection(boxed.as_ref()), Some(rejection));
    assert_eq!(boxed.as_rejection(), Some(rejection));
    assert_eq!(rejection.to_string(), "bulkhead: full");
}
